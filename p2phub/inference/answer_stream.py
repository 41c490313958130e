"""What has come for one request and was not taken yet.

Whoever reads for all requests puts and goes on; the one who asked takes. It costs little, because
every token passes through one: no lock, no event for each, and no wait where something is there.
What is held is bounded by what was asked for, such as the most tokens of an answer.
"""

from collections import deque
from typing import Any

import trio

from p2phub.errors import P2PHubError


class AnswerStream:
    """What has come for one request and was not taken yet."""

    __slots__ = ("_came", "_waiting")

    def __init__(self) -> None:
        self._came: deque[Any] = deque()
        self._waiting: trio.lowlevel.Task | None = None

    def put(self, item: Any) -> None:
        self._came.append(item)
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    async def take(self) -> Any:
        """The next one; raises it if it is an error. One task takes at a time."""
        if self._came:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        item = self._came.popleft()
        if isinstance(item, P2PHubError):
            raise item
        return item

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED
