"""What a running node is made of: the values every use case is handed, and nothing it could do by
itself.

`open_node` in `node.py` fills this in the order of its lines. Use cases take a `Services` instead
of a node, so that a test can hand them fakes of just the parts they touch."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import trio

from p2phub.config import Config
from p2phub.network.control_client import ControlClient
from p2phub.node.acquaintances import Acquaintances
from p2phub.node.announce import Announcer
from p2phub.node.auditing import Audit
from p2phub.node.domains import Domains
from p2phub.node.knowledge import Knowledge
from p2phub.node.neighbours import Neighbours
from p2phub.node.pressure import Pressure
from p2phub.node.spreading import Spreading
from p2phub.node.traffic import Traffic
from p2phub.node.web_seeds import WebSeeds
from p2phub.node.withdrawals import Withdrawals
from p2phub.protocol.liars import Liars
from p2phub.protocol.ports import ControlNetwork, Records
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store


class Bell:
    """Wakes whoever waits; a ring that nobody heard is heard by the next."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


Key = TypeVar("Key")


class Turns:
    """One at a time for each key. A key that nobody wants costs nothing."""

    def __init__(self) -> None:
        self._locks: dict[object, trio.Lock] = {}
        self._together: dict[object, trio.Event] = {}
        """The keys that somebody has many of: set when they are free again."""

    @asynccontextmanager
    async def of(self, key: object) -> AsyncIterator[None]:
        """Wait for the turn of whoever has `key`, and have it for as long as the block lasts."""
        while (free := self._together.get(key)) is not None:
            await free.wait()
        lock = self._locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            self._forget(key, lock)

    @asynccontextmanager
    async def of_those_free(self, keys: Iterable[Key]) -> AsyncIterator[list[Key]]:
        """Have all of `keys` that nobody has now, for as long as the block lasts: which those are.

        Waits for nobody, so that two who want the same can't wait for each other.
        """
        free = trio.Event()
        taken = self._locks.keys() | self._together.keys()
        ours = [key for key in dict.fromkeys(keys) if key not in taken]
        self._together.update(dict.fromkeys(ours, free))
        try:
            yield ours
        finally:
            for key in ours:
                del self._together[key]
            free.set()

    def taken(self, key: object) -> bool:
        """Whether somebody has `key` now."""
        return key in self._locks or key in self._together

    def _forget(self, key: object, lock: trio.Lock) -> None:
        used = lock.statistics()
        if not used.locked and not used.tasks_waiting:
            self._locks.pop(key, None)


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class DiskThreads:
    """The threads for blocking store work: `await on_disk(work, *arguments)`."""

    def __init__(self, threads: int) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def __call__(
        self, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        return await trio.to_thread.run_sync(lambda: work(*args, **kwargs), limiter=self._limiter)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one node. `now()` gives unix seconds."""

    config: Config
    now: Callable[[], int]
    store: Store
    keyring: Keyring
    knowledge: Knowledge
    network: ControlNetwork
    records: Records
    control: ControlClient
    neighbours: Neighbours
    acquaintances: Acquaintances
    """Which peers want or have what, as they say themselves."""
    web_seeds: WebSeeds
    domains: Domains
    """Looks at the domains that publishers claim."""
    announcer: Announcer
    withdrawals: Withdrawals
    """Tells whatever serves a release that it was taken back."""
    spreading: Spreading
    """Tells peers of new heads and notices, and hears of theirs."""
    traffic: Traffic
    on_disk: DiskThreads
    """Runs blocking store work in a thread."""
    data_port: int
    """Where the data plane listens."""
    uploads: Callable[[], int]
    """How many data connections peers have open now."""
    hashing_waits: "Bell"
    """Rung when there are new blobs to hash whole."""
    bringing: "Turns"
    """Whose turn it is to bring a file: who waited for it finds it here."""
    audit: Audit
    """Notes what came and left by bundles, and who let it in."""
    signing: trio.Lock
    """Held while our own index is read, changed and signed."""
    pressure: Pressure = field(default_factory=lambda: Pressure(time.monotonic))
    """What models that answer need of this machine: others yield to it."""
    liars: Liars = field(default_factory=Liars)
    """Who sent wrong bytes lately, to any pull."""
