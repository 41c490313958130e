"""Which signatures of a document count: the questions the gate and the DHT validator share.

Rules it keeps:
 * every signature on a document verifies, or the document is corrupt: a publisher never signs
   wrongly, so somebody damaged the bytes or stuffed them;
 * a good signature by a stranger is ignored, and dropped from what is kept;
 * a release key counts within its limits: the repos it may write, and up to its not-after as the
   document's own date has it. The clock is not asked, so the answer is the same for ever;
 * a revoked key counts for what it signed while it was good, in the delegation or not.

>>> key = ReleaseKey(bytes(32), repos=("demo",), not_after=1_000)
>>> objection(key, "demo", 1_000), objection(key, "other", 1_000)
('', 'may not write other')
>>> objection(key, "demo", 1_001), objection(None, "demo", 1_000)
('expired 1970-01-01T00:16:40Z', 'is no release key')
"""

from collections.abc import Callable
from dataclasses import dataclass

from p2phub.formats.publisher import ReleaseKey
from p2phub.trust.envelope import Envelope
from p2phub.trust.identity import Identity
from p2phub.trust.refusals import Trail
from p2phub.trust.verdict import Verdict, moment


@dataclass(frozen=True, slots=True)
class Standing:
    """How a revoked key stands to one document."""

    good: bool
    """Whether it signed this while it was good."""
    objection: str


def never_revoked(key: bytes) -> Standing | None:
    """The standing of every key of a publisher that revoked none."""
    return None


def require_signers(
    envelope: Envelope, trail: Trail, known: frozenset[bytes] | None = None
) -> frozenset[bytes]:
    """Whoever signed: there is somebody, and every signature verifies.

    `known`: whose do, where these very signatures of this payload were checked before.
    """
    count = len(envelope.signatures)
    trail.require(count > 0, "signed", f"{count} signatures", Verdict.UNSIGNED)
    signers = envelope.signed_by() if known is None else known
    verified = f"{len(signers)} of {count}"
    trail.require(len(signers) == count, "every signature verifies", verified, Verdict.CORRUPT)
    return signers


def require_release_keys(
    identity: Identity,
    signers: frozenset[bytes],
    needed: int,
    repo: str | None,
    created: int,
    trail: Trail,
    standing: Callable[[bytes], Standing | None] = never_revoked,
) -> frozenset[bytes]:
    """The `signers` that count for a document made at `created`: at least `needed` of them do.

    With a `repo`, they may write it. `standing` says which keys were revoked; where those would
    have been enough, the verdict is revoked.
    """
    objections: dict[bytes, str] = {}
    revoked = 0
    for key in sorted(signers):
        known = standing(key)
        if known is None:
            objections[key] = objection(identity.release_key(key), repo, created)
        else:
            objections[key] = "" if known.good else known.objection
            revoked += not known.good
    counted = frozenset(key for key, why in objections.items() if not why)
    good = ", ".join(key.hex()[:16] for key in sorted(counted))
    others = [f"; {key.hex()[:16]} {why}" for key, why in objections.items() if why]
    enough_once = revoked and len(counted) + revoked >= needed
    trail.require(
        len(counted) >= needed,
        "signed by release keys in force",
        f"{len(counted)} of {needed} needed{good and ': '}{good}{''.join(others)}",
        Verdict.REVOKED if enough_once else Verdict.UNTRUSTED_KEY,
    )
    return counted


def objection(key: ReleaseKey | None, repo: str | None, created: int) -> str:
    """Why a signature of `key` does not count for a document made at `created`; or empty."""
    if key is None:
        return "is no release key"
    if repo is not None and not may_write(key, repo):
        return f"may not write {repo}"
    if key.not_after and created > key.not_after:
        return f"expired {moment(key.not_after)}"
    return ""


def may_write(key: ReleaseKey, repo: str) -> bool:
    """Whether the limits of `key` leave it this repo."""
    return not key.repos or repo in key.repos
