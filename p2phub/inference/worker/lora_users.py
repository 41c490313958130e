"""The answers under way that use an adapter, so that they end when it is taken away.

An answer that has looked its adapter up, and was not begun when that went, would be begun without
it: so it is begun under the lock under which the others are ended, and not at all if it came late.
"""

import threading
from collections.abc import Callable
from typing import Final

from p2phub.errors import EngineError
from p2phub.inference.worker.text_answer import Answer

Submit = Callable[[Answer], Callable[[], None]]
"""Begins an answer; returns what gives its slot back."""


class Users:
    """See the module. `there`: whether the adapter with a number is still attached."""

    def __init__(self, there: Callable[[int], bool]) -> None:
        self._there: Final = there
        self._lock: Final = threading.Lock()
        self._of: dict[int, list[tuple[Answer, Callable[[], None]]]] = {}

    def begin(self, answer: Answer, submit: Submit) -> Callable[[], None]:
        """Submit an answer, or fail it if its adapter was taken away meanwhile."""
        number = answer.ask.adapter
        if not number:
            return submit(answer)
        with self._lock:
            if not self._there(number):
                answer.fail(_gone())
                return lambda: None
            stop = submit(answer)
            others = [each for each in self._of.get(number, ()) if not each[0].over]
            self._of[number] = [*others, (answer, stop)]
        return stop

    def end(self, number: int) -> None:
        """End the answers that use the adapter with this number, which is attached no more."""
        with self._lock:
            users = self._of.pop(number, [])
        for answer, stop in users:
            answer.fail(_gone())
            stop()


def _gone() -> EngineError:
    return EngineError(
        "the adapter was taken away while it answered",
        remedy="ask for the model alone, or for another adapter",
    )
