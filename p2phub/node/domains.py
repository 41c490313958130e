"""Looks at the domains that publishers claim, now and then, and keeps what came of it.

A look changes no verdict and pins nobody, so that nothing waits for it: after a pull it happens in
the background, and without a network it says that the domain could not be asked.

Rules it keeps:
 * one look after another in the background, and a queue of bounded length;
 * who was looked at within `FRESH` is not looked at again after a pull (`SOON` where nobody
   answered);
 * both ways are asked at once, and a way that fails is told of and proves nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from p2phub.errors import P2PHubError, RemoteError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.network.text_records import TextRecords
from p2phub.network.well_known import WellKnown
from p2phub.node.claims import claims_of
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store
from p2phub.trust.domains import (
    DomainCheck,
    Named,
    concluded,
    listed_in_texts,
    read_domain,
    txt_name,
)
from p2phub.trust_results import DomainLook, DomainSays, NamedPublisher

log = logging.getLogger(__name__)

DAY: Final = 24 * 3600
FRESH: Final = 7 * DAY
SOON: Final = 3600
"""Seconds until a domain is asked again that could not be asked."""
MOST_DUE: Final = 256
"""Publishers that wait to be looked at."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a domain said; None where it could not be asked."""

    file: Named | None
    texts: Named | None
    problems: tuple[str, ...]


class Domains:
    """The domains of the publishers of one node. `now()` gives unix seconds.

    `enabled`: whether domains are asked in the background too.
    """

    def __init__(
        self,
        store: Store,
        knowledge: Knowledge,
        now: Callable[[], int],
        *,
        enabled: bool = True,
        well_known: WellKnown | None = None,
        text_records: TextRecords | None = None,
    ) -> None:
        self._store, self._knowledge, self._now = store, knowledge, now
        self._enabled = enabled
        self.well_known = well_known or WellKnown()
        self.text_records = text_records or TextRecords()
        self._due: dict[PublisherId, None] = {}
        self._some_are_due = trio.Event()

    def pulled(self, publisher: PublisherId) -> None:
        """Something of `publisher` was pulled: look at its domain soon, if that is due."""
        if self._enabled and len(self._due) < MOST_DUE:
            self._due[publisher] = None
            self._some_are_due.set()

    async def run(self) -> None:
        """Look at what is due, for ever."""
        while True:
            while self._due:
                publisher = next(iter(self._due))
                try:
                    await self._look_if_due(publisher)
                except P2PHubError as error:  # a full disk, a damaged index: the node lives on
                    log.warning("a domain was not asked: %s", error)
                del self._due[publisher]
            await self._some_are_due.wait()
            self._some_are_due = trio.Event()

    async def _look_if_due(self, publisher: PublisherId) -> None:
        if await trio.to_thread.run_sync(self._is_due, publisher):
            await self.look(publisher)

    async def look(self, publisher: PublisherId) -> DomainLook:
        """Ask the domain of a publisher now, and keep what came of it."""
        alias, domain = await trio.to_thread.run_sync(self._claimed, publisher)
        if domain is None:
            return DomainLook(alias, str(publisher), None)
        said = await self._ask(domain)
        result = concluded(publisher, said.file, said.texts)
        check = await trio.to_thread.run_sync(
            self._keep, publisher, DomainCheck(domain, result, self._now())
        )
        return DomainLook(
            alias, str(publisher), domain, result, check.checked, check.proved, said.problems
        )

    async def says(self, text: str) -> DomainSays:
        """Whom a domain names. Raises `UsageError`, `RemoteError` if it cannot be asked."""
        domain = read_domain(text)
        said = await self._ask(domain)
        if said.file is None and said.texts is None:
            raise RemoteError(
                f"{domain} cannot be asked: {'; '.join(said.problems)}",
                remedy="try again later, or give the publisher id in full",
            )
        file, texts = said.file or frozenset(), said.texts or frozenset()
        named = tuple(
            NamedPublisher(
                str(publisher),
                tuple(way for way, by in (("https", file), ("dns", texts)) if publisher in by),
            )
            for publisher in sorted(file | texts)
        )
        return DomainSays(domain, named, said.problems)

    async def _ask(self, domain: str) -> _Said:
        found: dict[str, Named] = {}
        problems: list[str] = []

        async def by(way: str, ask: Callable[[str], Awaitable[Named]]) -> None:
            try:
                found[way] = await ask(domain)
            except (RemoteError, UntrustedError) as error:
                problems.append(f"{way}: {error.message}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(by, "https", self.well_known.named)
            nursery.start_soon(by, "dns", self._texts)
        return _Said(found.get("https"), found.get("dns"), tuple(sorted(problems)))

    async def _texts(self, domain: str) -> Named:
        return listed_in_texts(await self.text_records.of(txt_name(domain)))

    def _claimed(self, publisher: PublisherId) -> tuple[str, str | None]:
        alias = self._store.documents.aliases().alias_of(publisher) or ""
        return alias, claims_of(self._store, self._knowledge, publisher).domain

    def _keep(self, publisher: PublisherId, check: DomainCheck) -> DomainCheck:
        kept = check.after(self._store.domains.last(publisher))
        self._store.domains.keep(publisher, kept)
        return kept

    def _is_due(self, publisher: PublisherId) -> bool:
        claims = claims_of(self._store, self._knowledge, publisher)
        if claims.domain is None or claims.domain_checked is None:
            return claims.domain is not None
        age = self._now() - claims.domain_checked
        return age >= (SOON if claims.domain_result == "unreachable" else FRESH) or age < 0
