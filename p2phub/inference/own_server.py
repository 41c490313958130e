"""A server that we start for one model and attach: `vllm serve`, from an environment of its own.

vLLM pins other versions of torch than ours, so it cannot live in our environment, nor in a worker.
It is given the folder of a verified release, listens on loopback with a token that only we have,
and is told to fetch from our gateway (`HF_ENDPOINT`) and from nobody else.

Rules it keeps:
 * the server and all that it started end with the block, politely first;
 * a server that ends while it loads is told of with the last lines that it wrote;
 * what it runs was verified on the disk before: its bytes are not checked again while it loads.
"""

import os
import secrets
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Final

import trio

from p2phub.errors import (
    EngineError,
    GarbageError,
    NotFoundError,
    RefusedError,
    UsageError,
    plain_errors,
)
from p2phub.inference.proxy_engine import ProxyEngine, attach

LOAD_PATIENCE: Final = 1800.0
"""Seconds that a server may take until it answers: a large model compiles for minutes."""
STOP_PATIENCE: Final = 10.0
"""Seconds from asking it to end to making it."""
LAST_WORDS_PATIENCE: Final = 2.0
"""Seconds to wait for what a server that ended had written."""
POLL: Final = 0.25
LAST_LINES: Final = 20
MAX_LINE: Final = 2000
"""Bytes of a line of its log that are kept."""
PASSED_ON: Final = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR")
"""Variables of ours that it gets; tokens are none of them."""


@dataclass(frozen=True, slots=True)
class OwnServer:
    """How it is started."""

    command: tuple[str, ...]
    """`("/opt/vllm/bin/vllm", "serve")` and more options; the rest is added."""
    folder: Path
    """The verified folder of the release."""
    name: str
    """What the model is called there."""
    endpoint: str = ""
    """The URL of our gateway."""
    environment: Mapping[str, str] | None = None
    """Ours; None: `os.environ`."""

    def arguments(self, port: int) -> list[str]:
        """The whole command line."""
        return [
            *self.command,
            str(self.folder),
            "--host=127.0.0.1",
            f"--port={port}",
            f"--served-model-name={self.name}",
        ]

    def variables(self, token: str) -> dict[str, str]:
        """Its environment. The token is in it, because everybody sees a command line."""
        ours = os.environ if self.environment is None else self.environment
        kept = {name: ours[name] for name in PASSED_ON if name in ours}
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_OFFLINE": "1",
            "VLLM_API_KEY": token,
            "VLLM_NO_USAGE_STATS": "1",
        }


@asynccontextmanager
async def own_server(
    server: OwnServer, tell: Callable[[str], None] = lambda line: None
) -> AsyncIterator[ProxyEngine]:
    """Run it for as long as the block lasts; `tell` hears each line of its log.

    Raises `UsageError` if the command cannot be run, `EngineError` if it ends or does not answer.
    """
    port, token = _free_port(), secrets.token_urlsafe(24)
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
                with _last_words(server.name, process, lines):
                    engine = await _answering(process, url, server.name, token, told)
                nursery.start_soon(_watch, process, engine)
                yield engine
                await engine.close()
            finally:
                with trio.CancelScope(shield=True):
                    await _stop(process)
                nursery.cancel_scope.cancel()


async def _start(command: Sequence[str], variables: Mapping[str, str]) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            command, env=variables, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
    except OSError as error:
        raise UsageError(
            f"{command[0]} cannot be started: {error.strerror}",
            remedy="see [inference] vllm in node.toml",
        ) from error


async def _answering(
    process: trio.Process, url: str, name: str, token: str, told: trio.Event
) -> ProxyEngine:
    """The engine, once the server answers. Raises `TimeoutError` if it does not."""
    with trio.move_on_after(LOAD_PATIENCE):
        while process.poll() is None:
            with suppress(EngineError, GarbageError, NotFoundError, RefusedError):
                return await attach(url, name, token)
            await trio.sleep(POLL)
    if process.poll() is not None:
        with trio.move_on_after(LAST_WORDS_PATIENCE):
            await told.wait()
    raise TimeoutError


@contextmanager
def _last_words(name: str, process: trio.Process, lines: Sequence[str]) -> Iterator[None]:
    """Tell what a server said last that did not begin to answer."""
    try:
        yield
    except TimeoutError:
        ended = process.poll()
        what = "did not answer in time" if ended is None else f"ended with {_how(ended)}"
        said = "\n".join(lines)
        raise EngineError(
            f"the server of {name} {what}; the last that it said:\n{said}",
            remedy="start it by hand with the same command to see more",
        ) from None


async def _watch(process: trio.Process, engine: ProxyEngine) -> None:
    """A server that ended answers nothing any more."""
    await process.wait()
    await engine.close()


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
    told.set()


async def _stop(process: trio.Process) -> None:
    """End it and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with trio.move_on_after(STOP_PATIENCE):
            await process.wait()
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _how(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"signal {-status}"
