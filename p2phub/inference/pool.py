"""The engines of this node: started when somebody asks, kept for a while, and within its memory.

`lease` holds an engine for one request. The first one starts it, those who come meanwhile wait for
the same start; the last one leaves it loaded for `keep_alive` seconds.

Rules it keeps:
 * one engine for each release and way of running, however many ask at once; adapters are attached
   to it while it answers (`pool_adapters`);
 * memory is reserved before a load; for room, engines are unloaded that nobody holds, the least
   recently used one first (`memory`), and never one that somebody holds;
 * a load that failed is told to all who waited for it, and is begun again for none of them; a load
   that nobody waits for any more is given up;
 * an engine that was lost is started anew for the next lease; one that is lost again and again is
   not, for a time that doubles;
 * the slots of an engine go to clients in turns (`turns`), however many requests one of them has;
 * who comes when so many wait that there is no place is told when to come again, and waits not;
 * what is unloaded, for whatever reason, is asked nothing more.

Who may ask, and for which release, is for the node. torch is never imported here.
"""

import math
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import trio

from p2phub.errors import BusyError, EngineError, NoMemoryError, P2PHubError, plain_errors
from p2phub.inference.engine import Engine, ModelInfo
from p2phub.inference.memory import HOST, Device, Machine, Need, named, place
from p2phub.inference.pool_entry import Entry, Losses, key_of
from p2phub.inference.pool_room import Rooms, require_all
from p2phub.inference.spec import ModelSpec
from p2phub.inference.turns import TurnEngine
from p2phub.inference.vllm import cache_share
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.inference.worker_engine import Report, start_worker

KEEP_ALIVE: Final = 300.0
"""Seconds for which an engine stays after its last lease."""
QUEUE: Final = 512
"""Leases of one engine at once."""
LONGEST_RETRY: Final = 60.0
"""Seconds after which anybody may come again."""

Arriving = AsyncIterable[Tabled | Arrived | Moved]
"""What comes of files that were not complete when the load began."""


class Start(Protocol):
    """How an engine is started; it is watched in `nursery`. Raises what loading raises."""

    async def __call__(
        self, nursery: trio.Nursery, spec: ModelSpec, report: Report, arriving: Arriving | None
    ) -> Engine: ...


class Devices(Protocol):
    """The memory of a machine; `memory.Machine` is the real one."""

    async def devices(self) -> tuple[Device, ...]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """One engine, or one that is loading."""

    spec: ModelSpec
    info: ModelInfo | None
    """None while it loads."""
    device: str
    """Where its memory is reserved, such as `cuda:0,cuda:1`; empty while that is decided."""
    size: int
    """Bytes that are reserved for it, on all of its devices."""
    busy: int
    """Leases that it works at."""
    waiting: int
    """Leases that wait: for it to load, or for a slot."""
    keep_seconds: float
    """Seconds until it is unloaded if nobody asks; infinite: never."""
    pid: int
    """Its process; 0 if that is not known."""


class Pool:
    """See the module. Made by `open_pool`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        memory: int = 0,
        keep_alive: float = KEEP_ALIVE,
        queue: int = QUEUE,
        start: Start = start_worker,
        machine: Devices | None = None,
    ) -> None:
        self._nursery, self._start = nursery, start
        self._keep_alive, self._queue, self._rooms = keep_alive, queue, Rooms(memory)
        self._machine = Machine() if machine is None else machine
        self._entries: dict[str, Entry] = {}
        self._losses = Losses()
        self._deciding = trio.Lock()
        """Held while room is made, so that two loads do not count on the same memory."""
        self._changed = trio.Event()

    @asynccontextmanager
    async def lease(
        self,
        spec: ModelSpec,
        report: Report | None = None,
        keep_alive: float | None = None,
        *,
        need: Need = Need(),  # noqa: B008 - it is frozen
        arriving: Arriving | None = None,
        client: str = "",
    ) -> AsyncIterator[Engine]:
        """Hold the engine of `spec`, with its adapters; it is started if there is none.

        `report` hears of the load. `keep_alive`: seconds for which it stays after this lease if no
        other comes; None: as the pool was told; `math.inf`: for ever. `need`: memory that it will
        take, until it tells itself; if that is not known, the size of its files. `arriving`: for a
        spec with files that still come. `client`: for whom it is, in turns with others.

        Raises `BusyError`, `NoMemoryError`, `EngineError`, and whatever loading raises.
        """
        entry, engine = await self._held(spec, report, need, arriving)
        reserve = partial(self._reserve, entry)
        try:
            async with entry.adapters.held(engine, spec.adapters, reserve):
                yield TurnEngine(engine, entry.turns, client)
        finally:
            entry.keep_alive = self._keep_alive if keep_alive is None else keep_alive
            entry.release(trio.current_time())
            self._changed.set()

    def loaded(self) -> tuple[Loaded, ...]:
        """All engines, those that are loading included, in the order in which they were asked for.

        What is told of one is of now: it may be gone when it is read.
        """
        return tuple(self._row(entry) for entry in self._entries.values())

    async def unload(self, release: str, variant: str | None = None) -> None:
        """Unload every engine of a release at once, whoever holds it, or those of one `variant`.

        Returns once they are gone.
        """
        found = [
            each
            for each in self._entries.values()
            if each.spec.release == release and variant in (None, each.spec.variant)
        ]
        async with trio.open_nursery() as nursery:
            for entry in found:
                nursery.start_soon(self._end, entry, "was taken back")

    async def detach(self, release: str) -> None:
        """Take the adapter of this release from every engine. Requests that use it end with
        `EngineError`, the others go on. Returns once it is gone."""
        async with trio.open_nursery() as nursery:
            for entry in self._entries.values():
                if entry.engine is not None:
                    nursery.start_soon(entry.adapters.detach, entry.engine, release)

    # ------------------------------------------------------------ leases

    async def _held(
        self, spec: ModelSpec, report: Report | None, need: Need, arriving: Arriving | None
    ) -> tuple[Entry, Engine]:
        entry = self._present(key_of(spec)) or self._begin(spec, need, arriving)
        self._require_place(entry)
        entry.hold()
        if report is not None:
            entry.reports.append(report)
        try:
            await entry.settled.wait()
            return entry, entry.loaded()
        except BaseException:
            entry.release(trio.current_time())
            if not entry.leases and not entry.settled.is_set():
                self._drop(entry)
                entry.loading.cancel()
            raise
        finally:
            if report is not None:
                entry.reports.remove(report)

    def _present(self, key: str) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.engine is not None and entry.engine.lost.is_set():
            self._mourn(entry)
            return None
        return entry

    def _begin(self, spec: ModelSpec, need: Need, arriving: Arriving | None) -> Entry:
        key = key_of(spec)
        self._losses.require_peace(key, spec.name, trio.current_time())
        if not need.bytes:
            need = Need(sum(file.content.size for file in spec.files))
        base, now = replace(spec, adapters=()), trio.current_time()
        entry = self._entries[key] = Entry(key, base, need, now, self._keep_alive)
        self._nursery.start_soon(self._live, entry, arriving)
        return entry

    def _require_place(self, entry: Entry) -> None:
        if self._queue and entry.leases >= self._queue:
            seconds = min(max(1.0, entry.wait_seconds()), LONGEST_RETRY)
            raise BusyError(
                f"{entry.spec.name} has {entry.leases} requests to answer, and takes no more",
                remedy=f"come again in {math.ceil(seconds)} seconds",
                retry_after=seconds,
            )

    # ------------------------------------------------------------ one engine

    async def _live(self, entry: Entry, arriving: Arriving | None) -> None:
        """Load it, and wait for its end."""
        try:
            with entry.loading, plain_errors():
                spec = await self._placed(entry)
                entry.engine = await self._start(self._nursery, spec, entry.report, arriving)
        except P2PHubError as error:
            entry.failure = entry.failure or error
            if isinstance(error, EngineError) and not isinstance(error, NoMemoryError):
                self._losses.note(entry.key, error, trio.current_time(), lived=0.0)
        finally:
            if entry.engine is None:
                self._drop(entry)
            entry.settle(trio.current_time())
            self._changed.set()
        if entry.engine is None:
            return
        if entry.gone:  # it was unloaded at the moment it was ready
            await entry.engine.close()
        await entry.engine.lost.wait()
        if self._entries.get(entry.key) is entry:
            self._mourn(entry)

    async def _end(self, entry: Entry, why: str) -> None:
        """Unload it. Nobody is given it any more."""
        self._drop(entry)
        if entry.engine is not None:
            await entry.engine.close()
        else:
            entry.failure = EngineError(f"{entry.spec.name} {why}", remedy="ask again")
            entry.loading.cancel()
            await entry.settled.wait()

    def _drop(self, entry: Entry) -> None:
        entry.gone = True
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]

    def _mourn(self, entry: Entry) -> None:
        """It was lost, and nobody asked it to end."""
        self._drop(entry)
        if entry.engine is None:
            return
        now = trio.current_time()
        error = EngineError(f"{entry.spec.name} broke", remedy="look into the log of this node")
        self._losses.note(entry.key, error, now, lived=now - entry.since)
        self._nursery.start_soon(entry.engine.close)

    # ------------------------------------------------------------ memory

    async def _placed(self, entry: Entry) -> ModelSpec:
        """Where it is loaded to, once there is room. Raises `NoMemoryError`, `UnsupportedError`."""
        async with self._deciding:
            devices = await self._machine.devices()
            options = entry.spec.options
            require_all(options.device, devices)
            name = place(entry.spec.engine, options.device, devices, shares=entry.spec.shares)
            there = named(name, devices)
            if there:
                await self._make_room(entry, there, entry.need.most)
                options = replace(options, cache_bytes=await self._cache(entry, name))
            entry.device = name
        gpus = [each for each in devices if each.name != HOST]
        one_of_many = not options.device and name != HOST and len(gpus) >= 2
        if one_of_many or "," in options.device:
            options = replace(options, device=name)
        return replace(entry.spec, options=options)

    async def _cache(self, entry: Entry, name: str) -> int:
        """Bytes for keys and values: of an engine that sets them aside itself, what is left."""
        told = entry.spec.options.cache_bytes
        if told or not cache_share(entry.spec.engine, name, 1):
            return told
        there = named(name, await self._machine.devices())  # what was unloaded just now is free
        cache = self._rooms.cache(entry, there, self._entries.values())
        entry.need = replace(entry.need, cache_bytes=cache)
        return cache

    async def _reserve(self, entry: Entry, size: int) -> None:
        """Make room for so many bytes more of an engine that runs. Raises `NoMemoryError`."""
        async with self._deciding:
            there = named(entry.device, await self._machine.devices())
            if there:
                await self._make_room(entry, there, size)

    async def _make_room(self, entry: Entry, there: Sequence[Device], size: int) -> None:
        for key in self._rooms.who_goes(entry, there, size, self._entries.values()):
            await self._end(self._entries[key], "was unloaded to make room")

    async def sweep(self) -> None:
        """Unload what nobody asked for long enough, for ever."""
        while True:
            self._changed = trio.Event()
            due = [each for each in self._entries.values() if each.due() <= trio.current_time()]
            for entry in due:
                self._drop(entry)
                self._nursery.start_soon(self._end, entry, "was unloaded")
            next_one = min((each.due() for each in self._entries.values()), default=math.inf)
            with trio.move_on_at(next_one):
                await self._changed.wait()

    async def close(self) -> None:
        """Unload everything."""
        async with trio.open_nursery() as nursery:
            for entry in tuple(self._entries.values()):
                nursery.start_soon(self._end, entry, "was unloaded: this node ends")

    def _row(self, entry: Entry) -> Loaded:
        slots = max(1, entry.engine.info.slots) if entry.engine is not None else 0
        return Loaded(
            spec=replace(entry.spec, adapters=entry.adapters.attached),
            info=entry.engine.info if entry.engine is not None else None,
            device=entry.device,
            size=entry.bytes(),
            busy=min(entry.leases, slots),
            waiting=max(0, entry.leases - slots),
            keep_seconds=max(0.0, entry.due() - trio.current_time())
            if not entry.leases
            else entry.keep_alive,
            pid=getattr(entry.engine, "pid", 0),
        )


@asynccontextmanager
async def open_pool(**options: Any) -> AsyncIterator[Pool]:
    """A pool with the options of `Pool`, for as long as the block lasts."""
    with plain_errors():
        async with trio.open_nursery() as nursery:
            pool = Pool(nursery, **options)
            nursery.start_soon(pool.sweep)
            try:
                yield pool
            finally:
                with trio.CancelScope(shield=True):
                    await pool.close()
                nursery.cancel_scope.cancel()
