"""Clients that leave real models: in the middle of an answer, of a long prompt, of the queue.

Another client streams meanwhile. It gets a token at each step of the model, so what it gets counts
the steps: from the moment at which one leaves to the one at which the worker lets go of it.
"""

from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.formats.digest import blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import PieceTable
from p2phub.inference.spec import ModelFile, ModelSpec, RunOptions
from p2phub.inference.worker_engine import start_worker
from p2phub.testing.inference import TEXT
from tests.real_models import smol_gguf, write_smol

from .bare import posted, text_until

pytestmark = [pytest.mark.slow, pytest.mark.budget(400)]

COMPLETIONS = "/v1/completions"
ENDLESS = {"max_tokens": 1500, "temperature": 0, "logit_bias": {"0": -100, "2": -100}}
SHORT = ENDLESS | {"prompt": "Once upon a time"}
LONG_PROMPT = ENDLESS | {"prompt": [1000 + at % 500 for at in range(1800)]}
"""Several steps of a prompt."""
SLOTS = 2
STEPS = 2
"""The one that is under way when the client leaves, and one that ends while we are told."""
LOADS = 120
TOKEN = b'"text":'


def file_of(path):
    data = path.read_bytes()
    if len(data) <= MIB:
        return ModelFile((path.name,), ContentId(len(data), sha256(data)), str(path))
    parts = [data[at : at + MIB] for at in range(0, len(data), MIB)]
    table = PieceTable.build([len(part) for part in parts], [blake3(part) for part in parts])
    return ModelFile((path.name,), table.content_id, str(path), table.pack())


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def spec(request, tmp_path_factory):
    if request.param == "llamacpp":
        pytest.importorskip("xllamacpp")
        files = [smol_gguf()]
    else:
        files = sorted(write_smol(tmp_path_factory.mktemp("models") / "smol").iterdir())
    options = RunOptions(device="cpu", threads=1, slots=SLOTS, context=2048)
    made = tuple(map(file_of, files))
    return ModelSpec("", "lab/smol", request.param, "text-generation", made, options)


@pytest.fixture
async def worker(served, spec):
    async with trio.open_nursery() as nursery:
        with trio.fail_after(LOADS):
            engine = await start_worker(nursery, spec)
        served.node.inference.engines[TEXT] = engine
        try:
            yield engine
        finally:
            with trio.CancelScope(shield=True):
                await engine.close()


class OtherClient:
    """One that streams, and counts what it gets."""

    def __init__(self, lines):
        self._lines = lines
        self.tokens = 0

    async def read(self):
        while part := await self._lines.receive():
            self.tokens += part.count(TOKEN)


@asynccontextmanager
async def other_client(served):
    """It streams as long as the block lasts."""
    async with (
        posted(served, COMPLETIONS, SHORT | {"stream": True}) as lines,
        trio.open_nursery() as nursery,
    ):
        client = OtherClient(lines)
        nursery.start_soon(client.read)
        await come(lambda: client.tokens)
        yield client
        nursery.cancel_scope.cancel()


async def come(fulfilled):
    with trio.fail_after(LOADS):
        while not fulfilled():  # noqa: ASYNC110 - nobody tells of it
            await trio.sleep(0.001)


async def some_steps(other, number=2):
    before = other.tokens
    await come(lambda: other.tokens >= before + number)


async def steps_until(worker, number, other):
    """Steps of the model until the worker has only so many requests."""
    before = other.tokens
    await come(lambda: worker.under_way == number)
    return other.tokens - before


@pytest.mark.parametrize("stream", [True, False])
async def test_in_the_middle_of_an_answer(served, worker, stream):
    async with other_client(served) as other:
        async with posted(served, COMPLETIONS, SHORT | {"stream": stream}) as lines:
            await come(lambda: worker.under_way == 2)
            if stream:
                await text_until(lines, TOKEN)
            await some_steps(other)
        assert await steps_until(worker, 1, other) <= STEPS


@pytest.mark.parametrize("stream", [True, False])
async def test_while_a_long_prompt_is_read(served, worker, stream):
    async with other_client(served) as other:
        async with posted(served, COMPLETIONS, LONG_PROMPT | {"stream": stream}):
            await come(lambda: worker.under_way == 2)
            await some_steps(other, 1)
        assert await steps_until(worker, 1, other) <= STEPS


@pytest.mark.parametrize("stream", [True, False])
async def test_in_the_queue(served, worker, stream):
    async with other_client(served) as other, other_client(served):
        async with posted(served, COMPLETIONS, SHORT | {"stream": stream}):
            await come(lambda: worker.under_way == SLOTS + 1)
            await some_steps(other)
        assert await steps_until(worker, SLOTS, other) <= STEPS


async def test_makes_room_for_who_waits(served, worker):
    async with (
        other_client(served) as other,
        posted(served, COMPLETIONS, SHORT | {"stream": True}) as leaving,
        posted(served, COMPLETIONS, SHORT | {"stream": True}) as waiting,
    ):
        await come(lambda: worker.under_way == SLOTS + 1)
        await some_steps(other)
        before = other.tokens
        await leaving.close()
        with trio.fail_after(LOADS):
            await text_until(waiting, TOKEN)
        assert other.tokens - before <= STEPS + 1  # its prompt takes one
