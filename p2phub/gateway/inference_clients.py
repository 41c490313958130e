"""How much of the models one client gets: so many requests at once each, and so many in all.

A client is the address it calls from together with the key it shows: programs of one machine are
told apart by their keys, and machines that share a key by their addresses. Nobody waits here: who
asks for more is told to come again.

>>> crowd = Crowd(InferenceLimits(per_client=2, in_all=3))
>>> with crowd.entered("a", 2), crowd.entered("b"):
...     crowd.inside
3
>>> with crowd.entered("a", 3):
...     pass
Traceback (most recent call last):
...
p2phub.errors.BusyError: a client may have 2 answers under way at once
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from p2phub.errors import BusyError


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """What the gateway lets in at once; below `guard.MAX_REQUESTS`, so that `ps` gets through."""

    per_client: int = 128
    """Answers under way for one client; `n` choices count as that many."""
    in_all: int = 224
    large_bodies: int = 8
    """Requests with more than `guard.MAX_BODY` bytes in memory."""
    retry_after: float = 1.0
    """Seconds after which a client that is refused is to come again."""


def client_of(request: Request) -> str:
    """Who asks: where they call from, and the key they show there."""
    address = request.client.host if request.client else ""
    return f"{address} {request.headers.get('authorization', '')}"


class Crowd:
    """Who has answers under way."""

    def __init__(self, limits: InferenceLimits) -> None:
        self.limits = limits
        self.inside = 0
        self.large = 0
        self._of: Counter[str] = Counter()

    @property
    def clients(self) -> int:
        """Who of them there are."""
        return len(self._of)

    @contextmanager
    def entered(self, client: str, answers: int = 1) -> Iterator[None]:
        """Count `answers` for the length of the block. Raises `BusyError`."""
        limits = self.limits
        if self._of[client] + answers > limits.per_client:
            raise self._busy(f"a client may have {limits.per_client} answers under way at once")
        if self.inside + answers > limits.in_all:
            raise self._busy(f"{self.inside} answers are under way already")
        self.inside += answers
        self._of[client] += answers
        try:
            yield
        finally:
            self.inside -= answers
            self._of[client] -= answers
            if not self._of[client]:
                del self._of[client]

    def take_large(self) -> None:
        """One more large body comes into memory. Raises `BusyError`."""
        if self.large >= self.limits.large_bodies:
            raise self._busy(f"{self.large} large requests are under way already")
        self.large += 1

    @contextmanager
    def body(self) -> Iterator["LargeBody"]:
        """A place for the body of one request, in case it is large, as long as the block lasts."""
        place = LargeBody(self)
        try:
            yield place
        finally:
            self.large -= place.taken

    def _busy(self, what: str) -> BusyError:
        again = self.limits.retry_after
        return BusyError(what, remedy="Try again when one has ended.", retry_after=again)


class LargeBody:
    """Whether the body of one request counts among the large ones."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.taken = False

    def take(self) -> None:
        """It does. Raises `BusyError` if there are too many."""
        if not self.taken:
            self._crowd.take_large()
            self.taken = True
