"""How a publisher changes: rotation, recovery, other release keys, revocation, withdrawal.

Each function takes what a publisher is now and gives what is to be signed, or what was signed with
the keys it was handed. Who holds the keys and where the documents go is the node's business.

Rules it keeps:
 * what a gate would refuse is refused here, before anything is signed;
 * a rotation reveals the keys that were committed to, a recovery chooses fresh ones;
 * a delegation always counts on by one; after theft it says from which root on revocations count,
   and what honest ones there were is signed again by the new root;
 * no clock, no randomness: keys and `now` (unix seconds) are arguments.

>>> from p2phub.testing.publishers import FakePublisher
>>> from p2phub.trust.papers import Papers, as_if_signed, require_room
>>> lab = FakePublisher(1)
>>> papers = Papers.of(lab.roots, lab.delegation)
>>> bob = lab.key("bob").public
>>> changed = allow(papers.identity, ReleaseKey(bob, repos=("demo",)), now=0)
>>> changed.version, len(changed.keys), changed.find(bob).repos
(2, 2, ('demo',))
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from p2phub.errors import MalformedError, NotFoundError, RefusedError, UntrustedError, UsageError
from p2phub.formats import limits
from p2phub.formats.documents import has_control
from p2phub.formats.notices import Revocation, Revoked, Withdrawal
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.identity import Chain, Identity, reached
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers, as_if_signed, require_room

# ---------------------------------------------------------------- roots


def rotation(chain: Chain, revealed: KeySet, next: KeySet, recovery: KeySet | None) -> Root:
    """The root after the newest one, which reveals the keys that one committed to.

    Raises `UsageError` for keys it did not commit to, or where old and new keys overlap.
    """
    last = chain[-1].root
    if revealed.digest != last.next:
        raise UsageError(
            f"these are not the keys that root {last.v} committed to",
            remedy="use the recovery phrase or the backup that belongs to this publisher",
        )
    return _following(chain, revealed, next, recovery)


def recovery(chain: Chain, keys: KeySet, next: KeySet, recovery: KeySet | None) -> Root:
    """The root after the newest of `chain`, with fresh keys; the recovery keys must sign it.

    To overrule a root, hand over the chain without it. Raises `RefusedError` if nobody can recover
    from that root, `UsageError` for keys that are not fresh.
    """
    last = chain[-1].root
    if last.recovery is None:
        raise RefusedError(
            f"root {last.v} names no recovery keys, so nobody can recover it",
            remedy="only the recovery phrase can rotate it: see `p2phub key rotate --help`",
        )
    if keys.digest == last.next:
        raise UsageError(
            f"these are the keys that root {last.v} committed to; a recovery needs fresh ones",
            remedy="rotate with them instead, or make a new recovery phrase",
        )
    return _following(chain, keys, next, recovery)


def _following(chain: Chain, keys: KeySet, next: KeySet, recovery: KeySet | None) -> Root:
    last = chain[-1]
    used = {key for link in chain for key in link.root.keys.keys}
    if used.intersection(keys.keys) or set(keys.keys) & set(next.keys):
        raise UsageError("a new root needs keys that no root had before, and others for the next")
    held = {*keys.keys, *next.keys}
    if recovery is not None and held.intersection(recovery.keys):
        raise UsageError(
            "a key of the root cannot be a recovery key too: both would be lost together"
        )
    if last.root.v >= limits.MAX_ROOT_CHAIN:
        raise RefusedError(f"a publisher has at most {limits.MAX_ROOT_CHAIN} roots")
    root = Root(last.root.v + 1, last.digest, keys, next.digest, recovery)
    _require_sound(root)
    return root


def recovery_set(keys: Iterable[bytes], threshold: int | None = None) -> KeySet | None:
    """These recovery keys; without a `threshold`, more than half of them must sign.

    None without keys. Raises `UsageError`.

    >>> recovery_set([b"a" * 32, b"b" * 32, b"c" * 32]).threshold
    2
    """
    chosen = tuple(keys)
    if not chosen and threshold is None:
        return None
    needed = len(chosen) // 2 + 1 if threshold is None else threshold
    if len(set(chosen)) != len(chosen):
        raise UsageError("a recovery key is named twice")
    if len(chosen) > limits.MAX_ROLE_KEYS:
        raise UsageError(
            f"{len(chosen)} recovery keys, where {limits.MAX_ROLE_KEYS} are allowed",
            remedy="name fewer",
        )
    if not 1 <= needed <= len(chosen):
        raise UsageError(
            f"{needed} of {len(chosen)} recovery keys cannot sign",
            remedy="the threshold is at least 1 and at most the number of keys",
        )
    return KeySet(chosen, needed)


# ---------------------------------------------------------------- release keys


def allow(
    identity: Identity, key: ReleaseKey, *, now: int, threshold: int | None = None
) -> Delegation:
    """The delegation with `key` in it, whose limits replace those it had.

    Raises `UsageError` for limits that mean nothing, `RefusedError` for one key too many.
    """
    root = identity.root
    other_roles = {*root.keys.keys, *(root.recovery.keys if root.recovery else ())}
    if key.key in other_roles:
        raise UsageError(
            f"{key.key.hex()[:16]} is a root or recovery key, which must stay off the network",
            remedy="make a release key of its own: `p2phub key new NAME`",
        )
    if key.not_after and key.not_after <= now:
        raise UsageError("a key that has expired already can sign nothing")
    known = identity.release_key(key.key)
    if known is not None:
        numbers = max(known.numbers_from, key.numbers_from)
        key = replace(key, numbers_from=numbers, extra=known.extra)
    kept = [made for made in identity.delegation.keys if made.key != key.key]
    return _next_delegation(identity, keys=(*kept, key), threshold=threshold)


def remove(
    identity: Identity,
    key: bytes,
    *,
    replacement: ReleaseKey | None = None,
    threshold: int | None = None,
) -> Delegation:
    """The delegation without `key`, with the `replacement` in its place.

    Raises `NotFoundError` if it is no release key, `RefusedError` if none or too few would be left.
    """
    if identity.release_key(key) is None:
        raise NotFoundError(f"{key.hex()[:16]} is no release key of this publisher")
    kept = tuple(made for made in identity.delegation.keys if made.key != key)
    if replacement is not None:
        kept = (*kept, replacement)
    if not kept:
        raise RefusedError(
            "this is the last release key: without one nobody can publish",
            remedy="allow another one first: `p2phub key allow PUBKEY`",
        )
    return _next_delegation(identity, keys=kept, threshold=threshold)


def after_fork(delegation: Delegation, highest: Mapping[bytes, int]) -> Delegation:
    """The same with fresh numbers for its writers: what they signed twice proves nothing any more.

    `highest` says which number was seen last of each writer.
    """
    keys = tuple(
        replace(made, numbers_from=max(made.numbers_from, highest.get(made.key, 0) + 1))
        for made in delegation.keys
    )
    return replace(delegation, keys=keys)


def after_theft(delegation: Delegation, root_v: int, keep: Iterable[bytes]) -> Delegation:
    """The same with only those release keys that are in `keep`, and without any revocation by a
    root before `root_v`.
    """
    kept = frozenset(keep)
    keys = tuple(made for made in delegation.keys if made.key in kept)
    threshold = min(delegation.threshold, len(keys))
    return replace(delegation, keys=keys, threshold=threshold, revocations_from=root_v)


def _next_delegation(
    identity: Identity, *, keys: Sequence[ReleaseKey], threshold: int | None
) -> Delegation:
    before = identity.delegation
    needed = before.threshold if threshold is None else threshold
    if len(keys) > limits.MAX_RELEASE_KEYS:
        raise RefusedError(
            f"{len(keys)} release keys, where {limits.MAX_RELEASE_KEYS} are allowed",
            remedy="remove one first: `p2phub key remove PUBKEY`",
        )
    if not 1 <= needed <= len(keys):
        raise UsageError(
            f"{needed} of {len(keys)} release keys cannot sign a release",
            remedy="choose another threshold with --threshold",
        )
    made = replace(before, version=before.version + 1, keys=tuple(keys), threshold=needed)
    _require_sound(made)
    return made


# ---------------------------------------------------------------- all of it, signed


def changed(papers: Papers, delegation: Delegation, signers: Iterable[SigningKey]) -> Papers:
    """The papers with another delegation, signed by keys of the newest root.

    Raises `UntrustedError` if too few of `signers` are, `RefusedError` if no head has room.
    """
    keys = _of_root(papers.identity.root, signers)
    return Papers.of(papers.roots, sign(delegation, keys))


def drafted(
    papers: Papers,
    roots: Sequence[Envelope],
    delegation: Delegation,
    notices: Iterable[Envelope] = (),
) -> tuple[Envelope, ...]:
    """A change that others will sign: the papers as they are, and what is to become of them.

    `roots`: all of them, of which the last may wait for signatures, as the delegation and the
    notices do. Raises `UsageError` for a delegation that nobody would read, `RefusedError` if no
    head has room for all of it once it is signed.
    """
    _require_sound(delegation)
    waiting = sign(delegation, ())
    keys = [Root.from_payload(each.payload).keys for each in roots]
    require_room(
        [as_if_signed(each, set) for each, set in zip(roots, keys, strict=True)],
        as_if_signed(waiting, keys[-1]),
    )
    return (*papers.envelopes, *roots[len(papers.roots) :], waiting, *notices)


def rooted(
    roots: Sequence[Envelope], delegation: Delegation, signers: Iterable[SigningKey]
) -> Papers:
    """The papers of a chain with a new root at its end, which signs `delegation`."""
    root = Root.from_payload(roots[-1].payload)
    return Papers.of(roots, sign(delegation, _of_root(root, signers)))


def revoke(
    identity: Identity, revoked: Revoked, reason: str, now: int, signers: Iterable[SigningKey]
) -> Envelope:
    """A revocation by the newest root; without `signers` it waits for others to sign it.

    Raises `UntrustedError` if too few of `signers` are keys of it, `UsageError` for a reason that
    is empty or too long.
    """
    notice = Revocation(
        identity.publisher.digest, identity.root.v, revoked, now, check_reason(reason)
    )
    return _signed_by_root(identity.root, notice, signers)


def revoke_again(
    root: Root, honest: Iterable[Revocation], signers: Iterable[SigningKey]
) -> tuple[Envelope, ...]:
    """Revocations of roots before, signed by `root`, which is new: after a theft the old ones do
    not count, nor those of a root with its number or a later one that it has overruled. Without
    `signers` they wait for others to sign them.

    One of the same number is dated a second later: with the same digest it would be no news to
    whoever has the other, which nobody counts any more.
    """
    keys, v = tuple(signers), root.v
    return tuple(
        _signed_by_root(
            root,
            replace(
                notice,
                root_v=v,
                created=min(notice.created + (notice.root_v == v), limits.MAX_TIME),
            ),
            keys,
        )
        for notice in honest
    )


def withdraw(
    identity: Identity, release: bytes, reason: str, now: int, signer: SigningKey
) -> Envelope:
    """A release key takes its signature of a release back.

    Raises `UntrustedError` if it is no release key of this publisher, `UsageError` for the reason.
    """
    if identity.release_key(signer.public) is None:
        raise UntrustedError(
            f"{signer.public.hex()[:16]} is no release key of this publisher",
            remedy="withdraw with the key that signed the release, or revoke it with the root",
        )
    notice = Withdrawal(identity.publisher.digest, release, now, check_reason(reason))
    return sign(notice, [signer])


def check_reason(text: str) -> str:
    """Why something is taken back, as a notice may hold it. Raises `UsageError`.

    >>> check_reason("  wrong licence ")
    'wrong licence'
    """
    reason = text.strip()
    if not reason or len(reason.encode()) > limits.MAX_REASON or has_control(reason):
        raise UsageError(
            f"a reason is one line of 1 to {limits.MAX_REASON} bytes",
            remedy="say in a sentence why, for the people who must act on it",
        )
    return reason


def _signed_by_root(root: Root, notice: Revocation, signers: Iterable[SigningKey]) -> Envelope:
    chosen = tuple(signers)
    if not chosen:
        return sign(notice, ())
    keys = _of_root(root, chosen)
    signed = reached(root.keys, frozenset(key.public for key in keys))
    if not signed.enough:
        raise UntrustedError(f"a revocation is signed by {signed} keys of root {root.v}")
    return sign(notice, keys)


def _of_root(root: Root, signers: Iterable[SigningKey]) -> list[SigningKey]:
    return [key for key in signers if key.public in root.keys.keys]


def _require_sound(document: Root | Delegation) -> None:
    try:
        document.to_payload()
    except MalformedError as error:
        raise UsageError(error.message, remedy="change what is wrong and try again") from error
