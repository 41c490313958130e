"""Answers of the Responses API that a later request may go on from, for a while and in memory only.

Whoever knows the id of an answer may read it; nobody can guess one. The oldest ones are forgotten
first, and all when the node stops.

>>> store = ResponseStore(most=1)
>>> store.put("a", ({"role": "user"},), {}); store.put("b", (), {})
>>> store.get("a") is None, store.get("b") is None
(True, False)
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from p2phub.inference.requests import Json

MAX_RESPONSES: Final = 512
"""Answers that are kept."""
MAX_BYTES: Final = 64 << 20
"""Of all of them, as JSON."""


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """An answer, and the conversation that it ends."""

    turns: tuple[Json, ...]
    response: Json
    size: int


class ResponseStore:
    """The last answers."""

    def __init__(self, most: int = MAX_RESPONSES, most_bytes: int = MAX_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, KeptResponse] = OrderedDict()
        self._bytes = 0

    def put(self, name: str, turns: tuple[Json, ...], response: Json) -> None:
        """Keep an answer; one that is larger than all may be is not."""
        size = len(json.dumps([turns, response]))
        if size > self._most_bytes:
            return
        self._kept[name] = KeptResponse(turns, response, size)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].size

    def get(self, name: str) -> KeptResponse | None:
        """What is kept under that id."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def drop(self, name: str) -> bool:
        """Forget it: whether it was there."""
        found = self._kept.pop(name, None)
        self._bytes -= found.size if found else 0
        return found is not None
