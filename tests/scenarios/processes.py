"""Real p2phub processes on 127.0.0.1: several homes side by side, as several machines would be.

A `Machines` makes homes; a `Home` runs commands as a person would (`run`, `done`, `refused`) and a
daemon (`daemon`). Everything listens on free ports of loopback, with multicast off. After the block
of `machines` nothing that was started is alive, embedded nodes of killed commands included, and no
daemon has written a traceback.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_SECONDS = 25
STOP_SECONDS = 15
COMMAND_SECONDS = 60
_LOOK = 0.02  # seconds between two looks at something that is about to happen

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a command printed, and how it ended."""

    words: tuple[str, ...]
    code: int
    objects: list[Json]
    err: str

    @property
    def last(self) -> Json:
        return self.objects[-1]

    @property
    def error(self) -> Json:
        """The error object; fails if there is none."""
        return self.last["error"]

    def events(self, kind: str) -> list[Json]:
        return [each for each in self.objects if each.get("event") == kind]


class Daemon:
    """A node that said it is ready."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Json, home: "Home") -> None:
        self.process, self.home = process, home
        self.pid: int = process.pid
        self.gateway: str = ready["gateway"]
        self.peer_id: str = ready["peer_id"]
        self.publisher_id: str | None = ready["publisher_id"]
        self.address: str = ready["addresses"][0]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL: no last words, no cleaning up."""
        self.process.kill()
        self.process.wait()


@dataclass
class Home:
    """One home folder and what runs on it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    bootstrap: str | None = ""
    """Peers to meet first; None leaves it to node.toml."""
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def log(self) -> str:
        """What its daemons have written to standard error."""
        path = self.folder.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    # ------------------------------------------------------------ commands

    def start(self, *words: object, json: bool = True, **options: Any) -> subprocess.Popen[bytes]:
        """`p2phub WORDS` with its standard output in a pipe, still going on."""
        program = [sys.executable, "-m", "p2phub", "--home", str(self.folder)]
        program += ["--json"] if json else []
        process = subprocess.Popen(
            [*program, *map(str, words)],
            env=self.environment,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options},
        )
        self._started.append(process)
        return process

    def run(self, *words: object, seconds: float = COMMAND_SECONDS) -> Told:
        """`p2phub WORDS` from its start to its end, however it ends."""
        process = self.start(*words, stderr=subprocess.PIPE)
        return ended(process, *map(str, words), seconds=seconds)

    def done(self, *words: object) -> Json:
        """The last thing that `p2phub WORDS` prints; it must end with 0."""
        told = self.run(*words)
        assert told.code == 0, told
        return told.last

    def refused(self, code: int, *words: object) -> Json:
        """The error that `p2phub WORDS` tells; it must end with `code` and no traceback."""
        told = self.run(*words)
        assert told.code == code, told
        assert "Traceback" not in told.err
        assert told.error["exit"] == code
        assert told.error["message"]
        return told.error

    # ------------------------------------------------------------ daemons

    def daemon(self, bootstrap: str | None = None) -> Daemon:
        """Start the daemon and wait until it is ready."""
        if bootstrap is not None:
            self.bootstrap = bootstrap
        with self.folder.with_suffix(".log").open("ab") as log:
            process = self.start("node", stderr=log)
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        line = process.stdout.readline() if readable else b""
        assert b'"ready"' in line, f"a node did not start: {line!r}\n{self.log}"
        return Daemon(process, json.loads(line), self)

    @contextmanager
    def running(self, bootstrap: str | None = None) -> Iterator[Daemon]:
        """The daemon, for as long as the block lasts; it must stop with 0."""
        daemon = self.daemon(bootstrap)
        yield daemon
        if daemon.process.poll() is None:
            assert daemon.stop() == 0, self.log

    def holder(self) -> int | None:
        """The process that holds the store now."""
        try:
            with (self.store / "lock").open() as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return None
            return int((self.store / "lock").read_text() or 0) or None
        except FileNotFoundError:
            return None

    def reap(self) -> None:
        """End whatever still runs here."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        wait_for("an orphan's end", lambda: self.holder() is None, self._insist)

    def _insist(self) -> None:
        holder = self.holder()
        if holder is not None:
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        """What its commands see."""
        return os.environ | {
            "P2PHUB_NETWORK_LISTEN": "/ip4/127.0.0.1/tcp/0",
            "P2PHUB_NETWORK_DATA_LISTEN": "127.0.0.1:0",
            "P2PHUB_GATEWAY_LISTEN": "127.0.0.1:0",
            "P2PHUB_NETWORK_MDNS": "false",
            **({} if self.bootstrap is None else {"P2PHUB_NETWORK_BOOTSTRAP": self.bootstrap}),
            **self.settings,
        }


class Machines:
    """Homes in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.homes: list[Home] = []

    def home(self, name: str, **settings: str) -> Home:
        """A home that was never used. `settings`: environment variables, without `P2PHUB_`."""
        named = {f"P2PHUB_{key}": value for key, value in settings.items()}
        self.homes.append(Home(self.folder / name, named))
        return self.homes[-1]

    def publisher(self, name: str = "publisher", **settings: str) -> Home:
        """A home with an identity of its own, which it calls `lab`."""
        home = self.home(name, **settings)
        home.done("init", "--name", "lab")
        return home


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Homes whose processes all end with the block."""
    made = Machines(folder)
    try:
        yield made
    finally:
        for home in made.homes:
            home.reap()
    for home in made.homes:
        assert "Traceback" not in home.log, home.log


def ended(process: subprocess.Popen[bytes], *words: str, seconds: float = COMMAND_SECONDS) -> Told:
    """What a command that was started told, once it has ended."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{words} did not end within {seconds} seconds") from None
    objects = [json.loads(line) for line in out.decode().splitlines()]
    return Told(words, process.returncode, objects, (err or b"").decode())


def wait_for(
    what: str, happened: Callable[[], object], insist: Callable[[], None], seconds: float = 10
) -> None:
    """Return once `happened()`; after half the time `insist()` once, after all of it fail."""
    begun, insisted = time.monotonic(), False
    while not happened():
        spent = time.monotonic() - begun
        assert spent < seconds, f"{what} did not happen within {seconds} seconds"
        if spent > seconds / 2 and not insisted:
            insist()
            insisted = True
        time.sleep(_LOOK)
