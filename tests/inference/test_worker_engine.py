"""A worker that is killed, hangs, talks nonsense or is left alone: nothing waits, nothing leaks."""

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from p2phub.errors import EngineError, NoMemoryError, UnsupportedError, UsageError
from p2phub.inference import worker_engine, worker_process
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import Embed, Finished, Generate, Piece, TaskRequest
from p2phub.inference.spec import Adapter, RunOptions
from p2phub.inference.wire import Answer, Arrived, Failed, Part, Ready, encode
from p2phub.inference.worker_engine import start_worker
from p2phub.inference.worker_process import environment, how_it_ended, kills_for_memory
from p2phub.testing.engine_conformance import EngineConformance, Subject
from p2phub.testing.processes import gone
from tests.inference.echo import echo, echo_spec, text_of, until

INFO = ModelInfo("echo", "cpu", "none", ("text-generation",))
FOREVER = Generate("#more=100000000")


def alive(pid):
    """Whether there is such a process, a zombie included."""
    return Path(f"/proc/{pid}").exists()


def open_files():
    return len(os.listdir("/proc/self/fd"))


class TestEcho(EngineConformance):
    """The promises of every engine, kept by a process."""

    @pytest.fixture
    async def subject(self):
        async with echo(pace=2000) as engine:
            yield Subject(
                engine,
                long=Generate("#more=100"),
                short=lambda number: Generate(f"this is answer {number} of many"),
                under_way=lambda: engine.under_way,
                too_long=Generate("word " * 5000),
                wrong=Generate("word", adapter="none such"),
                embed=Embed(("some", "texts")),
                task=TaskRequest("echo", {"a": 1}),
                crash=lambda: os.kill(engine.pid, signal.SIGKILL),
                adapter=Adapter("lab/poet", (), "ab" * 32),
            )


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_worker_killed_in_the_middle_of_an_answer_is_told_with_its_signal(sign):
    async with echo(pace=200) as engine:
        begun, errors = trio.Event(), []

        async def ask():
            with pytest.raises(EngineError) as raised:
                await text_of(engine, FOREVER, begun)
            errors.append(str(raised.value))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await begun.wait()
            os.kill(engine.pid, sign)
        assert f"killed by signal {int(sign)} ({sign.name})" in errors[0]
        await engine.gone.wait()
        assert not alive(engine.pid)


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("#abort", "killed by signal 6"),
        ("#segv", "killed by signal 11"),
        ("#exit", "ended with exit code 9"),
        ("#break", "RuntimeError: the echo was told to break"),
    ],
)
async def test_how_a_worker_ended_itself_is_told(order, told):
    async with echo() as engine:
        with pytest.raises(EngineError, match=told):
            await text_of(engine, f"before {order} after")
        with pytest.raises(EngineError, match=told):
            await engine.run(TaskRequest("echo", "after it is gone"))


async def test_an_error_that_is_none_of_ours_in_a_call_ends_the_worker():
    async with echo() as engine:
        with pytest.raises(EngineError, match="RuntimeError"):
            await engine.run(TaskRequest("echo", "#break"))


async def test_a_call_that_cannot_be_stopped_is_let_go_without_killing_the_worker():
    async with echo(patience=0.2) as engine:
        with trio.move_on_after(0.05):
            await engine.run(TaskRequest("echo", "#stall"))
        await trio.sleep(0.5)
        assert await text_of(engine, "still here") == "still here"
        assert engine.under_way == 1


async def test_want_of_memory_costs_that_request_alone():
    async with echo() as engine:
        with pytest.raises(NoMemoryError):
            await engine.run(TaskRequest("echo", "#memory"))
        with pytest.raises(NoMemoryError):
            await text_of(engine, "#memory")
        assert await text_of(engine, "and on it goes") == "and on it goes"


async def test_a_worker_that_the_kernel_killed_for_memory_is_told_as_such(monkeypatch):
    async with echo() as engine:
        kills = kills_for_memory()
        monkeypatch.setattr(worker_engine, "kills_for_memory", lambda: kills + 1)
        with pytest.raises(NoMemoryError, match="memory ran out"):
            await text_of(engine, "#kill")


@pytest.mark.parametrize("order", ["#hang", pytest.param("before #stall", marks=pytest.mark.slow)])
async def test_a_worker_that_hangs_is_killed_after_some_patience(order):
    async with echo(patience=0.4) as engine:
        with trio.move_on_after(0.1):
            await text_of(engine, order)
        await engine.lost.wait()
        with pytest.raises(EngineError, match=r"did not (answer|stop) for 0\.4 seconds"):
            await text_of(engine, "word")
        await engine.gone.wait()
        assert not alive(engine.pid)


async def test_a_long_call_is_no_reason_to_kill_a_worker():
    async with echo(patience=0.1, pace=5) as engine:
        assert await text_of(engine, "one two") == "one two"


@pytest.mark.parametrize(
    ("order", "kind", "told"),
    [
        ("#fail", UsageError, "told to fail"),
        ("#memory", NoMemoryError, "not enough memory for lab/echo"),
        ("#segv", EngineError, "SIGSEGV.* while it loaded"),
        ("#exit", EngineError, "exit code 9 while it loaded"),
        ("#break", EngineError, "it said: RuntimeError: the echo was told to break$"),
    ],
)
async def test_a_load_that_fails_says_why_and_leaves_nothing(order, kind, told):
    before = open_files()
    async with trio.open_nursery() as nursery:
        with pytest.raises(kind, match=told):
            await start_worker(nursery, echo_spec(load=order))
    assert open_files() == before


async def test_a_load_that_is_cancelled_leaves_no_process():
    pids = []
    before = open_files()
    real = worker_process.WorkerProcess
    with pytest.MonkeyPatch.context() as patch:

        class Noted(real):
            def __init__(self, options):
                super().__init__(options)
                pids.append(self.pid)

        patch.setattr(worker_engine, "WorkerProcess", Noted)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.3):
                await start_worker(nursery, echo_spec(load_seconds=60))
    assert len(pids) == 1
    assert not alive(pids[0])
    assert open_files() == before


async def test_progress_of_a_load_is_told_in_order():
    told = []
    async with trio.open_nursery() as nursery:
        engine = await start_worker(nursery, echo_spec(), lambda *step: told.append(step))
        await engine.close()
    assert told == [("echo", step, 4) for step in range(5)]


async def test_an_error_of_what_arrives_ends_the_load():
    async def arriving():
        yield Arrived("model.safetensors", 0, 5)
        raise UnsupportedError("nobody has it any more")

    async with trio.open_nursery() as nursery:
        with pytest.raises(UnsupportedError, match="nobody has it"):
            await start_worker(nursery, echo_spec(load_seconds=60), arriving=arriving())


async def test_a_cancelled_nursery_takes_the_worker_along():
    async with trio.open_nursery() as nursery:
        engine = await start_worker(nursery, echo_spec())
        nursery.cancel_scope.cancel()
    assert engine.lost.is_set()
    assert not alive(engine.pid)


async def test_a_request_too_large_for_the_wire_is_refused_before_it_is_sent(monkeypatch):
    monkeypatch.setattr("p2phub.inference.wire.MAX_JSON", 1000)
    async with echo() as engine:
        with pytest.raises(UsageError, match="more than a model is given"):
            await text_of(engine, "x" * 1001)
        assert engine.under_way == 0
        assert await text_of(engine, "small") == "small"


async def test_a_prompt_larger_than_what_a_socket_holds_arrives_whole():
    words = "word" * 2_000_000
    async with echo() as engine:
        answer = await engine.run(TaskRequest("echo", {"x": words}, bytes(1 << 20)))
        assert answer.value == {"x": words}
        assert answer.data == bytes(1 << 20)


async def test_who_does_not_take_his_answer_holds_up_nobody():
    async with echo() as engine, aclosing(engine.generate(Generate("#more=20000"))) as slow:
        await anext(slow)
        assert await text_of(engine, "quick one") == "quick one"
        rest = [each async for each in slow]
        assert len(rest) == 20000
        assert type(rest[-1]) is Finished


@pytest.mark.slow
async def test_a_thousand_requests_at_once_are_all_answered_each_his_own():
    answers = {}

    async def ask(engine, number):
        answers[number] = await text_of(engine, f"answer number {number}")

    async with echo() as engine:
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(ask, engine, number)
        assert answers == {number: f"answer number {number}" for number in range(1000)}
        assert engine.under_way == 0


@pytest.mark.slow
async def test_a_thousand_calls_given_up_are_all_forgotten():
    async with echo(pace=100) as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(text_of, engine, FOREVER)
            await until(lambda: engine.under_way == 1000)
            nursery.cancel_scope.cancel()
        await until(lambda: not engine.under_way)
        assert await text_of(engine, "free again") == "free again"


async def test_its_last_lines_are_kept_and_a_flood_of_them_is_not():
    async with echo() as engine:
        await text_of(engine, "#say " * 1000)
        await engine.close()
        assert engine.log == ("the echo says something",) * worker_process.LAST_LINES


class TestImpostor:
    """What a worker might send: its other end is in our hands here."""

    @pytest.fixture
    async def impostor(self, monkeypatch):
        """An engine that was started, and what its worker says from now on."""
        theirs = []

        class Fake(worker_process.WorkerProcess):
            def __init__(self, options):
                super().__init__(options)
                self.socket.close()
                self.socket, other = socket.socketpair()
                self.socket.setblocking(False)
                theirs.append(other)

        def sleep(descriptor):
            return [sys.executable, "-c", "import time; time.sleep(60)"]

        monkeypatch.setattr(worker_process, "command", sleep)
        monkeypatch.setattr(worker_engine, "WorkerProcess", Fake)
        monkeypatch.setattr(worker_engine, "POLITE", 0.05)
        monkeypatch.setattr(worker_engine, "DRAIN", 0.05)
        async with trio.open_nursery() as nursery:
            made = []

            async def begin():
                made.append(await start_worker(nursery, echo_spec()))

            nursery.start_soon(begin)
            await until(lambda: theirs)
            theirs[0].sendall(encode(Ready(INFO)))
            await until(lambda: made)
            yield made[0], theirs[0]
            await made[0].close()
            theirs[0].close()

    @pytest.mark.parametrize(
        ("sent", "told"),
        [
            (b"garbage of all kinds, and more of it", "makes no sense"),
            (struct.pack("<II", 5, 0) + b"[1,2]", "makes no sense"),
            (struct.pack("<II", 0xFFFFFFFF, 0), "too large"),
            (b'\x05\x00\x00\x00\x00\x00\x00\x00["p"', "killed by signal 9"),
            (b"", "killed by signal 9"),
        ],
        ids=["noise", "wrong row", "endless frame", "half a frame", "end"],
    )
    async def test_nonsense_ends_it_and_every_request_is_told(self, impostor, sent, told):
        engine, worker = impostor
        async with aclosing(engine.generate(Generate("hello"))) as stream:
            worker.sendall(encode(Part(1, Piece("first"))) + sent)
            assert await anext(stream) == Piece("first")
            worker.shutdown(socket.SHUT_WR)
            with pytest.raises(EngineError, match=told):
                await anext(stream)
        await engine.gone.wait()
        assert not alive(engine.pid)

    async def test_answers_to_nobody_are_dropped(self, impostor):
        engine, worker = impostor
        for frame in (
            Part(99, Piece("x")),
            Part(99, Finished("stop", 1, 1)),
            Answer(99, 5),
            Failed(99, EngineError("x")),
        ):
            worker.sendall(encode(frame))
        async with aclosing(engine.generate(Generate("hello"))) as stream:
            worker.sendall(encode(Part(1, Finished("stop", 1, 0))))
            assert await anext(stream) == Finished("stop", 1, 0)
        assert engine.under_way == 0


def test_a_worker_sees_none_of_our_secrets():
    ours = {"PATH": "/bin", "HF_TOKEN": "x", "P2PHUB_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    made = environment(ours | {"CUDA_VISIBLE_DEVICES": "1"}, RunOptions(threads=3), Path("/t"))
    assert not {"HF_TOKEN", "P2PHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"} & made.keys()
    assert (made["PATH"], made["CUDA_VISIBLE_DEVICES"], made["OMP_NUM_THREADS"]) == (
        "/bin",
        "1",
        "3",
    )
    assert (made["HF_HUB_OFFLINE"], made["TOKENIZERS_PARALLELISM"]) == ("1", "false")


async def test_a_worker_is_settled():
    async with echo() as engine:
        at = Path(f"/proc/{engine.pid}")
        limits = (at / "limits").read_text()
        assert "Max core file size        0                    0" in limits
        assert int((at / "oom_score_adj").read_text()) >= 800
        assert os.getsid(engine.pid) == engine.pid


def folder_of(pid):
    """The folder for temporary files of a process."""
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return Path(dict(line.split("=", 1) for line in lines if line)["TMPDIR"])


@pytest.mark.parametrize("killed", [True, False])
async def test_what_a_worker_leaves_in_its_own_folder_goes_with_it(killed):
    async with echo() as engine, echo() as other:
        folder, others = folder_of(engine.pid), folder_of(other.pid)
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "p2phub-llama-x").mkdir()
        if killed:
            os.kill(engine.pid, signal.SIGKILL)
        else:
            await engine.close()
        await engine.gone.wait()
        assert not folder.exists()
        assert others.is_dir()
    assert not others.exists()


def test_a_disk_without_room_for_that_folder_is_told_and_leaves_nothing(monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker_process, "PrivateFolder", full)
    before = open_files()
    with pytest.raises(EngineError, match="No space left"):
        worker_process.WorkerProcess(RunOptions())
    assert open_files() == before


def test_a_signal_without_a_name_is_told_too():
    assert how_it_ended(-63) == "was killed by signal 63"


PARENT = """
import sys, trio
from p2phub.inference.requests import Generate
from tests.inference.echo import echo
async def main():
    async with echo() as engine:
        print(engine.pid, flush=True)
        async for _ in engine.generate(Generate(sys.argv[1])):
            pass
trio.run(main)
"""


@pytest.mark.parametrize("prompt", ["#more=100000000", "#hang"])
def test_a_node_that_is_killed_leaves_no_worker(prompt):
    """Not even one that holds Python's lock, and sees nothing of its socket."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, prompt], stdout=subprocess.PIPE)
    try:
        worker = int(parent.stdout.readline())
        time.sleep(0.2)
        assert alive(worker)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert gone([worker], 5)


@pytest.mark.slow
async def test_a_hundred_workers_leave_no_file_and_no_process():
    before = open_files()
    for number in range(100):
        async with echo() as engine:
            if number % 3 == 0:
                with pytest.raises(EngineError):
                    await text_of(engine, "#abort")
            elif number % 3 == 1:
                async with aclosing(engine.generate(FOREVER)) as stream:
                    await anext(stream)
        assert not alive(engine.pid)
    assert open_files() == before
