"""What `Hub` and `AsyncHub` can do about what waits at the gate of a node."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from p2phub.airgap_results import Quarantined
from p2phub.client import quarantine_calls as calls
from p2phub.client.calls import Call

T = TypeVar("T")


class QuarantineMethods(ABC):
    """The part of `Hub` about quarantine."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def quarantined(self) -> Sequence[Quarantined]:
        """What came in bundles and waits to be let in, or was rejected; the oldest first."""
        return self._run(calls.waiting())

    def quarantine_check(self, reference: str) -> Quarantined:
        """Run every check again. Raises `NotFoundError`, `QuarantinedError`."""
        return self._run(calls.check(reference))

    def quarantine_decide(self, approval: bytes) -> Quarantined:
        """Hand over what an approver signed: `p2phub quarantine sign` writes it.

        Raises `MalformedError`, `UntrustedError` (who signed may not), `NotFoundError`,
        `QuarantinedError` (it is about something else; a check failed).
        """
        return self._run(calls.decide(approval))

    def quarantine_reject(self, reference: str, reason: str) -> Quarantined:
        """Keep a release out and drop its files. Raises `NotFoundError`, `QuarantinedError`."""
        return self._run(calls.reject(reference, reason))

    def quarantine_allow(self, reference: str) -> Quarantined:
        """Let a rejected release come again. Raises `NotFoundError`, `UsageError`."""
        return self._run(calls.allow(reference))


class AsyncQuarantineMethods(ABC):
    """The same for `AsyncHub`: `QuarantineMethods` tells arguments, results and errors."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def quarantined(self) -> Sequence[Quarantined]:
        return await self._run(calls.waiting())

    async def quarantine_check(self, reference: str) -> Quarantined:
        return await self._run(calls.check(reference))

    async def quarantine_decide(self, approval: bytes) -> Quarantined:
        return await self._run(calls.decide(approval))

    async def quarantine_reject(self, reference: str, reason: str) -> Quarantined:
        return await self._run(calls.reject(reference, reason))

    async def quarantine_allow(self, reference: str) -> Quarantined:
        return await self._run(calls.allow(reference))
