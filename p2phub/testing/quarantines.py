"""The gate of a fake node, at which one release waits.

>>> WAITS.state, [check.name for check in WAITS.checks if not check.ok]
('waiting', ['licence'])
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from p2phub.airgap_results import QuarantineCheck, Quarantined
from p2phub.errors import NotFoundError
from p2phub.formats.approval import Check, checks_digest
from p2phub.formats.ids import PublisherId
from p2phub.node.events import Report
from p2phub.trust.keys import SigningKey

CHECKS: Final = (Check("signatures", True, "verified"), Check("licence", False, "gpl-3.0"))
WAITS: Final = Quarantined(
    ref="lab/minilm@" + "5" * 16,
    commit="5" * 40,
    digest="5" * 64,
    publisher_id=str(PublisherId(b"p" * 32)),
    name="minilm",
    kind="model",
    license="gpl-3.0",
    files=1,
    bytes=1000,
    verdict="verified",
    state="waiting",
    since=1_700_000_000,
    origin="/media/stick",
    reason="",
    case="ab" * 16,
    checks=tuple(QuarantineCheck(each.name, each.ok, each.detail) for each in CHECKS),
    checks_digest=checks_digest(CHECKS).hex(),
    approvers=("ann=" + SigningKey(b"a" * 32).public.hex(),),
    needed=1,
)


class FakeQuarantine:
    """Lets in and keeps out whatever it is told to; `decided`: what was signed."""

    def __init__(self, ask: Callable[[object], Awaitable[None]]) -> None:
        self._ask = ask
        self.row = WAITS
        self.decided: list[bytes] = []

    async def waiting(self) -> Sequence[Quarantined]:
        await self._ask("quarantine")
        return (self.row,)

    async def look(self, reference: str) -> Quarantined:
        await self._ask(("look", reference))
        if "minilm" not in reference:
            raise NotFoundError(f"nothing that is called {reference} waits in quarantine")
        return self.row

    async def check(self, reference: str, report: Report) -> Quarantined:
        return await self.look(reference)

    async def decide(self, approval: bytes) -> Quarantined:
        await self._ask("decide")
        self.decided.append(approval)
        return replace(self.row, state="let in", needed=0)

    async def reject(self, reference: str, reason: str) -> Quarantined:
        await self._ask(("reject", reference, reason))
        return replace(self.row, state="rejected", reason=reason)

    async def allow(self, reference: str) -> Quarantined:
        return await self.look(reference)
