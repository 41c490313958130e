"""Scanners that hang, fork, shout, die or are not there; none of them stops an import for long."""

import hashlib
import os
import signal
import sys

import pytest
import trio

from p2phub.node.scanning import SHOWN, run


def program(text):
    return [sys.executable, "-c", text]


async def test_exit_code_0_passes_and_any_other_does_not():
    clean = await run(program("print('clean')"), 20)
    assert (clean.ok, clean.said) == (True, "it ended with exit code 0: clean")
    assert clean.output == hashlib.sha256(b"clean\n").hexdigest()
    found = await run(program("import sys; print('EICAR'); sys.exit(1)"), 20)
    assert (found.ok, found.said) == (False, "it ended with exit code 1: EICAR")


@pytest.mark.parametrize("words", [["/no/such/scanner"], ["/dev/null"], ["/tmp"]])
async def test_one_that_cannot_be_run_passes_nothing(words):
    found = await run(words, 20)
    assert not found.ok
    assert "cannot be run" in found.said


async def test_one_that_hangs_is_stopped_with_its_children(tmp_path):
    code = (
        "import os, time\n"
        "child = os.fork()\n"
        f"open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\n"
        "time.sleep(600)\n"
    )
    with trio.fail_after(20):
        found = await run(program(code), 0.8)
    assert (found.ok, found.said) == (False, "it was stopped after 0.8 seconds")
    for _ in range(100):
        left = [name for name in os.listdir(tmp_path) if _lives(int(name))]
        if not left:
            break
        await trio.sleep(0.02)
    assert not left


def _lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().split(") ")[1][0] != "Z"


async def test_a_child_that_holds_the_output_open_is_not_waited_for():
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\nprint('done', flush=True)"
    with trio.fail_after(20):
        found = await run(program(code), 15)
    assert (found.ok, "done" in found.said) == (True, True)


async def test_one_that_shouts_costs_no_memory():
    code = "import sys\nfor _ in range(300):\n    sys.stdout.write('x' * 100_000)\nprint('end')"
    found = await run(program(code), 60)
    assert found.ok
    assert found.said.endswith("end")
    assert len(found.said) < SHOWN + 100
    assert found.output == hashlib.sha256(b"x" * 30_000_000 + b"end\n").hexdigest()


async def test_one_that_dies_of_a_signal_passes_nothing():
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    found = await run(program(code), 20)
    assert (found.ok, found.said) == (False, "it died of signal 11")


async def test_what_it_prints_steers_no_terminal():
    found = await run(program("print('\\x1b[2Jbad\\u202e')"), 20)
    assert "\x1b" not in found.said
    assert "\u202e" not in found.said


async def test_it_is_told_none_of_our_settings_and_reads_no_terminal(monkeypatch):
    monkeypatch.setenv("P2PHUB_GATEWAY_TOKEN", "secret" * 4)
    monkeypatch.setenv("HF_TOKEN", "secret")
    code = "import os, sys; print(sorted(os.environ)); print(repr(sys.stdin.read()))"
    found = await run(program(code), 20)
    assert "TOKEN" not in found.said
    assert found.said.endswith("''")


async def test_an_import_that_is_cancelled_ends_it():
    with trio.fail_after(20), trio.move_on_after(0.5) as scope:
        await run(program("import time; time.sleep(600)"), 600)
    assert scope.cancelled_caught
