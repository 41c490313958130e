"""Who publishes from this machine, and with which keys.

The release key of this machine signs the index and the head; releases are signed by as many of the
keys here as it takes. A key that the delegation does not name, or no longer, or only for other
repos, would sign for nothing: that is said before any work is done, with what to do about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2phub.errors import DamagedBlobError, NotFoundError, UntrustedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Delegation
from p2phub.node.services import Services
from p2phub.trust import envelope
from p2phub.trust.keys import SigningKey
from p2phub.trust.signers import objection

RELEASE_KEY = "release"
"""The key in the keyring that signs unless another is named."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who publishes, and with which key."""

    publisher: PublisherId
    key: SigningKey


def author_of(services: Services, sign_with: str | None = None) -> Author:
    """Who signs here, with the release key or another one that is named.

    Raises `UsageError` without a publisher, `NotFoundError` without that key.
    """
    publisher = services.store.documents.own_publisher()
    if publisher is None:
        raise UsageError(
            "this machine has no publisher identity yet", remedy="run `p2phub init` first"
        )
    name = sign_with or RELEASE_KEY
    seed = services.keyring.load(name)
    if seed is None:
        raise NotFoundError(
            f"there is no key named {name} in {services.keyring.path(name).parent}",
            remedy="restore it from the backup that `p2phub init` wrote, or finish the release on"
            " a node that has a release key",
        )
    return Author(publisher, SigningKey(seed))


def own_delegation(services: Services) -> Delegation:
    """Which keys may sign for us now. Raises `UsageError`, `DamagedBlobError`."""
    documents = services.store.documents
    own = documents.own_documents()
    if own is None:
        raise UsageError("this machine has no publisher identity", remedy="run `p2phub init`")
    data = documents.get(own[1])
    if data is None:
        raise DamagedBlobError(
            "this publisher's own delegation is gone from the store",
            remedy="restore the store; the keys alone do not bring it back yet",
        )
    return Delegation.from_payload(envelope.unpack(data).payload)


def require_may_write(
    delegation: Delegation, key: SigningKey, now: int, repo: str | None = None
) -> None:
    """Raise `UntrustedError` unless `key` may write an index now, and set the refs of `repo`."""
    why = objection(delegation.find(key.public), repo, now)
    if why:
        raise UntrustedError(
            f"the key {key.public.hex()[:16]} of this node {why}",
            remedy="`p2phub key ls` lists the keys that may; publish where one of them is, or let"
            " the root delegate to this one",
        )


def counting(
    delegation: Delegation, signed: envelope.Envelope, repo: str, created: int
) -> frozenset[bytes]:
    """The keys whose signatures on a release of `repo`, made at `created`, verify and count."""
    return frozenset(
        key for key in signed.signed_by() if not objection(delegation.find(key), repo, created)
    )


def keys_here(services: Services, delegation: Delegation, names: Sequence[str]) -> list[SigningKey]:
    """Those of the keys with these names that are here and that the delegation names."""
    seeds = (services.keyring.load(name) for name in names)
    keys = [SigningKey(seed) for seed in seeds if seed is not None]
    return [key for key in keys if delegation.find(key.public) is not None]
