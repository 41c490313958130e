"""An engine that is a child process of ours: the port `Engine` over a pair of sockets.

Many requests share the socket, told apart by their ids. One task reads, always, whatever becomes of
the answers: nobody who is slow to take his own holds up another's.

Rules it keeps:
 * who stops listening is told to the worker at once, without waiting for anything;
 * a worker that dies, talks nonsense, answers no ping for `PATIENCE` seconds or does not let go of
   a text that was cancelled is killed and reaped, and `lost` is set: every request under way ends
   with an `EngineError` that says what happened and the last lines of its log;
 * whatever happens to the task that started it, no process is left behind.
"""

import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from copy import copy
from typing import Any, Final, cast

import trio

from p2phub.errors import EngineError, GarbageError, NoMemoryError, P2PHubError, plain_errors
from p2phub.inference.answer_stream import AnswerStream
from p2phub.inference.engine import ModelInfo
from p2phub.inference.outgoing import Outgoing
from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.wire import (
    WHOLE,
    Answer,
    Arrived,
    Ask,
    Cancel,
    Close,
    Failed,
    Load,
    Loading,
    Message,
    Method,
    Moved,
    Part,
    Ping,
    Reader,
    Ready,
    Tabled,
    encode,
)
from p2phub.inference.worker_process import (
    DRAIN,
    WorkerProcess,
    how_it_ended,
    kills_for_memory,
    last_words,
)

log = logging.getLogger(__name__)

Asked = Generate | Embed | TaskRequest | Adapter | str
Report = Callable[[str, int, int], None]
"""How loading goes: (what is done now, bytes done, bytes in all)."""
PING_EVERY: Final = 5.0
PATIENCE: Final = 120.0
"""Seconds of silence, or from a cancellation to its end: a long step on a slow processor."""
POLITE: Final = 5.0
"""Seconds from asking it to end to making it."""
NEVER: Final = 1 << 62
"""Pings that nobody waits for."""
CHUNK: Final = 1 << 18
"""Bytes of one read."""


class WorkerEngine:
    """A model in a process of its own. Made by `start_worker`."""

    def __init__(
        self, spec: ModelSpec, process: WorkerProcess, report: Report, patience: float
    ) -> None:
        self.name = spec.name
        self.lost = trio.Event()
        self.gone = trio.Event()
        """Set once its process is reaped."""
        self._process, self._report, self._patience = process, report, patience
        self._info: ModelInfo | None = None
        self._loaded = AnswerStream()
        self._streams: dict[int, AnswerStream] = {}
        self._given_up: dict[int, int] = {}
        """Those that the worker has not let go yet: the ping from which on that is too long."""
        self._last_id = WHOLE
        self._pings = 0
        self._answered = 0
        """How many pings had been sent when it last said anything."""
        self._outgoing = Outgoing(process.socket)
        self._send = self._outgoing.send
        self._closing = False
        self._why: P2PHubError | None = None
        """What is said to whoever asked; None as long as it is well."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""
        assert self._info is not None, "it is not loaded yet"
        return self._info

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that it wrote."""
        return tuple(self._process.lines)

    @property
    def under_way(self) -> int:
        """Requests that the worker has not ended, cancelled ones included."""
        return len(self._streams) + len(self._given_up)

    # ------------------------------------------------------------ asking

    async def generate(self, request: Generate) -> AsyncGenerator[Piece | Finished, None]:
        id, stream = self._ask("generate", request)
        try:
            while True:
                item = cast("Piece | Finished", await stream.take())
                yield item
                if type(item) is Finished:
                    return
        finally:
            self._give_up(id)

    async def embed(self, request: Embed) -> Embeddings:
        return cast(Embeddings, await self._call("embed", request))

    async def run(self, request: TaskRequest) -> TaskAnswer:
        return cast(TaskAnswer, await self._call("run", request))

    async def count(self, request: Generate) -> int:
        return cast(int, await self._call("count", request))

    async def attach(self, adapter: Adapter) -> None:
        await self._call("attach", adapter)

    async def detach(self, which: str) -> None:
        await self._call("detach", which)

    async def close(self) -> None:
        """End it; requests under way end with `EngineError` at once. Returns once it is reaped."""
        self._lose(EngineError(f"{self.name} was unloaded", remedy="ask again to load it anew"))
        self._closing = True
        try:
            self._send(encode(Close()))
            with trio.move_on_after(POLITE):
                await self.gone.wait()
        finally:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self.gone.wait()

    async def _call(self, method: Method, value: Asked) -> Any:
        id, stream = self._ask(method, value)
        try:
            return await stream.take()
        finally:
            self._give_up(id, patience=NEVER)  # a picture may take minutes, and cannot be stopped

    def _ask(self, method: Method, value: Asked) -> tuple[int, AnswerStream]:
        if self._why is not None:
            raise _again(self._why)
        self._last_id += 1
        frame = encode(Ask(self._last_id, method, value))
        stream = self._streams[self._last_id] = AnswerStream()
        self._send(frame)
        return self._last_id, stream

    def _give_up(self, id: int, patience: int = 0) -> None:
        """Nobody listens any more; if it has not ended, tell the worker."""
        if self._streams.pop(id, None) is not None and self._why is None:
            self._given_up[id] = self._pings + patience
            self._send(encode(Cancel(id)))

    # ------------------------------------------------------------ what it says

    async def _run(self) -> None:
        """Be there for it until it is reaped."""
        over, reading, watching = trio.Event(), trio.CancelScope(), trio.CancelScope()

        async def end() -> None:
            """End the reading if that does not end with the process: others may hold its end."""
            with watching:
                await self._process.ended()
                over.set()
                await trio.sleep(DRAIN)
                reading.cancel()

        async with trio.open_nursery() as nursery:
            for task in (self._process.listen, self._outgoing.run, self._watch, end):
                nursery.start_soon(task)
            try:
                with reading:
                    await self._read()
                with trio.move_on_after(POLITE):  # it ended the stream: let it end itself
                    await over.wait()
            finally:
                with trio.CancelScope(shield=True):
                    watching.cancel()
                    self._process.kill()
                    self._lose(self._cause(await self._process.reap()))
                    self.gone.set()
                    self._tell_the_log()
                nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        reader = Reader()
        while True:
            await trio.lowlevel.wait_readable(self._process.socket.fileno())
            try:
                data = self._process.socket.recv(CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._answered = self._pings
            try:
                for message in reader.feed(data):
                    self._heard(message)
            except GarbageError as error:
                self._doom(f"sent what makes no sense ({error.message})")
                return

    def _heard(self, message: Message) -> None:
        match message:
            case Part(id, value):
                stream = self._streams.get(id)
                if type(value) is Finished:
                    self._forget(id)
                if stream is not None:
                    stream.put(value)
            case Answer(id, answer):
                if isinstance(answer, ModelInfo):
                    self._info = answer  # its adapters have changed, whoever still waits for it
                self._answered_with(id, answer)
            case Failed(id, error) if id == WHOLE:
                self._why = self._why or error
                self._loaded.put(error)
            case Failed(id, error):
                self._answered_with(id, error)
            case Loading(what, done, total):
                self._report(what, done, total)
            case Ready(info):
                self._info = info
                self._loaded.put(info)

    def _answered_with(self, id: int, last: Any) -> None:
        stream = self._streams.get(id)
        self._forget(id)
        if stream is not None:
            stream.put(last)

    def _forget(self, id: int) -> None:
        self._streams.pop(id, None)
        self._given_up.pop(id, None)

    # ------------------------------------------------------------ its health

    async def _watch(self) -> None:
        """Ask whether it still lives; a load may take as long as it takes.

        Time is counted in pings: it was not silent while we were stopped ourselves.
        """
        pause = min(PING_EVERY, self._patience / 4)
        while True:
            await trio.sleep(pause)
            if self._info is None:
                continue
            late = self._pings - self._patience / pause
            if self._answered < late:
                self._doom(f"did not answer for {self._patience:g} seconds")
            elif any(since < late for since in self._given_up.values()):
                self._doom(f"did not stop for {self._patience:g} seconds when it was told to")
            self._pings += 1
            self._send(encode(Ping(self._pings)))

    def _doom(self, what: str) -> None:
        """End it, for a reason of ours."""
        self._lose(self._error(EngineError, what))
        self._process.kill()

    def _cause(self, status: int) -> P2PHubError:
        """Why it is gone, from its exit status."""
        if status == -signal.SIGKILL and kills_for_memory() > self._process.kills_before:
            return self._error(NoMemoryError, "was killed because memory ran out")
        return self._error(EngineError, how_it_ended(status))

    def _error(self, kind: type[EngineError], what: str) -> EngineError:
        doing = "" if self._info is not None else " while it loaded"
        last = last_words(self._process.lines)
        said = f"; the last that it said: {last}" if last else ""
        remedy = "ask again: it is started anew"
        return kind(f"the process of {self.name} {what}{doing}{said}", remedy=remedy)

    def _tell_the_log(self) -> None:
        """All that it said, if nobody asked it to end."""
        if not self._closing:
            log.warning("%s\n%s", self._why, "\n".join(self._process.lines))

    def _lose(self, why: P2PHubError) -> None:
        """It answers nothing any more, for the first reason that was found."""
        self._why = self._why or why
        self.lost.set()
        self._loaded.put(_again(self._why))
        streams, self._streams = self._streams, {}
        self._given_up.clear()
        for stream in streams.values():
            stream.put(_again(self._why))

    # ------------------------------------------------------------ starting

    async def _load(
        self, spec: ModelSpec, arriving: AsyncIterable[Tabled | Arrived | Moved] | None
    ) -> None:
        """Wait until it is loaded, and tell it of what still comes."""
        self._send(encode(Load(spec)))
        with plain_errors():
            async with trio.open_nursery() as nursery:
                if arriving is not None:
                    nursery.start_soon(self._tell, arriving)
                await self._loaded.take()
                nursery.cancel_scope.cancel()

    async def _tell(self, arriving: AsyncIterable[Tabled | Arrived | Moved]) -> None:
        async for each in arriving:
            self._send(encode(each))


def _again(error: P2PHubError) -> P2PHubError:
    """The same error for one more who asked."""
    return copy(error)


async def start_worker(
    nursery: trio.Nursery,
    spec: ModelSpec,
    report: Report = lambda what, done, total: None,
    arriving: AsyncIterable[Tabled | Arrived | Moved] | None = None,
    *,
    patience: float = PATIENCE,
) -> WorkerEngine:
    """Start a process that loads `spec`, and wait until it has. Cancelled, it leaves nothing.

    `nursery`: where it is watched until it is closed. `arriving`: what comes of files that are not
    complete; an error there ends the load. Raises what loading raises, and `EngineError`.
    """
    engine = WorkerEngine(spec, WorkerProcess(spec.options), report, patience)
    nursery.start_soon(engine._run)
    try:
        await engine._load(spec, arriving)
    except BaseException:
        engine._closing = True
        engine._process.kill()
        with trio.CancelScope(shield=True):
            await engine.gone.wait()
        raise
    return engine
