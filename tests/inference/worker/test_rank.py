"""A model that two processes share answers as one does, and lives and dies with both."""

import os
import signal
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import trio

from p2phub.errors import EngineError, UnsupportedError
from p2phub.inference.pool import open_pool
from p2phub.inference.requests import Embed, Piece
from p2phub.inference.spec import Adapter
from tests.inference.echo import until
from tests.inference.worker.shared_models import all_said, asked, released, said, served, spec_for

pytestmark = pytest.mark.slow

REQUESTS = (
    asked("the cat sat"),
    asked("a dog and a cat", seed=5),
    asked("où est le café", seed=7, logprobs=2),
    asked("the mat", logit_bias={9: 3.0}),
    asked("the cat sat on the mat", tokens=40),
    asked("a", seed=1, tokens=3, top_p=0.5),
)
ENDLESS = asked("the cat", tokens=200, logit_bias={1: -100.0})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return released(tmp_path_factory.mktemp("shared"))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Processes share a processor only where there is nothing else."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def children(pid):
    """The ids of the processes that a process has started."""
    told = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for file in told for each in file.read_text().split()]


def alive(pid):
    with suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def listens_at(pid):
    """The addresses at which a process takes TCP connections, as the kernel writes them."""
    held = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return [
        row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held
    ]


async def begun(engine, request, then):
    """Ask, and do `then` once the answer has begun; what comes after is not listened to."""
    async with aclosing(engine.generate(request)) as stream:
        async for each in stream:
            if type(each) is Piece and then():
                break


async def test_answers_are_those_of_one_process(files):
    async with served(spec_for(files)) as engine:
        alone = [await said(engine, each) for each in REQUESTS]
        weights, cache = engine.info.weight_bytes, engine.info.cache_bytes
    async with served(spec_for(files, 2)) as engine:
        assert engine.info.device == "cpu,cpu"
        assert engine.info.weight_bytes == pytest.approx(weights, rel=0.02)
        assert engine.info.cache_bytes == cache
        assert [await said(engine, each) for each in REQUESTS] == alone
        assert await all_said(engine, REQUESTS * 3) == alone * 3

        ends = [*children(engine.pid), engine.pid]
        assert len(ends) == 2
        heard = {each for pid in ends for each in listens_at(pid)}
        assert heard <= {"0100007F", "00000000000000000000000001000000"}

        await begun(engine, ENDLESS, lambda: True)
        await until(lambda: not engine.under_way)
        assert await said(engine, REQUESTS[0]) == alone[0]

        with pytest.raises(UnsupportedError, match="shared by 2 devices"):
            await engine.attach(Adapter("poet", ()))
        with pytest.raises(UnsupportedError):
            await engine.embed(Embed(("x",)))
    assert not any(alive(each) for each in ends)


async def test_a_rank_that_dies_costs_its_requests_and_the_pool_starts_both_anew(files):
    spec = spec_for(files, 2)
    async with open_pool() as pool:
        async with pool.lease(spec) as held:
            engine = held.behind
            expected = await said(engine, REQUESTS[0])
            (child,) = children(engine.pid)
            with pytest.raises(EngineError):
                await begun(engine, ENDLESS, lambda: os.kill(child, signal.SIGKILL))
            with trio.fail_after(30):
                await engine.gone.wait()
            assert any("rank 1 of the processes" in line for line in engine.log)
        async with pool.lease(spec) as held:
            anew = held.behind
            assert anew.pid != engine.pid
            assert await said(anew, REQUESTS[0]) == expected
            (child,) = children(anew.pid)
            os.kill(anew.pid, signal.SIGKILL)
            await until(lambda: not alive(child))


async def test_a_model_that_cannot_be_shared_is_refused_before_a_process_is_started(files):
    with pytest.raises(UnsupportedError, match="num_key_value_heads"):
        async with served(spec_for(files, 4)):
            pytest.fail("2 heads are no multiple of 4")
