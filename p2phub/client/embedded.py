"""A node of one's own for as long as it is needed: a child process `p2phub node --embedded`.

It listens on free ports, keeps the store's lock, and can be found by other commands like any node.
Its standard input is a lifeline: when the parent closes it or dies, however it dies, the node stops
(or, if another command is using it, stops when that has ended, and says `lingering`). Its standard
output is `ready` or an error object, in JSON lines.

Two commands that start at once may both want a child; the second finds the store locked and waits
for the first one's node to answer.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, cast

from p2phub.client.running import RunningNode, find_running
from p2phub.client.wire import error_of
from p2phub.errors import P2PHubError, RefusedError, StoreLockedError, TooSlowError

START_PATIENCE: Final = 60.0
"""Seconds a child may take to be ready."""
STOP_PATIENCE: Final = 20.0
"""Seconds a child may take to stop before it is killed."""
LOCK_PATIENCE: Final = 20.0
"""Seconds to wait for whoever holds the store to answer, or to let go."""
_POLL: Final = 0.05

Line = Mapping[str, Any]
Lines = queue.SimpleQueue[Line | None]
Child = subprocess.Popen[bytes]


class EmbeddedNode:
    """A child that runs a node. Stopped by `stop`, and at the latest when this process ends."""

    def __init__(self, home: Path, *, verbose: bool = False) -> None:
        """Start one and wait until it is ready. Raises what it raised, or `TooSlowError`."""
        words = command(home, "--embedded", "--verbose" if verbose else "--quiet")
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if verbose else log,
                start_new_session=True,
            )
            lines = _heard(process)
            self.process = process
            self.stop = weakref.finalize(self, _stop, process, lines, os.getpid())
            try:
                ready = _first(process, lines, log)
                token = (home / "run" / "token").read_text("ascii").strip()
            except BaseException:
                self.stop()
                raise
        self.node = RunningNode(str(ready["gateway"]), token)


def detach(home: Path, *, verbose: bool = False) -> Line:
    """Start a node that stays when this process ends; what it says when it is ready.

    It logs to `logs/node.log` in the home folder. Raises what it raised, or `TooSlowError`.
    """
    with _open_log(home / "logs" / "node.log") as log:
        process = subprocess.Popen(
            command(home, *(["--verbose"] if verbose else [])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            ready = _first(process, _heard(process), log)
        except BaseException:
            process.kill()
            process.wait()
            raise
    _leave(process)
    return ready


def _open_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise RefusedError(
            f"the log {path} cannot be written: {error.strerror}",
            remedy="Give a home folder that this user may write to: --home DIR.",
        ) from error


def _first(process: Child, lines: Lines, log: IO[bytes]) -> Line:
    """What a child says first: that it is ready. Raises the error it tells instead."""
    try:
        first = lines.get(timeout=START_PATIENCE)
    except queue.Empty:
        raise TooSlowError(
            f"the node that was started was not ready after {START_PATIENCE:g} seconds",
            remedy="Run `p2phub node --verbose` to see what it waits for.",
        ) from None
    if first is None:
        raise _silent_end(process.wait(), log)
    if "error" in first:
        raise error_of(first)
    return first


def command(home: Path, *options: str) -> list[str]:
    """The command line of a node of this very installation."""
    words = ["-m", "p2phub", "--home", str(home), "--json", "node"]
    return [sys.executable, *words, *options]


def reach(home: Path, *, verbose: bool = False) -> tuple[RunningNode, EmbeddedNode | None]:
    """The node that runs for `home`, or one that is started now and belongs to the caller."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        running = find_running(home)
        if running is not None:
            return running, None
        try:
            embedded = EmbeddedNode(home, verbose=verbose)
        except StoreLockedError:
            soon = min(deadline, time.monotonic() + LOCK_PATIENCE / 4)
            if not _appears(home, soon) and time.monotonic() >= deadline:
                raise
        else:
            return embedded.node, embedded


def _appears(home: Path, deadline: float) -> bool:
    """Whether a node answers for `home` before `deadline`."""
    while time.monotonic() < deadline:
        if find_running(home) is not None:
            return True
        time.sleep(_POLL)
    return False


def _heard(process: Child) -> Lines:
    """Every JSON line that a child prints, as it comes, and None at the end."""
    lines: Lines = queue.SimpleQueue()
    output = cast(IO[bytes], process.stdout)

    def listen() -> None:
        with output:
            for text in output:
                with suppress(ValueError):
                    lines.put(json.loads(text))
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    return lines


def _silent_end(status: int, log: IO[bytes]) -> P2PHubError:
    log.seek(0)
    last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
    said = f": {last}" if last else ""
    return P2PHubError(
        f"the node that was started ended with status {status}{said}",
        remedy="Run `p2phub node --verbose` to see why.",
    )


def _stop(process: Child, lines: Lines, owner: int) -> None:
    """Let go of the lifeline and wait until the child has ended or says that it lingers."""
    if os.getpid() != owner:  # a fork of the process that started it
        return
    cast(IO[bytes], process.stdin).close()
    for insist in (None, signal.SIGTERM, signal.SIGKILL):
        if insist is not None:
            process.send_signal(insist)
        with suppress(queue.Empty):
            while (said := lines.get(timeout=STOP_PATIENCE)) is not None:
                if said.get("event") == "lingering":
                    _leave(process)
                    return
            break
    process.wait()


def _leave(process: Child) -> None:
    """Let a child outlive us: Python would warn of one that nobody waits for."""
    process.returncode = 0
