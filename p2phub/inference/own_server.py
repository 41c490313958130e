"""A server that we start for one model and attach: `vllm serve`, from an environment of its own.

vLLM pins other versions of torch than ours, so it cannot live in our environment, nor in a worker.
It is given the folder of a verified release, listens on loopback with a token that only we have,
and is told to fetch from our gateway (`HF_ENDPOINT`) and from nobody else.

Rules it keeps:
 * the server and all that it started end with the block, politely first; if this node is killed,
   they end too (`server_guard`);
 * a server that ends while it loads is told of with the last lines that it wrote;
 * one that ends later is lost, and requests under way are told how it ended;
 * it sees none of our secrets, and not our Python path: its environment is another.

Which files lie in the folder, and whether they are good, is for `verified_folder`.
"""

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Final

import trio

from p2phub.errors import (
    EngineError,
    GarbageError,
    NotFoundError,
    RefusedError,
    RemoteError,
    plain_errors,
)
from p2phub.inference import server_guard
from p2phub.inference.engine import ModelInfo
from p2phub.inference.proxy_engine import ProxyEngine, attach
from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.worker_process import OF_LIBRARIES, how_it_ended

log = logging.getLogger(__name__)

LOAD_PATIENCE: Final = 1800.0
"""Seconds that a server may take until it answers: a large model compiles for minutes."""
STOP_PATIENCE: Final = 10.0
"""Seconds from asking it to end to making it."""
LAST_WORDS_PATIENCE: Final = 1.0
"""Seconds to wait for what a server that ended had written, or for its end."""
POLL: Final = 0.25
LAST_LINES: Final = 20
MAX_LINE: Final = 2000
"""Bytes of a line of its log that are kept."""
PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "XDG_CACHE_HOME")
"""Variables of ours that it gets, beside those of the libraries and `VLLM_…`; tokens are none."""


@dataclass(frozen=True, slots=True)
class OwnServer:
    """How it is started."""

    command: tuple[str, ...]
    """`("/opt/vllm/bin/vllm", "serve")`; the rest is added."""
    folder: Path
    """The verified folder of the release."""
    name: str
    """What the model is called there."""
    endpoint: str = ""
    """The URL of our gateway; empty: there is none."""
    environment: Mapping[str, str] | None = None
    """Ours; None: `os.environ`."""
    options: tuple[str, ...] = ()
    """What comes after that on its command line."""
    more_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables that it gets whatever ours say."""

    def arguments(self, port: int) -> list[str]:
        """The whole command line."""
        return [
            *self.command,
            str(self.folder),
            "--host=127.0.0.1",
            f"--port={port}",
            f"--served-model-name={self.name}",
            *self.options,
        ]

    def variables(self, token: str) -> dict[str, str]:
        """Its environment. The token is in it, because everybody sees a command line."""
        ours = os.environ if self.environment is None else self.environment
        kept = {
            name: value
            for name, value in ours.items()
            if name in PASSED_ON or name.startswith((*OF_LIBRARIES, "VLLM_"))
        }
        fetching = {"HF_ENDPOINT": self.endpoint} if self.endpoint else {}
        fixed = {"HF_HUB_OFFLINE": "1", "VLLM_API_KEY": token, "VLLM_NO_USAGE_STATS": "1"}
        return kept | dict(self.more_variables) | fetching | fixed


class ServerEngine:
    """The model of a server of ours. Made by `own_server`."""

    def __init__(
        self, proxy: ProxyEngine, process: trio.Process, name: str, lines: Sequence[str]
    ) -> None:
        self.info: ModelInfo = proxy.info
        self.lost = trio.Event()
        self.gone = trio.Event()
        """Set once its process and all that it started have ended."""
        self.pid = _server_of(process.pid)
        """The id of its process."""
        self._proxy, self._process, self._name, self._lines = proxy, process, name, lines
        self._why: EngineError | None = None

    async def generate(self, request: Generate) -> AsyncGenerator[Piece | Finished, None]:
        self._require_there()
        try:
            async with aclosing(self._proxy.generate(request)) as pieces:
                async for each in pieces:
                    yield each
        except (EngineError, RemoteError) as error:
            raise await self._cause(error) from error

    async def embed(self, request: Embed) -> Embeddings:
        self._require_there()
        try:
            return await self._proxy.embed(request)
        except (EngineError, RemoteError) as error:
            raise await self._cause(error) from error

    async def run(self, request: TaskRequest) -> TaskAnswer:
        return await self._proxy.run(request)

    async def count(self, request: Generate) -> int:
        return await self._proxy.count(request)

    async def close(self) -> None:
        """End it; requests under way end with `EngineError`. Returns once nothing of it is left."""
        self._lose(EngineError(f"{self._name} was unloaded", remedy="ask again to load it anew"))
        with trio.CancelScope(shield=True):
            await _stop(self._process)
            await self.gone.wait()

    async def watch(self) -> None:
        """Be there until it ends."""
        try:
            await self._process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _stop(self._process)
                self._lose(_ended(self._name, self._process, self._lines))
                self.gone.set()

    def _require_there(self) -> None:
        if self._why is not None:
            raise copy(self._why)

    async def _cause(self, error: EngineError | RemoteError) -> EngineError | RemoteError:
        """Why an answer broke off: what became of the server, if something did."""
        with trio.move_on_after(LAST_WORDS_PATIENCE):
            await self.lost.wait()
        return error if self._why is None else copy(self._why)

    def _lose(self, why: EngineError) -> None:
        if self._why is None:
            self._why = why
            if self._process.returncode is not None:
                log.warning("%s", why)
        self.lost.set()


@asynccontextmanager
async def own_server(
    server: OwnServer, tell: Callable[[str], None] = lambda line: None
) -> AsyncIterator[ServerEngine]:
    """Run it for as long as the block lasts; `tell` hears each line of its log.

    Raises `EngineError` if the command cannot be run, if it ends or does not answer.
    """
    port, token, began = _free_port(), secrets.token_urlsafe(24), time.monotonic()
    lines: deque[str] = deque(maxlen=LAST_LINES)

    def heard(line: str) -> None:
        lines.append(line)
        tell(line)

    process = await _start(server.arguments(port), server.variables(token))
    assert process.stdout is not None
    told = trio.Event()
    with plain_errors():
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(_listen, process.stdout, heard, told)
                url = f"http://127.0.0.1:{port}/v1"
                proxy = await _answering(process, url, server.name, token, told)
                if proxy is None:
                    raise _ended(server.name, process, lines)
                engine = ServerEngine(proxy, process, server.name, lines)
                engine.info = replace(engine.info, load_seconds=time.monotonic() - began)
                nursery.start_soon(engine.watch)
                try:
                    yield engine
                finally:
                    await engine.close()
            finally:
                with trio.CancelScope(shield=True):
                    await _stop(process)
                nursery.cancel_scope.cancel()


async def _start(command: Sequence[str], variables: Mapping[str, str]) -> trio.Process:
    if shutil.which(command[0], path=variables.get("PATH")) is None:
        raise EngineError(
            f"{command[0]} is not there, or is no program that may be run",
            remedy="see [inference] vllm in node.toml",
        )
    guard = [sys.executable, "-I", "-S", server_guard.__file__]
    try:
        return await trio.lowlevel.open_process(
            [*guard, *command],
            env=variables,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(
            f"{command[0]} cannot be started: {error.strerror}",
            remedy="the machine may have too many processes or open files; close some",
        ) from error


async def _answering(
    process: trio.Process, url: str, name: str, token: str, told: trio.Event
) -> ProxyEngine | None:
    """The engine, once the server answers; None if it does not, or ended."""
    with trio.move_on_after(LOAD_PATIENCE):
        while process.poll() is None:
            with suppress(EngineError, GarbageError, NotFoundError, RefusedError):
                return await attach(url, name, token)
            await trio.sleep(POLL)
    if process.poll() is not None:
        with trio.move_on_after(LAST_WORDS_PATIENCE):
            await told.wait()
    return None


def _ended(name: str, process: trio.Process, lines: Sequence[str]) -> EngineError:
    """That it ended, or does not answer, and what it said last."""
    status = process.poll()
    what = "did not answer in time" if status is None else how_it_ended(status)
    said = "\n".join(lines)
    return EngineError(
        f"the server of {name} {what}; the last that it said:\n{said}",
        remedy="start it by hand with the same command to see more",
    )


async def _listen(
    stream: trio.abc.ReceiveStream, heard: Callable[[str], None], told: trio.Event
) -> None:
    held = b""
    async with stream:
        async for data in stream:
            *lines, held = (held + data).split(b"\n")
            held = held[:MAX_LINE]
            for line in lines:
                heard(line[:MAX_LINE].decode("utf-8", "replace"))
    if held:
        heard(held.decode("utf-8", "replace"))
    told.set()


async def _stop(process: trio.Process) -> None:
    """End it and all that it started. May be called twice."""
    assert process.stdin is not None
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(STOP_PATIENCE):
            await process.wait()
    await process.stdin.aclose()
    with trio.move_on_after(STOP_PATIENCE):
        await process.wait()
    if process.poll() in (None, -signal.SIGKILL):  # its guard was killed, or cannot
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _server_of(guard: int) -> int:
    """The process that a guard started, if the kernel tells, else the guard."""
    try:
        children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    except OSError:
        children = []
    return int(children[0]) if children else guard


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
