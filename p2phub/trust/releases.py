"""Whether a release counts: enough signatures, none taken back, nothing revoked.

Several things can be wrong with one release at once. Each is asked in turn; what the rule for its
publisher lets through goes on to the next question, and the worst of it is the verdict.

Rules it keeps:
 * since when a release signed by a revoked key was listed is asked of an index that its publisher
   can have known to be good: a thief writes any number into an index before its key is revoked,
   and others take it over in good faith;
 * `enforce` stops at the first thing that is wrong; `off` and `warn` name the worst one;
 * a signature that does not verify is refused under every rule: the bytes were damaged.

>>> worse(Verdict.UNSIGNED, Verdict.REVOKED), worse(Verdict.VERIFIED, Verdict.UNSIGNED)
(<Verdict.REVOKED: 'revoked'>, <Verdict.UNSIGNED: 'unsigned'>)
"""

from dataclasses import dataclass
from typing import Final

from p2phub.formats.manifest import Release
from p2phub.formats.notices import RevokedKey
from p2phub.trust.identity import Identity
from p2phub.trust.notices import Notices, standing_of
from p2phub.trust.policy import Rule
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.signers import Standing, require_release_keys
from p2phub.trust.verdict import Verdict
from p2phub.trust.wants import Listing

_BADNESS: Final = (
    Verdict.VERIFIED,
    Verdict.STALE,
    Verdict.UNSIGNED,
    Verdict.UNTRUSTED_KEY,
    Verdict.FORKED,
    Verdict.WITHDRAWN,
    Verdict.REVOKED,
    Verdict.ROLLED_BACK,
    Verdict.CORRUPT,
)


def worse(one: Verdict, other: Verdict) -> Verdict:
    """The one of two verdicts that people must hear of."""
    return max(one, other, key=_BADNESS.index)


@dataclass(frozen=True, slots=True)
class Case:
    """A release that parsed, and all that is known about it and its publisher."""

    digest: bytes
    release: Release
    signers: frozenset[bytes]
    """Whose signatures on it verify."""
    identity: Identity
    notices: Notices
    since: int | None
    """The seq of the first index that listed it; None: it was named by its commit id only."""
    listing: Listing | None = None
    """The index that says since when; None: it is certain."""
    index: bytes = b""
    """The digest of the index that the newest head names."""


def judge_release(case: Case, rule: Rule, trail: Trail) -> tuple[Verdict, frozenset[bytes]]:
    """The verdict, and the keys whose signatures are worth keeping.

    Without any signature it was judged already. Raises the `Refusal` that `rule` asks for.
    """
    verdict, kept, counted = Verdict.VERIFIED, case.signers, frozenset[bytes]()
    if case.signers:
        try:
            kept = counted = _require_signed(case, trail)
        except Refusal as error:
            verdict = let_through(error, rule)
    for require in (_require_not_withdrawn, _require_not_revoked):
        try:
            require(case, counted, trail)
        except Refusal as error:
            verdict = worse(verdict, let_through(error, rule))
    return verdict, kept


def _standing(case: Case, key: bytes) -> Standing | None:
    """How a signer stands to this release; None if its key is not revoked."""
    notice = case.notices.revoked_key(case.identity, key)
    if notice is None:
        return None
    assert isinstance(notice.revoked, RevokedKey)
    vouched = case.listing is None or _vouches(case, case.listing, notice.revoked)
    return standing_of(case.notices, case.identity, key, case.since if vouched else None)


def _vouches(case: Case, listing: Listing, revoked: RevokedKey) -> bool:
    """Whether the index that lists the release is one to say since when: it is no younger than the
    last good one, or it is the newest, and made after the key was let go.
    """
    writer = standing_of(case.notices, case.identity, listing.writer.key, None, listing.index)
    if writer is not None and not writer.good:
        return False
    is_newest = listing.index == case.index and case.identity.release_key(revoked.key) is None
    return is_newest or listing.seq <= revoked.last_seq


def let_through(error: Refusal, rule: Rule) -> Verdict:
    """The verdict of a refusal that `rule` does not ask for; else raises it."""
    if rule.decide(error.verdict) == "refuse":
        raise error
    return error.verdict


def _require_signed(case: Case, trail: Trail) -> frozenset[bytes]:
    """Enough release keys in force, which may write this repo, have signed it."""
    release = case.release
    return require_release_keys(
        case.identity,
        case.signers,
        case.identity.delegation.threshold,
        release.name,
        release.created,
        trail,
        lambda key: _standing(case, key),
    )


def _require_not_withdrawn(case: Case, counted: frozenset[bytes], trail: Trail) -> None:
    """Without what was taken back enough is left. Who leaves a signature out, or puts another in
    its place, does not hide that it was taken back.
    """
    withdrawn = case.notices.withdrawn(case.digest)
    left, needed = counted - withdrawn.keys(), case.identity.delegation.threshold
    gone = "; ".join(f"{key.hex()[:16]}: {withdrawn[key]}" for key in sorted(withdrawn))
    detail = f"{len(left)} of {needed} needed signatures are left ({gone})" if gone else "by nobody"
    holds = not withdrawn or len(left) >= needed
    trail.require(holds, "not withdrawn", detail, Verdict.WITHDRAWN)


def _require_not_revoked(case: Case, counted: frozenset[bytes], trail: Trail) -> None:
    notice = case.notices.revoked_release(case.identity, case.digest, case.release)
    if notice is None:
        trail.passed("not revoked", "no revocation of it or its files is known")
        return
    trail.refuse("not revoked", f"root {notice.root_v} says: {notice.reason}", Verdict.REVOKED)
