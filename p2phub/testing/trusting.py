"""Whom a fake node trusts: aliases and rules in memory, a list that is always new, a domain."""

from collections.abc import Awaitable, Callable, Sequence

from p2phub.errors import NotFoundError
from p2phub.node.values import Pin
from p2phub.trust_results import (
    Candidate,
    DomainLook,
    DomainSays,
    Imported,
    ListEntry,
    NamedPublisher,
    Profile,
    RuleSet,
    Trusted,
    TrustList,
)

DOMAIN = "lab.example"
"""The domain of its one publisher."""
CHECKED = 1_700_000_000
"""The unix second in which that was asked last."""


class FakeTrust:
    """The trust of a `FakeNode`. `ask` keeps what was asked; `pins`: aliases and ids."""

    def __init__(self, ask: Callable[[object], Awaitable[None]], pins: dict[str, str]) -> None:
        self._ask, self.pins = ask, pins
        self.rules: dict[str, tuple[str, str]] = {}
        """Policy and stale by alias or id."""
        self.code: dict[str, str] = {}
        """Whether their Python files may run, by alias or id."""
        self.claimed: dict[str, Sequence[Candidate]] = {}
        """Who claims an alias."""

    async def list(self) -> Sequence[Trusted]:
        await self._ask("trust")
        return [self._row(alias, publisher) for alias, publisher in sorted(self.pins.items())]

    def _row(self, alias: str, publisher: str) -> Trusted:
        policy, stale = self.rules.get(alias, ("enforce", "warn"))
        return Trusted(
            alias,
            publisher,
            policy,
            stale,
            alias in self.rules,
            self.code.get(alias, "refuse"),
            root_v=1,
            delegation_version=1,
            seq=3,
            seen=CHECKED,
            name="The Lab",
            domain=DOMAIN,
            domain_result="https",
            domain_checked=CHECKED,
            domain_proved=CHECKED,
        )

    async def add(self, alias: str, publisher_id: str) -> Pin:
        await self._ask((alias, publisher_id))
        self.pins[alias] = publisher_id
        return Pin(alias, publisher_id)

    async def remove(self, alias: str) -> Pin:
        await self._ask(alias)
        if alias not in self.pins:
            raise NotFoundError(f'no publisher is pinned as "{alias}"')
        return Pin(alias, self.pins.pop(alias))

    async def set_policy(
        self, who: str, policy: str | None, stale: str | None, code: str | None = None
    ) -> RuleSet:
        await self._ask((who, policy, stale) if code is None else (who, policy, stale, code))
        if code is not None:
            self.code[who] = code
        before = self.rules.get(who, ("enforce", "warn"))
        if policy == "default":
            self.rules.pop(who, None)
        elif policy or stale:
            self.rules[who] = (policy or before[0], stale or before[1])
        now = self.rules.get(who, ("enforce", "warn"))
        runs = self.code.get(who, "refuse")
        return RuleSet(who, self.pins.get(who, who), *now, who in self.rules, runs)

    async def export_list(self) -> TrustList:
        await self._ask("export")
        return TrustList("{}\n", len(self.pins))

    async def import_list(self, text: str, *, confirmed: bool) -> Imported:
        await self._ask((text, confirmed))
        return Imported(confirmed, (ListEntry("new", "c" * 52, "warn", "warn"),), 1)

    async def candidates(self, alias: str) -> Sequence[Candidate]:
        await self._ask(f"candidates {alias}")
        return () if alias in self.pins else self.claimed.get(alias, ())

    async def check(self, who: str | None) -> Sequence[DomainLook]:
        await self._ask(f"check {who}")
        return [
            DomainLook(alias, publisher, DOMAIN, "https", CHECKED, CHECKED)
            for alias, publisher in sorted(self.pins.items())
            if who in (None, alias, publisher)
        ]

    async def set_profile(self, name: str | None, domain: str | None) -> Profile:
        await self._ask(("profile", name, domain))
        return Profile(next(iter(self.pins.values())), name or "The Lab", domain or DOMAIN)

    async def domain(self, domain: str) -> DomainSays:
        await self._ask(f"domain {domain}")
        named = [NamedPublisher(each, ("https",)) for each in self.pins.values()]
        return DomainSays(domain, tuple(named))
