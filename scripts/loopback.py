"""Real p2phub processes on this machine: what the quickstart and the benchmarks run.

A `Home` is a home folder. `type` runs one command for it as a person would, `node` runs its daemon.
Everything listens on loopback, on whatever ports are free, with multicast off. A process that was
started here is stopped here. Whatever does not work becomes a `FailedError` with one sentence.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 60
STOP_SECONDS = 20
COMMAND_SECONDS = 240


class FailedError(Exception):
    """One sentence that says what did not work."""


@dataclass(frozen=True, slots=True)
class Running:
    """A node that said it is ready."""

    pid: int
    gateway: str
    peer_id: str
    addresses: tuple[str, ...]


def settings(bootstrap: str) -> dict[str, str]:
    """The environment of a node that talks to this machine only, on free ports."""
    mine = {name: text for name, text in os.environ.items() if not name.startswith("P2PHUB_")}
    return mine | {
        "P2PHUB_NETWORK_LISTEN": "/ip4/127.0.0.1/tcp/0",
        "P2PHUB_NETWORK_DATA_LISTEN": "127.0.0.1:0",
        "P2PHUB_NETWORK_MDNS": "false",
        "P2PHUB_NETWORK_BOOTSTRAP": bootstrap,
        "P2PHUB_GATEWAY_LISTEN": "127.0.0.1:0",
    }


class Home:
    """One home folder, and the processes that run on it. `tell` is given each command line."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda line: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._tell = folder.absolute(), tell
        self._environment = settings("")

    def type(self, *words: str) -> dict:
        """Run `p2phub WORDS`; the last JSON object it prints."""
        self._tell(f"p2phub {' '.join(words)}")
        try:
            run = subprocess.run(
                self._command(*words),
                env=self._environment,
                stdout=subprocess.PIPE,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"p2phub {words[0]} did not end within {COMMAND_SECONDS} seconds"
            raise FailedError(late) from None
        answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode or not answers:
            error = answers[-1].get("error", {}) if answers else {}
            said = " ".join(filter(None, (error.get("message"), error.get("remedy"))))
            code = f"p2phub {words[0]} ended with exit code {run.returncode}"
            raise FailedError(f"{code}: {said or 'it gave no answer'}")
        return answers[-1]

    @contextmanager
    def node(self, bootstrap: str = "", **chosen: str) -> Iterator[Running]:
        """The daemon runs inside the block and is stopped after it.

        `chosen`: more settings, such as `swarm_up="60 MB"`.
        """
        self._tell("p2phub node")
        _leave_when_terminated()
        more = {f"P2PHUB_{name.upper()}": value for name, value in chosen.items()}
        self._environment = settings(bootstrap) | more
        with (self.folder / "node.log").open("w") as log:
            process = subprocess.Popen(
                self._command("node"), env=self._environment, stdout=subprocess.PIPE, stderr=log
            )
            try:
                yield self._ready(process)
            finally:
                _stop(process)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "p2phub", "--home", str(self.folder), "--json", *words]

    def _ready(self, process: subprocess.Popen) -> Running:
        readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        line = process.stdout.readline() if readable else b""
        if b'"ready"' not in line:
            log = (self.folder / "node.log").read_text().splitlines() or ["it said nothing"]
            told = json.loads(line)["error"]["message"] if b'"error"' in line else log[-1]
            raise FailedError(f"a node did not start: {told} (more in {self.folder}/node.log)")
        said = json.loads(line)
        return Running(process.pid, said["gateway"], said["peer_id"], tuple(said["addresses"]))


def _leave_when_terminated() -> None:
    """SIGTERM ends this process like Ctrl-C does: what it started is stopped on the way out."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(what: str, happened: Callable[[], bool], seconds: float = 60) -> None:
    """Return once `happened()`; a `FailedError` that names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise FailedError(f"{what} did not happen within {seconds:.0f} seconds")
        time.sleep(0.2)
