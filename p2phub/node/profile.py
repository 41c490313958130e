"""What our own publisher says of itself: its name and its domain, in its signed index.

They are claims, and told as such everywhere. The domain vouches for the publisher only once it
names the publisher's id itself: `p2phub.trust.domains` says where.
"""

from functools import partial

from p2phub.node.author import Author, author_of, own_delegation, require_may_write
from p2phub.node.claims import own_profile
from p2phub.node.own_history import base_of
from p2phub.node.own_index import adopt_identity, on_newest, sign_index
from p2phub.node.resolve import catch_up
from p2phub.node.services import Services
from p2phub.trust.domains import (
    DOMAIN,
    NAME,
    check_profile_name,
    read_domain,
)
from p2phub.trust_results import Profile


async def set_profile(services: Services, name: str | None, domain: str | None) -> Profile:
    """Say from now on that we are called `name` and have `domain`; what is None stays, what is
    empty is said no more.

    Raises `UsageError` (no publisher, a name or a domain that is none), `UntrustedError` if the key
    here may not write, `NoSourceError` if a newer index of ours is out of reach.
    """
    wanted = {
        NAME: None if name is None else check_profile_name(name),
        DOMAIN: read_domain(domain) if domain else domain,
    }
    author = await services.on_disk(author_of, services)
    async with services.signing:
        await catch_up(services, author.publisher)
        sign = partial(_sign, services, author, wanted)
        changed = await on_newest(services, author.publisher, sign)
    if changed:
        services.announcer.publisher(author.publisher, changed=True)
    return await services.on_disk(own_profile, services.store, services.knowledge)


def _sign(services: Services, author: Author, wanted: dict[str, str | None]) -> bool:
    """Sign an index that says what is wanted; whether that was news."""
    adopt_identity(services, author.publisher)
    base = base_of(services, author.publisher)
    said = {key: text for key, text in wanted.items() if text is not None}
    profile = {key: text for key, text in {**base.profile, **said}.items() if text}
    if profile == base.profile:
        return False
    require_may_write(own_delegation(services), author.key, services.now())
    sign_index(services, author, base, profile=profile)
    return True
