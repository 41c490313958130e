"""How much of the models one client gets: so many answers at once, and so many requests a minute.

A client is the address it calls from together with the key it shows: programs of one machine are
told apart by their keys, and machines that share a key by their addresses. Nobody waits here: who
asks for more is told to come again, and when.

Rules it keeps:
 * who asked for nothing for a while has a minute's requests at once, and then one whenever the time
   of one has passed;
 * on loopback any key is taken, so `KEYS` of one address are told apart at a time: one who makes
   up a key for each request is as many clients as that, and no more;
 * the address is that of the connection. What a header says of another (`X-Forwarded-For`) anybody
   can write;
 * those who are refused are told different times: as far apart as answers have ended lately, so
   that they find a place when they come again, and do not all come at once.

>>> crowd = Crowd(InferenceLimits(per_client=2, in_all=3), clock=float)
>>> with crowd.entered("a", 2), crowd.entered("b"):
...     crowd.inside
3
>>> with crowd.entered("a", 3):
...     pass
Traceback (most recent call last):
...
p2phub.errors.BusyError: a client may have 2 answers under way at once
>>> paced = Crowd(InferenceLimits(per_minute=1), clock=iter([0.0, 45.0, 60.0]).__next__)
>>> paced.came("a")
>>> paced.came("a")
Traceback (most recent call last):
...
p2phub.errors.BusyError: a client may ask 1 times a minute
>>> paced.came("a")
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio
from starlette.requests import Request

from p2phub.errors import BusyError
from p2phub.inference_settings import InferenceSettings

MINUTE: Final = 60.0
_ROUNDING: Final = 1e-6
"""Seconds that adding up may be wrong by."""
REMEMBERED: Final = 4096
"""Clients after which those are forgotten that may ask as much again as anybody."""
KEYS: Final = 16
"""Keys of one address that make clients of their own, in a minute."""
LONGEST_RETRY: Final = 60.0
"""Seconds after which anybody may come again; clients wait no longer than a minute."""
_WEIGHT: Final = 0.1
"""Of the newest gap between two answers that ended, in their mean."""


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """What the gateway lets in at once; below `guard.MAX_REQUESTS`, so that `ps` gets through."""

    per_client: int = 128
    """Answers under way for one client; `n` choices count as that many."""
    per_minute: int = 0
    """Requests of one client; 0: no limit."""
    in_all: int = 224
    large_bodies: int = 8
    """Requests with more than `guard.MAX_BODY` bytes in memory."""
    slow_bodies: int = 64
    """Requests that did not come whole at once, however many clients they are of: the rest of
    `in_all` is for those that do."""
    retry_after: float = 1.0
    """Seconds after which a client that is refused is to come again, at least."""


def limits_of(inference: InferenceSettings) -> InferenceLimits:
    """What node.toml says.

    >>> limits_of(InferenceSettings(requests_per_minute=30)).per_minute
    30
    """
    return InferenceLimits(
        per_client=inference.answers_per_client, per_minute=inference.requests_per_minute
    )


class Crowd:
    """Who has answers under way, and who asked lately. `clock()` gives seconds, any epoch."""

    def __init__(
        self, limits: InferenceLimits, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.limits = limits
        self._clock = clock
        self.inside = 0
        self.large = self.slow = 0
        self._of: Counter[str] = Counter()
        self._asking: Counter[str] = Counter()
        """By client: its requests, those whose bodies still come included."""
        self._free: dict[str, float] = {}
        """When each client may ask as much again as one who never asked."""
        self._seen: dict[str, dict[str, float]] = {}
        """By address: the keys that make clients, and when each was shown last."""
        self._gap = 0.0
        """Seconds from one answer that ended to the next; 0: none has yet."""
        self._since = 0.0
        """When the last one ended, or when the first of those under way began."""
        self._line = 0.0
        """The last time that somebody was told to come again at."""

    @property
    def clients(self) -> int:
        """Who of them there are."""
        return len(self._of)

    def client_of(self, request: Request) -> str:
        """Who asks: where they call from, and the key they show there."""
        address = request.client.host if request.client else ""
        return self.named(address, request.headers.get("authorization", ""))

    def named(self, address: str, key: str) -> str:
        """The client that shows a key at an address; those with one too many are one client."""
        now = self._clock()
        seen = self._seen.get(address, {})
        seen = {
            each: at
            for each, at in seen.items()
            if now - at < MINUTE or self._of[_name(address, each)]
        }
        if key not in seen and len(seen) >= KEYS:
            return address
        self._seen[address] = seen | {key: now}
        if len(self._seen) > REMEMBERED:
            self._seen = {
                name: keys for name, keys in self._seen.items() if now - max(keys.values()) < MINUTE
            }
        return _name(address, key)

    def came(self, client: str) -> None:
        """Count one request more. Raises `BusyError` for one too many in a minute."""
        most = self.limits.per_minute
        if not most:
            return
        now = self._clock()
        free = max(now, self._free.get(client, now)) + MINUTE / most
        if free - now > MINUTE + _ROUNDING:
            raise BusyError(
                f"a client may ask {most} times a minute",
                remedy="Ask less often, or set inference.requests_per_minute in node.toml.",
                retry_after=free - now - MINUTE,
            )
        self._free[client] = free
        if len(self._free) > REMEMBERED:
            self._free = {name: each for name, each in self._free.items() if each > now}

    @contextmanager
    def entered(self, client: str, answers: int = 1) -> Iterator[None]:
        """Count `answers` for the length of the block. Raises `BusyError`."""
        limits = self.limits
        if self._of[client] + answers > limits.per_client:
            raise self._too_many_of_one()
        if self.inside + answers > limits.in_all:
            raise self._busy(f"{self.inside} answers are under way already")
        if not self.inside:
            self._since = self._clock()
        self.inside += answers
        self._of[client] += answers
        try:
            yield
        finally:
            self.inside -= answers
            self._of[client] -= answers
            if not self._of[client]:
                del self._of[client]
            self._ended(answers)

    def take_large(self) -> None:
        """One more large body comes into memory. Raises `BusyError`."""
        if self.large >= self.limits.large_bodies:
            raise self._busy(f"{self.large} large requests are under way already")
        self.large += 1

    def take_slow(self) -> None:
        """One more body is waited for. Raises `BusyError`."""
        if self.slow >= self.limits.slow_bodies:
            raise self._busy(f"{self.slow} requests are waited for already")
        self.slow += 1

    @contextmanager
    def body(self, client: str) -> Iterator["Place"]:
        """A place for the body of one request, as long as the block lasts.

        Raises `BusyError` if this client has as many requests under way as it may have answers.
        """
        if self._asking[client] >= self.limits.per_client:
            raise self._too_many_of_one()
        place = Place(self)
        self._asking[client] += 1
        try:
            yield place
        finally:
            place.whole()
            self.large -= place.large
            self._asking[client] -= 1
            if not self._asking[client]:
                del self._asking[client]

    def _too_many_of_one(self) -> BusyError:
        return self._busy(
            f"a client may have {self.limits.per_client} answers under way at once",
            "Try again when one has ended, or set inference.answers_per_client in node.toml.",
        )

    def _ended(self, answers: int) -> None:
        """Learn how far apart answers end, while there are any."""
        now = self._clock()
        gap, self._since = (now - self._since) / answers, now
        self._gap = self._gap + _WEIGHT * (gap - self._gap) if self._gap else gap

    def _busy(self, what: str, remedy: str = "Try again when one has ended.") -> BusyError:
        """The refusal of one more, who is to come behind those that were refused before."""
        now, least = self._clock(), self.limits.retry_after
        self._line = min(max(self._line + self._gap, now + least), now + LONGEST_RETRY)
        return BusyError(what, remedy=remedy, retry_after=self._line - now)


def _name(address: str, key: str) -> str:
    return f"{address} {key}"


class Place:
    """Whether the body of one request counts among the large ones, and the slow ones."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.large = self.slow = False

    def is_large(self) -> None:
        """It is large, until the request ends. Raises `BusyError` if too many are."""
        if not self.large:
            self._crowd.take_large()
            self.large = True

    def is_slow(self) -> None:
        """It is waited for, until it is whole. Raises `BusyError` if too many are."""
        if not self.slow:
            self._crowd.take_slow()
            self.slow = True

    def whole(self) -> None:
        """All of it is here."""
        self._crowd.slow -= self.slow
        self.slow = False
