"""What holds for every test.

* Core tests (formats, trust, protocol) run with a tripwire: touching a file, a socket or a process
  fails the test.
* No test talks to anything but this machine.
* Each test has a time budget: 30 s, 300 s if it is marked slow, or what `budget(seconds)` says.
* Tests marked gpu are skipped, with the reason, where there is no CUDA device.
* Property tests draw the same examples in every run.
* What a test module opened is closed when it ends: what only the garbage collector would close
  fails the module's last test, not the run after it.
* The collector looks only at what tests made: the thousands of tests themselves, and the libraries
  that they import, stay. Looking at them each time took more than half of the whole run.
* Processes that tests start find this tree, and neither settings nor a hub of whoever runs them;
  they heed SIGINT, also where the tests run in the background of a shell that ignores it.
"""

import gc
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent
CORE = ("/tests/formats/", "/tests/trust/", "/tests/protocol/")
TRIPWIRES = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "socket.__new__",
    "subprocess.Popen",
    "sqlite3.connect",
    "time.sleep",
}
BUDGET, SLOW_BUDGET, AGAIN = 30, 300, 5
_armed = False

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")

for name in [name for name in os.environ if name.startswith("P2PHUB_")]:
    del os.environ[name]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


def _from_tooling() -> bool:
    """Hypothesis reads its own sources, and a first import reads files: neither is the core."""
    frame = sys._getframe(2)
    while frame is not None:
        if "/hypothesis/" in frame.f_code.co_filename or "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _leaves_this_machine(args: tuple) -> bool:
    connection, address = args[0], args[-1]
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if connection.type != socket.SOCK_STREAM:
        return False  # a UDP "connect" sends nothing: programs ask the routing table that way
    return not address[0].startswith(("127.", "::1", "localhost", "::ffff:127.", "0.0.0.0"))


def _audit(event: str, args: tuple) -> None:
    if _armed and event in TRIPWIRES and not _from_tooling():
        raise AssertionError(f"the sans-IO core touched the outside: {event} {args!r}")
    if event == "socket.connect" and _leaves_this_machine(args):
        raise AssertionError(f"a test reached out of this machine: {args[-1]!r}")


sys.addaudithook(_audit)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def _seconds(item) -> float:
    asked = item.get_closest_marker("budget")
    if asked is not None:
        return asked.args[0]
    return SLOW_BUDGET if item.get_closest_marker("slow") else BUDGET


class _Budget:
    """Fails what takes longer than its budget, and again every few seconds until it has stopped."""

    def __init__(self, item) -> None:
        self.seconds = _seconds(item)

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self._spent)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def _spent(self, *_: object) -> None:
        pytest.fail(f"took longer than its budget of {self.seconds} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _Budget(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    global _armed
    _armed = any(layer in str(item.path) for layer in CORE)
    try:
        with _Budget(item):
            return (yield)
    finally:
        _armed = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    result = yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
    return result
