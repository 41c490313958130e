"""`python server_guard.py COMMAND …`: runs a server, and sees that nothing of it stays behind.

A server such as vLLM starts processes of its own, which would outlive a node that is killed and
keep the memory of the GPU. This small program stands between the two. It needs nothing but the
standard library, and is run as a file.

Rules it keeps:
 * when its standard input ends, the node has let go of it or is gone, however it ended: the server
   and all that it started are killed at once;
 * SIGTERM is passed on to the server, which may end in its own time;
 * when the server has ended, what it started is killed, also what has left its group and session:
   orphans become children of this process;
 * it ends as the server did: with its exit code, or by the same signal.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

PR_SET_CHILD_SUBREAPER: Final = 36
OOM_SCORE: Final = 800
"""Of 1000: what the kernel takes first when memory runs out, and not the node."""
CANNOT_START: Final = 127
PATIENCE: Final = 10.0
"""Seconds to wait for processes that were killed: those that use a GPU take a while."""
PAUSE: Final = 0.01
CHUNK: Final = 4096
_PROCESSES: Final = Path("/proc")
_OOM_FILE: Final = Path("/proc/self/oom_score_adj")


def main(command: Sequence[str]) -> NoReturn:
    """Run `command` until it ends or nobody wants it any more."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # tens of gigabytes of weights
    with suppress(OSError):  # a kernel without it, or somebody who already asked for more
        _OOM_FILE.write_text(str(OOM_SCORE))
    signals = _signals()
    try:
        server = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", flush=True)
        os._exit(CANNOT_START)
    status = _wait(server, signals)
    _end_all()
    _end_as(status)


def _signals() -> int:
    """A descriptor from which the numbers of the signals are read that come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for each in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(each, lambda number, frame: None)
    return reader


def _wait(server: int, signals: int) -> int:
    """The status with which the server ended; 0 if nobody wants it any more."""
    while True:
        ended = _reaped()
        if server in ended:
            return ended[server]
        ready, _, _ = select.select([0, signals], [], [])
        if signals in ready and signal.SIGTERM in os.read(signals, CHUNK):
            os.kill(server, signal.SIGTERM)
        if 0 in ready and not os.read(0, CHUNK):
            return 0


def _reaped() -> dict[int, int]:
    """The children that have ended, with their status."""
    found = {}
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found[ended[0]] = ended[1]
    return found


def _end_all() -> None:
    """Kill every process below this one, those included that are started meanwhile."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (below := descendants(os.getpid(), _parents())):
        for each in below:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(PAUSE)
        _reaped()


def _parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for folder in _PROCESSES.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(folder.name)] = int(fields[1])
    return found


def descendants(of: int, parents: dict[int, int]) -> set[int]:
    """The processes below one, at any depth.

    >>> sorted(descendants(1, {2: 1, 3: 2, 4: 9}))
    [2, 3]
    """
    found: set[int] = set()
    while new := {pid for pid, parent in parents.items() if parent in {of, *found}} - found:
        found |= new
    return found


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1:])
