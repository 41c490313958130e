"""Nothing of a server stays behind, whoever is killed and wherever its children hide."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2phub.inference import server_guard
from p2phub.testing.processes import alive, gone

SERVER = """
import os, signal, subprocess, sys, time
wait = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
here = subprocess.Popen(wait)
away = subprocess.Popen(wait, start_new_session=True)
orphan = subprocess.check_output(
    [sys.executable, "-S", "-c", "import os, sys, time\\n"
     "pid = os.fork()\\n"
     "if pid: print(pid, flush=True); os._exit(0)\\n"
     "os.setsid(); os.close(1); os.close(2); time.sleep(600)"]
)
exec(sys.argv[1])
print(os.getpid(), here.pid, away.pid, int(orphan), flush=True)
exec(sys.argv[2])
time.sleep(600)
"""


@pytest.fixture
def guarded():
    """Starts a guard; gives it and the processes below it: the server, and three of its own."""
    started = []

    def start(first="", then="", command=None):
        command = command or [sys.executable, "-S", "-c", SERVER, first, then]
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", server_guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(guard)
        line = guard.stdout.readline()
        return guard, [int(word) for word in line.split() if word.isdecimal()]

    yield start
    for guard in started:
        guard.stdin.close()
        guard.stdout.close()
        guard.kill()
        guard.wait()


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ("sys.exit(3)", 3),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_what_a_server_leaves_behind_ends_and_the_guard_ends_as_it_did(guarded, then, status):
    guard, pids = guarded(then=then)
    assert guard.wait(10) == status
    assert len(pids) == 4
    assert not any(map(alive, pids))


def test_the_end_of_its_input_kills_a_server_that_will_not_end(guarded):
    guard, pids = guarded("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    guard.terminate()
    assert not gone([guard.pid], 0.1)
    assert alive(pids[0])
    guard.stdin.close()
    assert guard.wait(10) == 0
    assert not any(map(alive, pids))


def test_a_server_that_is_asked_to_end_may_end_itself(guarded):
    guard, pids = guarded("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))")
    guard.terminate()
    assert guard.wait(10) == 5
    assert not any(map(alive, pids))


def test_a_node_that_is_killed_leaves_no_server():
    """The node here is a process that started a guard, and had no time for anything."""
    text = (
        "import subprocess, sys, time\n"
        "process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)"
    )
    server = [sys.executable, "-S", "-c", SERVER, "", ""]
    guard = [sys.executable, "-I", "-S", server_guard.__file__, *server]
    command = [sys.executable, "-S", "-c", text, *guard]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        pids = [int(word) for word in node.stdout.readline().split()]
        assert len(pids) == 4
        node.kill()
    assert gone(pids)


def test_a_program_that_is_none_is_told(guarded, tmp_path):
    guard, pids = guarded(command=[str(tmp_path / "none")])
    assert (guard.wait(10), pids) == (server_guard.CANNOT_START, [])


def test_its_server_gives_way_before_the_node_when_memory_runs_out(guarded):
    guard, pids = guarded()
    for each in (guard.pid, *pids):
        assert int(Path(f"/proc/{each}/oom_score_adj").read_text()) >= server_guard.OOM_SCORE
    assert os.readlink(f"/proc/{pids[0]}/fd/0") == os.devnull
