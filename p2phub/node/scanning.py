"""Let a program of the operator look through what came in a bundle, and stop it when it must.

It is the one program that an import starts, and it is named in node.toml; nothing from a bundle is
ever run. What it may do to us is limited by what it is given:
 * a folder of copies, apart from the store (clones where the disk can), so that a scanner that
   cleans, moves or deletes what it finds, as root too, changes no blob and no snapshot;
 * no shell, no standard input, none of our settings or tokens in its environment, and a process
   group of its own: at the end of its time, or when the import is cancelled, all of the group dies;
 * its output is read to the end, however much it is, and the last `SHOWN` bytes are kept. Who left
   children behind that hold the output open is not waited for.

It runs as the user of the node, who can read more than this folder: choose one that is trusted.
"""

import hashlib
import os
import secrets
import shlex
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Final

import trio

from p2phub.formats.ids import ContentId
from p2phub.formats.paths import FilePath
from p2phub.node.services import Services

SHOWN: Final = 1000
"""Bytes of output that are kept: the last ones."""
LEFT: Final = 0.5
"""Seconds for output that is still on its way when the program has ended."""
_GIVEN: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What became of a scanner."""

    ok: bool
    said: str
    """How it ended, and the end of what it printed."""
    output: str
    """The SHA-256 of all that it printed, in hex."""


async def scan(services: Services, files: Sequence[tuple[FilePath, ContentId]]) -> Scanned:
    """Run the scanner of node.toml over copies of these files.

    Raises `NoSpaceError` if there is no room for them, `DamagedBlobError`.
    """
    airgap = services.config.airgap
    async with _copies(services, files) as folder:
        words = [*shlex.split(airgap.scanner), str(folder)]
        return await run(words, airgap.scanner_timeout)


async def run(words: Sequence[str], seconds: float) -> Scanned:
    """Run a program for so many seconds at most; what it says is judged by its exit code."""
    environ = {name: os.environ[name] for name in _GIVEN if name in os.environ}
    try:
        process = await trio.lowlevel.open_process(
            list(words),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        why = f"{words[0]} cannot be run: {error.strerror or error}"
        return Scanned(False, why, hashlib.sha256().hexdigest())
    heard = _Heard()
    try:
        with trio.move_on_after(seconds) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(heard.listen, process)
                await process.wait()
                with trio.move_on_after(LEFT):
                    await heard.ended.wait()
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            _kill(process.pid)
            await process.wait()
    return heard.scanned(process.returncode, seconds if limit.cancelled_caught else None)


class _Heard:
    """What a program prints."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._whole, self._end = hashlib.sha256(), b""

    async def listen(self, process: trio.Process) -> None:
        assert process.stdout is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with process.stdout:
                async for data in process.stdout:
                    self._whole.update(data)
                    self._end = (self._end + data)[-SHOWN:]
        self.ended.set()

    def scanned(self, code: int | None, after: float | None) -> Scanned:
        if after is not None:
            how = f"it was stopped after {after:g} seconds"
        elif code is None or code < 0:
            how = f"it died of signal {-(code or 0)}"
        else:
            how = f"it ended with exit code {code}"
        text = "".join(
            each if each.isprintable() or each == "\n" else "\ufffd"
            for each in self._end.decode("utf-8", "replace")
        ).strip()
        said = f"{how}: {text}" if text else how
        return Scanned(after is None and code == 0, said, self._whole.hexdigest())


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@asynccontextmanager
async def _copies(
    services: Services, files: Sequence[tuple[FilePath, ContentId]]
) -> AsyncIterator[Path]:
    """A folder of copies; it is gone after the block, and at the latest when the store opens."""
    store, on_disk = services.store, services.on_disk
    parent = store.layout.temp / f"scan-{secrets.token_hex(8)}"
    folder = parent / "files"
    try:
        await on_disk(store.disk.make_folder, folder)
        await on_disk(store.export, files, folder)
        yield folder
    finally:
        with trio.CancelScope(shield=True):
            await on_disk(store.disk.remove_tree, parent)
