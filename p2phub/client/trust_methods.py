"""What `Hub` and `AsyncHub` can do about trust: the same calls, at once or awaited."""

from abc import ABC, abstractmethod
from typing import TypeVar

from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.results import Pin
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

T = TypeVar("T")


class TrustMethods(ABC):
    """The part of `Hub` about trust."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def trust_list(self) -> list[Trusted]:
        """Whom the node trusts: aliases, rules, and what is known of each publisher."""
        return self._run(calls.trust_list())

    def trust_add(self, alias: str, publisher_id: str) -> Pin:
        """Pin `alias` to a publisher. Raises `AliasTakenError` if it names another."""
        return self._run(calls.trust_add(alias, publisher_id))

    def trust_remove(self, alias: str) -> Pin:
        """Forget an alias. Raises `NotFoundError`."""
        return self._run(calls.trust_remove(alias))

    def trust_policy(
        self,
        publisher: str,
        policy: str | None = None,
        *,
        stale: str | None = None,
        code: str | None = None,
    ) -> RuleSet:
        """Lay down a rule for one publisher; tells the one that holds now.

        Args:
            publisher: an alias or a full publisher id.
            policy: `off`, `warn` or `enforce`; `default` drops the rule; None leaves it.
            stale: `warn` or `refuse`, for what its publisher has not renewed; None leaves it.
            code: `allow` or `refuse`: whether Python files of its models may run when one is
                loaded; None leaves it.

        Raises `NotFoundError`, `UsageError`.
        """
        return self._run(calls.trust_policy(publisher, policy, stale, code))

    def trust_export(self) -> TrustList:
        """A list of every alias and every rule, as text for another machine."""
        return self._run(calls.trust_export())

    def trust_import(self, text: str, *, confirmed: bool = False) -> Imported:
        """What such a list adds to what is known here; what is known is never changed by it.

        Args:
            text: the list.
            confirmed: a person has seen what it adds; only then is it done.

        Raises `UsageError` for a list with any mistake, which adds nothing.
        """
        return self._run(calls.trust_import(text, confirmed=confirmed))

    def trust_candidates(self, alias: str) -> list[Candidate]:
        """Publishers known here that claim a name which is no alias yet. Pins nobody."""
        return self._run(calls.trust_candidates(alias))

    def trust_check(self, publisher: str | None = None) -> list[DomainLook]:
        """Ask the domains that publishers claim whether they vouch for them, over the network.

        Args:
            publisher: an alias or a full id; None asks for every alias.
        """
        return self._run(calls.trust_check(publisher))

    def trust_domain(self, domain: str) -> DomainSays:
        """Ask a domain which publishers it names. Raises `RemoteError` if it cannot be asked."""
        return self._run(calls.trust_domain(domain))

    def profile(self, name: str | None = None, domain: str | None = None) -> Profile:
        """Sign what our own publisher says of itself; tells what it says now.

        Args:
            name: what it calls itself; empty takes the name away, None leaves it.
            domain: like `example.org`; empty takes it away, None leaves it.

        Raises `UsageError` without a publisher, or for what is no name or no domain.
        """
        return self._run(calls.profile(name, domain))


class AsyncTrustMethods(ABC):
    """The part of `AsyncHub` about trust: `TrustMethods` tells arguments, results and errors."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def trust_list(self) -> list[Trusted]:
        return await self._run(calls.trust_list())

    async def trust_add(self, alias: str, publisher_id: str) -> Pin:
        return await self._run(calls.trust_add(alias, publisher_id))

    async def trust_remove(self, alias: str) -> Pin:
        return await self._run(calls.trust_remove(alias))

    async def trust_policy(
        self,
        publisher: str,
        policy: str | None = None,
        *,
        stale: str | None = None,
        code: str | None = None,
    ) -> RuleSet:
        return await self._run(calls.trust_policy(publisher, policy, stale, code))

    async def trust_export(self) -> TrustList:
        return await self._run(calls.trust_export())

    async def trust_import(self, text: str, *, confirmed: bool = False) -> Imported:
        return await self._run(calls.trust_import(text, confirmed=confirmed))

    async def trust_candidates(self, alias: str) -> list[Candidate]:
        return await self._run(calls.trust_candidates(alias))

    async def trust_check(self, publisher: str | None = None) -> list[DomainLook]:
        return await self._run(calls.trust_check(publisher))

    async def trust_domain(self, domain: str) -> DomainSays:
        return await self._run(calls.trust_domain(domain))

    async def profile(self, name: str | None = None, domain: str | None = None) -> Profile:
        return await self._run(calls.profile(name, domain))
