"""What one publisher took back, and where it said two things: all notices that passed the gate.

A notice is kept for ever, and asked about with the publisher's identity of the moment:
 * a revocation counts while the root whose keys signed it is in the chain, and is not older than
   the delegation's `revocations_from`;
 * of a revoked key there counts only what it signed up to its last good index: a release that a
   believed index lists since then or earlier, and that index itself;
 * a withdrawal takes away one key's signature, whether that key is still in force or not;
 * a fork counts until the publisher has settled it (`forks` says how), and not while its writer is
   revoked.

Rules it keeps:
 * the order in which notices come makes no difference;
 * so many of each kind: a stolen key must not fill our memory. What does not count any more makes
   room for what does, so that a thief who filled it once does not keep it full.

That a notice was signed by who may is checked by `noticing`.

>>> notices = Notices()
>>> notices.withdraw(b"release", b"key", "wrong licence")
>>> notices.withdrawn(b"release")
{b'key': 'wrong licence'}
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedFile, RevokedKey, RevokedRelease
from p2phub.trust.forks import Fork, ForkedIndexes
from p2phub.trust.identity import Identity, reached
from p2phub.trust.signers import Standing

MAX_REVOCATIONS: Final = 4096
"""Revocations of one publisher."""
MAX_WITHDRAWALS: Final = 1024
"""Releases that one key takes its signature of back."""
MAX_FORKS: Final = 16
"""Fork proofs of one publisher."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A revocation, and whose signatures on it verify."""

    notice: Revocation
    signers: frozenset[bytes]


def in_force(signed: Signed, identity: Identity) -> bool:
    """Whether a revocation counts for this publisher as it is now."""
    v = signed.notice.root_v
    if not identity.delegation.revocations_from <= v <= len(identity.chain):
        return False
    return reached(identity.chain[v - 1].root.keys, signed.signers).enough


class Notices:
    """The notices of one publisher."""

    def __init__(self) -> None:
        self._revocations: dict[bytes, Signed] = {}
        self._withdrawals: dict[bytes, dict[bytes, str]] = {}
        self._taken_back: dict[bytes, int] = {}
        self._forks: dict[frozenset[bytes], Fork] = {}

    # ------------------------------------------------------------ what comes in

    def make_room_to_revoke(self, digest: bytes, identity: Identity) -> bool:
        """Whether there is room now: one that does not count at present may have had to go."""
        if digest in self._revocations or len(self._revocations) < MAX_REVOCATIONS:
            return True
        counting = {each for each, _, _ in self._in_force(identity)}
        if len(counting) == len(self._revocations):
            return False
        del self._revocations[next(each for each in self._revocations if each not in counting)]
        return True

    def revoke(self, digest: bytes, notice: Revocation, signers: frozenset[bytes]) -> None:
        """Keep a revocation. Signatures that came with another copy of it still count."""
        known = self._revocations.get(digest)
        together = signers if known is None else signers | known.signers
        self._revocations[digest] = Signed(notice, together)

    def has_room_to_withdraw(self, release: bytes, key: bytes) -> bool:
        known = key in self._withdrawals.get(release, ())
        return known or self._taken_back.get(key, 0) < MAX_WITHDRAWALS

    def withdraw(self, release: bytes, key: bytes, reason: str) -> None:
        """`key` takes its signature of `release` back."""
        keys = self._withdrawals.setdefault(release, {})
        if key not in keys:
            keys[key] = reason
            self._taken_back[key] = self._taken_back.get(key, 0) + 1

    def fork(self, fork: Fork, identity: Identity) -> bool:
        """Keep a fork; False if there is no room, because so many others count."""
        name = frozenset(fork.digests)
        if name in self._forks:
            return True
        if len(self._forks) >= MAX_FORKS:
            settled = [each for each, past in self._forks.items() if not past.counts(identity)]
            if not settled:
                return False
            del self._forks[settled[0]]
        self._forks[name] = fork
        return True

    # ------------------------------------------------------------ what is asked

    def revoked_key(self, identity: Identity, key: bytes) -> Revocation | None:
        """The revocation of a release key that counts now; the strictest, if there are several."""
        found = [
            (revoked.last_seq, digest, notice)
            for digest, notice, revoked in self._in_force(identity)
            if isinstance(revoked, RevokedKey) and revoked.key == key
        ]
        return min(found)[2] if found else None

    def revoked_release(
        self, identity: Identity, digest: bytes, release: Release | None
    ) -> Revocation | None:
        """The revocation of this release, or of a file in it if it is here, that counts now."""
        files: Collection[bytes] = ()
        for _, notice, revoked in self._in_force(identity):
            if isinstance(revoked, RevokedRelease) and revoked.release == digest:
                return notice
            if isinstance(revoked, RevokedFile) and release is not None:
                files = files or {file.sha256 for file in release.files}
                if revoked.sha256 in files:
                    return notice
        return None

    def withdrawn(self, release: bytes) -> Mapping[bytes, str]:
        """The keys that took their signature of a release back, each with its reason."""
        return self._withdrawals.get(release, {})

    def forked(self, identity: Identity) -> Fork | None:
        """A fork that the publisher has not settled yet; of several always the same one."""
        every = [fork for fork in self._forks.values() if self.is_open(fork, identity)]
        return min(every, key=lambda fork: sorted(fork.digests), default=None)

    def is_open(self, fork: Fork, identity: Identity) -> bool:
        """Whether this fork counts for the publisher as it is now."""
        if not fork.counts(identity):
            return False
        if isinstance(fork, ForkedIndexes):
            return self.revoked_key(identity, fork.writer) is None
        return True

    def _in_force(
        self, identity: Identity
    ) -> list[tuple[bytes, Revocation, RevokedKey | RevokedRelease | RevokedFile]]:
        return [
            (digest, signed.notice, signed.notice.revoked)
            for digest, signed in self._revocations.items()
            if in_force(signed, identity)
        ]


def standing_of(
    notices: Notices, identity: Identity, key: bytes, seq: int | None, index: bytes = b""
) -> Standing | None:
    """How a revoked key stands to a document; None if the key is not revoked.

    `seq`: of the first index that listed the document, where one did; `index`: its own digest, if
    it is an index.
    """
    notice = notices.revoked_key(identity, key)
    if notice is None:
        return None
    revoked = notice.revoked
    assert isinstance(revoked, RevokedKey)
    good = revoked.last_index == index if index else seq is not None and seq <= revoked.last_seq
    return Standing(good, f"was revoked after seq {revoked.last_seq} ({notice.reason})")
