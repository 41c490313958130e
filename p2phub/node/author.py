"""Who publishes from this machine, and with which keys.

The release key of this machine signs the index and the head; releases are signed by as many of the
keys here as it takes. A key that the delegation does not name, or no longer, or only for other
repos, would sign for nothing: that is said before any work is done, with what to do about it.
"""

from dataclasses import dataclass

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Delegation
from p2phub.node.desk import release_keys, require_key_in_force, require_own_papers
from p2phub.node.services import Services
from p2phub.trust import envelope
from p2phub.trust.keys import SigningKey
from p2phub.trust.signers import objection


@dataclass(frozen=True, slots=True)
class Author:
    """Who publishes, and with which key."""

    publisher: PublisherId
    key: SigningKey


def author_of(services: Services, sign_with: str | None = None) -> Author:
    """Who signs here, with the release key that is in force or another one that is named.

    Raises `UsageError` without a publisher, `NotFoundError` without that key.
    """
    identity = require_own_papers(services.store.documents).identity
    if sign_with is None:
        key = require_key_in_force(services.keyring, identity, services.now())
        return Author(identity.publisher, key)
    return Author(identity.publisher, _load(services, sign_with))


def signers_of(services: Services, author: Author, sign_with: str | None) -> list[SigningKey]:
    """The keys here that sign a release: the one that is named, or of those in force as many as
    it takes.
    """
    delegation = own_delegation(services)
    if sign_with is not None or delegation.threshold == 1:
        return [author.key]
    here = [key for _, key in release_keys(services.keyring) if delegation.find(key.public)]
    return here or [author.key]


def own_delegation(services: Services) -> Delegation:
    """Which keys may sign for us now. Raises `UsageError`, `DamagedBlobError`."""
    return require_own_papers(services.store.documents).identity.delegation


def _load(services: Services, name: str) -> SigningKey:
    seed = services.keyring.load(name)
    if seed is None:
        raise NotFoundError(
            f"there is no key named {name} in {services.keyring.path(name).parent}",
            remedy="`p2phub key ls` lists the keys that are here",
        )
    return SigningKey(seed)


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
