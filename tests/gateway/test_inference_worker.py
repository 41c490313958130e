"""A model in a process of its own, behind a real gateway: killed, left alone, out of memory."""

import os
import signal

import pytest
import trio

from p2phub.testing.inference import TEXT
from tests.inference.echo import echo

from .bare import CHAT, posted, text_until, until

LONG = {"messages": [{"role": "user", "content": "#more=100000"}]}


@pytest.fixture
async def worker(served):
    """The process of the model that writes."""
    async with echo(pace=200) as engine:
        served.node.inference.engines[TEXT] = engine
        yield engine


async def ask(served, words, **more):
    body = {"messages": [{"role": "user", "content": words}], **more}
    return await served.stranger.post(CHAT, json=body)


async def test_what_it_says_arrives(served, worker):
    answer = await ask(served, "this is said again")
    assert answer.json()["choices"][0]["message"]["content"] == "this is said again"
    assert answer.json()["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("stream", [False, True])
async def test_a_worker_killed_in_the_middle_of_an_answer_is_told(served, worker, stream):
    async with posted(served, CHAT, LONG | {"stream": stream}) as lines:
        await until(lambda: worker.under_way == 1)
        if stream:
            await text_until(lines, b"word")
        os.kill(worker.pid, signal.SIGKILL)
        told = await text_until(lines, b"SIGKILL")
    assert b'"type":"server_error"' in told
    assert (b" 503 " in told) is not stream
    assert served.node.inference.inside == 0
    again = await ask(served, "are you there")
    assert (again.status_code, again.json()["error"]["code"]) == (503, "engine")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_its_slot(served, worker, stream):
    async with posted(served, CHAT, LONG | {"stream": stream}) as lines:
        await until(lambda: worker.under_way == 1)
        if stream:
            await text_until(lines, b"word")
    left = trio.current_time()
    await until(lambda: worker.under_way == 0)
    assert trio.current_time() - left < 1
    assert (await ask(served, "others go on")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_the_queue_is_gone_within_a_step(served, stream):
    async with echo(pace=20, slots=1) as worker:
        served.node.inference.engines[TEXT] = worker
        async with posted(served, CHAT, LONG | {"stream": True}) as others:
            await text_until(others, b"word")
            async with posted(served, CHAT, LONG | {"stream": stream}):
                await until(lambda: worker.under_way == 2)
            steps = 0
            while worker.under_way == 2:
                steps += (await others.receive()).count(b"word")
            assert steps <= 2


async def test_memory_that_runs_out_costs_one_request(served, worker):
    answer = await ask(served, "#memory")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_memory")
    assert answer.headers["x-should-retry"] == "false"
    assert (await ask(served, "still here")).status_code == 200
