"""The main loop of a worker: frames in, requests to the backend, answers out.

Three threads of its own: one reads (so that a request can be cancelled, and files that still come
be told of, whatever the model does), one writes (`outbox`), and the first one loads the model and
then begins one request after the other. `embed`, `run` and `count` block, and have threads.

Rules it keeps:
 * an error of ours is the answer to one request; any other ends the process with its traceback on
   stderr, which is what the node tells people then;
 * the node is gone when its end of the socket is: nothing is finished first.
"""

import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Final, NoReturn

from p2phub.errors import EngineError, NoMemoryError, P2PHubError, UnsupportedError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import Finished, Piece
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
    Moved,
    Part,
    Ping,
    Pong,
    Reader,
    Ready,
    Tabled,
    encode,
)
from p2phub.inference.worker import wanted
from p2phub.inference.worker.backend import AdaptableBackend, Backend
from p2phub.inference.worker.outbox import Outbox
from p2phub.inference.worker.surroundings import settle

BROKEN: Final = 70
"""The exit code after an error that is none of ours."""
NOT_LOADED: Final = 3
"""The exit code after a model that could not be loaded, which was told."""
LAST_WORDS: Final = 5.0
"""Seconds for what is still to be sent."""
CHUNK: Final = 1 << 18
"""Bytes of one read."""
MOST_THREADS: Final = 32
"""Calls of `embed` and `run` at once; more wait. The backend may let fewer run."""
COUNTERS: Final = 2
"""Calls of `count` at once: they wait for no `embed`."""
_PACKAGE: Final = "p2phub.inference.worker"


def main(arguments: Sequence[str]) -> NoReturn:
    """Be the worker of the process whose id is the second argument, on the socket with the first
    one's number."""
    settle(int(arguments[1]))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    threading.excepthook = lambda raised: _break(raised.exc_value)
    status = BROKEN
    try:
        status = Worker(socket.socket(fileno=int(arguments[0]))).run()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        _exit(status)


class Worker:
    """One model, on one socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._outbox = Outbox(connection)
        self._inbox: SimpleQueue[Load | _Request | Close] = SimpleQueue()
        self._under_way: dict[int, _Request] = {}
        self._arrivals: Any = None
        """What has come of files that are still fetched; the loader waits for it."""
        self._weights: Any = None
        """The verified files: their folder and memory go with the model."""

    def run(self) -> int:
        """Load what the first message says, and answer until it is closed; the exit code."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        first = self._inbox.get()
        if not isinstance(first, Load):
            return 0
        try:
            backend = self._load(first.spec)
            for adapter in first.spec.adapters:
                self._attach(backend, adapter)
        except P2PHubError as error:
            return self._not_loaded(error)
        except MemoryError:
            return self._not_loaded(_no_memory(first.spec.name))
        self._outbox.put(encode(Ready(backend.info)))
        self._answer(backend)
        backend.close()
        self._put_away()
        self._outbox.finish(LAST_WORDS)
        return 0

    def _load(self, spec: ModelSpec) -> Backend:
        def tell(what: str, done: int, total: int) -> None:
            self._outbox.put(encode(Loading(what, done, total)))

        name = backend_of(spec)
        load: Callable[..., Backend] = import_module(f"{_PACKAGE}.{name}").load
        if name == "echo":
            return load(spec, None, tell)
        weights = import_module(f"{_PACKAGE}.weights").Weights(spec, self._arrivals, tell)
        self._weights = weights
        return load(spec, weights, tell)

    def _attach(self, backend: Backend, adapter: Adapter) -> ModelInfo:
        if not isinstance(backend, AdaptableBackend):
            raise _no_adapters(backend.info.engine)
        if self._weights is None:  # the echo has no files
            return backend.attach(adapter, None)
        with self._weights.beside(adapter) as files:
            return backend.attach(adapter, files)

    def _detach(self, backend: Backend, which: str) -> ModelInfo:
        if not isinstance(backend, AdaptableBackend):
            raise _no_adapters(backend.info.engine)
        return backend.detach(which)

    def _put_away(self) -> None:
        if self._weights is not None:
            self._weights.close()

    def _not_loaded(self, error: P2PHubError) -> int:
        self._put_away()
        self._outbox.put(encode(Failed(WHOLE, error)))
        self._outbox.finish(LAST_WORDS)
        return NOT_LOADED

    # ------------------------------------------------------------ the reading thread

    def _read(self) -> None:
        reader = Reader()
        while data := self._socket.recv(CHUNK):
            for message in reader.feed(data):
                self._heard(message)
        _exit(0)

    def _heard(self, message: Message) -> None:
        match message:
            case Ask():
                request = _Request(message, self._ended, self._outbox.put)
                self._under_way[message.id] = request
                self._inbox.put(request)
            case Cancel(id) if id in self._under_way:
                self._under_way[id].cancel()
            case Ping(number):
                self._outbox.put(encode(Pong(number)))
            case Arrived(name, start, stop):
                self._arrivals.ready(name, start, stop)
            case Moved(name, where):
                self._arrivals.moved(name, where)
            case Tabled(name, packed):
                self._arrivals.tabled(name, packed)
            case Load(spec):
                if backend_of(spec) != "echo":
                    self._arrivals = import_module(f"{_PACKAGE}.verified").Arrivals()
                self._inbox.put(message)
            case Close():
                self._inbox.put(message)

    # ------------------------------------------------------------ the first thread

    def _answer(self, backend: Backend) -> None:
        threads = min(max(backend.info.slots, 1), MOST_THREADS)
        counters = ThreadPoolExecutor(COUNTERS, "count")
        callers = ThreadPoolExecutor(threads, "call")
        changers = ThreadPoolExecutor(1, "change")
        ways: dict[str, tuple[ThreadPoolExecutor, Callable[[Any], Any]]] = {
            "count": (counters, backend.count),
            "embed": (callers, backend.embed),
            "run": (callers, backend.run),
            "attach": (changers, partial(self._attach, backend)),
            "detach": (changers, partial(self._detach, backend)),
        }
        while isinstance(request := self._inbox.get(), _Request):
            if request.ask.method == "generate":
                request.begin(backend)
            else:
                pool, call = ways[request.ask.method]
                pool.submit(request.call, call).add_done_callback(_break_if_broken)

    def _ended(self, id: int) -> None:
        self._under_way.pop(id, None)


class _Request:
    """One request, and the sink of its answer."""

    def __init__(
        self, ask: Ask, ended: Callable[[int], None], send: Callable[[bytes], None]
    ) -> None:
        self.ask = ask
        self._ended, self._send = ended, send
        self._lock = threading.Lock()
        self._cancelled = False
        self._gone = threading.Event()
        self._stop: Callable[[], None] | None = None

    def begin(self, backend: Backend) -> None:
        """Let the backend begin an answer to `generate`."""
        if self._cancelled:
            self.failed(_given_up())
            return
        try:
            stop = backend.generate(self.ask.value, self)  # type: ignore[arg-type]
        except P2PHubError as error:
            self.failed(error)
            return
        with self._lock:
            self._stop, cancelled = stop, self._cancelled
        if cancelled:
            stop()

    def call(self, method: Callable[[Any], Any]) -> None:
        """Answer with what a method that blocks returns."""
        if self._cancelled:
            self.failed(_given_up())
            return
        try:
            with wanted.by(self._gone):
                frame = encode(Answer(self.ask.id, method(self.ask.value)))
        except P2PHubError as error:
            self.failed(error)
        except MemoryError:
            self.failed(_no_memory("what was asked"))
        else:
            self._end(frame)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        with self._lock:
            self._cancelled, stop = True, self._stop
        self._gone.set()
        if stop is not None:
            stop()

    def piece(self, piece: Piece) -> None:
        self._send(encode(Part(self.ask.id, piece)))

    def finished(self, end: Finished) -> None:
        self._end(encode(Part(self.ask.id, end)))

    def failed(self, error: P2PHubError) -> None:
        self._end(encode(Failed(self.ask.id, error)))

    def _end(self, frame: bytes) -> None:
        self._ended(self.ask.id)
        self._send(frame)


def backend_of(spec: ModelSpec) -> str:
    """The module of the backend of a model.

    >>> backend_of(ModelSpec("", "lab/x", "transformers", "text-generation", ()))
    'text'
    """
    if spec.settings.get("backend") == "echo":
        return "echo"
    if spec.engine == "llamacpp":
        return "llama"
    return "text" if spec.task == "text-generation" else "tasks"


def _no_adapters(engine: str) -> UnsupportedError:
    return UnsupportedError(
        f"adapters are served with text generation in the engine transformers, not in {engine}",
        remedy="serve the base as safetensors, or a model that the adapter is merged into",
    )


def _given_up() -> EngineError:
    return EngineError("the request was given up")


def _no_memory(what: str) -> NoMemoryError:
    return NoMemoryError(
        f"there is not enough memory for {what}", remedy="unload another model, or ask for less"
    )


def _break_if_broken(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None:
        _break(error)


def _break(error: BaseException | None) -> NoReturn:
    """End after an error that is none of ours, in whichever thread it was."""
    if error is not None:
        traceback.print_exception(error)
    _exit(BROKEN)


def _exit(status: int) -> NoReturn:
    """End without a word of the libraries, some of which crash or hang when they end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
