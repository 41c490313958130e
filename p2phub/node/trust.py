"""Whom a running node trusts: what people ask and change while it runs, on the store's threads."""

import trio

from p2phub.formats.ids import PublisherId
from p2phub.network.waiting import one_error
from p2phub.network.well_known import AT_ONCE
from p2phub.node.claims import candidates, resolve_publisher
from p2phub.node.profile import set_profile
from p2phub.node.rules import default_rule
from p2phub.node.services import Services
from p2phub.node.trust_editor import TrustEditor
from p2phub.node.trust_view import export_list, trust_list
from p2phub.node.values import Pin
from p2phub.trust_results import (
    Candidate,
    DomainLook,
    DomainSays,
    Imported,
    Profile,
    RuleSet,
    Trusted,
    TrustList,
)


class Trust:
    """The trust of one node. Every method may be called from any trio task of its run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._everybody = default_rule(services.config)
        self._editor = TrustEditor(services.store, self._everybody, services.now)

    async def list(self) -> tuple[Trusted, ...]:
        """Every pinned alias, and everybody who has a rule of their own."""
        services = self._services
        return await services.on_disk(
            trust_list, services.store, services.knowledge, self._everybody, services.now()
        )

    async def add(self, alias: str, publisher_id: str) -> Pin:
        """Pin an alias. Raises `AliasTakenError`, `UsageError`."""
        return await self._services.on_disk(self._editor.add, alias, publisher_id)

    async def remove(self, alias: str) -> Pin:
        """Unpin an alias. Raises `NotFoundError`."""
        return await self._services.on_disk(self._editor.remove, alias)

    async def set_policy(
        self, who: str, policy: str | None, stale: str | None, code: str | None = None
    ) -> RuleSet:
        """Lay down a rule for an alias or an id; what it refuses is served no more.

        Raises `NotFoundError`, `UsageError`.
        """
        told = await self._services.on_disk(self._editor.set_policy, who, policy, stale, code)
        if policy is not None or stale is not None:
            await self._services.withdrawals.check(PublisherId.parse(told.publisher_id))
        return told

    async def export_list(self) -> TrustList:
        """Every alias and every rule, for another machine."""
        return await self._services.on_disk(export_list, self._services.store)

    async def import_list(self, text: str, *, confirmed: bool) -> Imported:
        """What a list adds; done only if a person confirmed it. Raises `UsageError`."""
        found = await self._services.on_disk(self._editor.import_list, text, confirmed=confirmed)
        for entry in found.new if confirmed else ():
            if entry.policy is not None:
                await self._services.withdrawals.check(PublisherId.parse(entry.publisher_id))
        return found

    async def candidates(self, alias: str) -> tuple[Candidate, ...]:
        """Who says of themselves that they are called `alias`; nobody if it is pinned."""
        store = self._services.store
        if alias in (await self._services.on_disk(store.documents.aliases)).pins:
            return ()
        return await self._services.on_disk(candidates, store, alias)

    async def check(self, who: str | None) -> tuple[DomainLook, ...]:
        """Ask the domains of an alias, of an id, or of every alias. Raises `NotFoundError`."""
        services = self._services
        if who is not None:
            publisher = await services.on_disk(resolve_publisher, services.store, who)
            return (await services.domains.look(publisher),)
        pins = (await services.on_disk(services.store.documents.aliases)).pins
        looks: dict[PublisherId, DomainLook] = {}
        places = trio.Semaphore(AT_ONCE)

        async def look(publisher: PublisherId) -> None:
            async with places:
                looks[publisher] = await services.domains.look(publisher)

        async with one_error(), trio.open_nursery() as nursery:
            for publisher in dict.fromkeys(pins.values()):
                nursery.start_soon(look, publisher)
        return tuple(looks[publisher] for publisher in dict.fromkeys(pins.values()))

    async def set_profile(self, name: str | None, domain: str | None) -> Profile:
        """See `p2phub.node.profile`."""
        return await set_profile(self._services, name, domain)

    async def domain(self, domain: str) -> DomainSays:
        """Whom a domain names. Raises `UsageError`, `RemoteError`."""
        return await self._services.domains.says(domain)
