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
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from p2phub.client.running import RunningNode, find_running
from p2phub.client.wire import error_of
from p2phub.errors import P2PHubError, StoreLockedError, TooSlowError

START_PATIENCE: Final = 60.0
"""Seconds a child may take to be ready."""
STOP_PATIENCE: Final = 20.0
"""Seconds a child may take to stop before it is killed."""
LOCK_PATIENCE: Final = 20.0
"""Seconds to wait for whoever holds the store to answer, or to let go."""
_POLL: Final = 0.05

Line = Mapping[str, Any]


class EmbeddedNode:
    """A child that runs a node. Stopped by `stop`, and at the latest when this process ends."""

    def __init__(self, home: Path, *, verbose: bool = False) -> None:
        """Start one and wait until it is ready. Raises what it raised, or `TooSlowError`."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command(home, "--json", "--verbose" if verbose else "--quiet", "--embedded"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if verbose else errors,
                start_new_session=True,
            )
            self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
            assert process.stdout is not None
            threading.Thread(
                target=_listen, args=(process.stdout, self._lines), daemon=True
            ).start()
            self.process = process
            self.stop = weakref.finalize(self, _stop, process, self._lines, os.getpid())
            try:
                self.node = self._ready(home, errors)
            except BaseException:
                self.stop()
                raise

    def _ready(self, home: Path, errors: IO[bytes]) -> RunningNode:
        try:
            first = self._lines.get(timeout=START_PATIENCE)
        except queue.Empty:
            raise TooSlowError(
                f"the node that was started for this was not ready after {START_PATIENCE:g} s",
                remedy="Run `p2phub node --verbose` to see what it waits for.",
            ) from None
        if first is None:
            raise _silent_end(self.process.wait(), errors)
        if "error" in first:
            raise error_of(first)
        token = (home / "run" / "token").read_text("ascii").strip()
        return RunningNode(str(first["gateway"]), token)


def command(home: Path, *options: str) -> list[str]:
    """The command line of a node of this very installation."""
    return [sys.executable, "-m", "p2phub", "--home", str(home), "node", *options]


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


def _listen(output: IO[bytes], lines: "queue.SimpleQueue[Line | None]") -> None:
    """Hand every JSON line of a child over, and None at the end."""
    with output:
        for text in output:
            try:
                said = json.loads(text)
            except ValueError:
                continue
            if isinstance(said, dict):
                lines.put(said)
    lines.put(None)


def _silent_end(status: int, errors: IO[bytes]) -> P2PHubError:
    errors.seek(0)
    last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
    said = f": {last}" if last else ""
    return P2PHubError(
        f"the node that was started for this ended with status {status}{said}",
        remedy="Run `p2phub node --verbose` to see why.",
    )


def _stop(
    process: "subprocess.Popen[bytes]", lines: "queue.SimpleQueue[Line | None]", owner: int
) -> None:
    """Let go of the lifeline and wait until the child has ended or says that it lingers."""
    if os.getpid() != owner:  # a fork of the process that started it
        return
    assert process.stdin is not None
    process.stdin.close()
    for impatient in (None, process.terminate, process.kill):
        if impatient is not None:
            impatient()
        try:
            while (said := lines.get(timeout=STOP_PATIENCE)) is not None:
                if said.get("event") == "lingering":
                    # Somebody else's work goes on there; it ends by itself afterwards.
                    process.returncode = 0
                    return
        except queue.Empty:
            continue
        break
    process.wait()
