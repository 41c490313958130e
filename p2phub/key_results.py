"""What the commands about keys answer, as frozen dataclasses; see `p2phub.results` for the rules.

Public keys and digests are hex. No secret is ever in one of these.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Adopted:
    """Our identity after a change."""

    publisher_id: str
    root_v: int
    """The number of the newest root, from 1 on."""
    delegation_version: int
    """The number of the newest delegation, from 1 on."""
    release_key: str | None = None
    """The key that signs here from now on; None if none of those that may is here."""
    seq: int | None = None
    """Of the newest index; None where nothing was published yet."""
    notices: int = 0
    """Revocations and withdrawals that came with it."""
    signed_again: int = 0
    """Releases that the key here has signed as well, because another key's signature is gone."""
    dropped: tuple[str, ...] = ()
    """Refs (`repo@ref`) that a revoked key had set and nobody else vouches for."""
    lacking: tuple[str, ...] = ()
    """Refs (`repo@ref`) whose release is not here, so that it could not be signed again."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key: of the identity, or on this machine, or both."""

    key: str
    """The public key; empty for one that is locked and that no document names."""
    roles: tuple[str, ...]
    """root, next, recovery, release, node; empty for a key that has no role."""
    name: str | None = None
    """What it is called on this machine; None if it is not here."""
    locked: bool = False
    """Whether a passphrase is needed to use it."""
    repos: tuple[str, ...] = ()
    """The only repos it may write; empty: all of them."""
    expires: int | None = None
    """The last second at which it may sign."""
    revoked: str | None = None
    """Why it was revoked."""


@dataclass(frozen=True, slots=True)
class KeyList:
    """Who we are, and with which keys."""

    publisher_id: str | None = None
    root_v: int | None = None
    delegation_version: int | None = None
    root_threshold: int | None = None
    """Keys of the root that must sign what it says."""
    threshold: int | None = None
    """Release keys that must sign a release."""
    recovery_threshold: int | None = None
    """Recovery keys that must sign a recovery; None without recovery keys."""
    next_committed: bool = False
    """Whether the newest root commits to the next keys, so that it can be rotated."""
    revocations_from: int | None = None
    """Revocations of older roots count no more."""
    forked: str = ""
    """What this publisher said twice; empty while it did not."""
    warnings: tuple[str, ...] = ()
    keys: tuple[KeyRow, ...] = ()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made."""

    name: str
    key: str
    """The public half."""
    locked: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One line of what a document says, in plain words."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class DocumentInFile:
    """A document in a file that travels, and who has signed it."""

    type: str
    digest: str
    publisher_id: str
    says: tuple[Told, ...]
    signed_by: tuple[str, ...]
    signed_now: tuple[str, ...] = ()
    """The keys of this machine that signed it just now."""
    needed: int | None = None
    """Signatures that it still needs; None if that cannot be told from what is here."""
