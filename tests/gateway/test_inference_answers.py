"""Who goes away, asks too much, or sends too much: over bare sockets, against a real gateway."""

import gc
from collections import Counter

import h11
import pytest
import trio
import trio.testing

from p2phub.gateway import guard
from p2phub.gateway.dialects import OPENAI
from p2phub.gateway.inference_answers import MAX_WAITING, EventStream, Outbox
from p2phub.gateway.inference_clients import InferenceLimits
from p2phub.testing.inference import SCRIPT
from p2phub.testing.nodes import FakeNode

from .bare import CHAT, posted, text_until, until
from .conftest import serving

ASK = {"messages": [{"role": "user", "content": "Hi"}]}
WHOLE = SCRIPT[-1].encode()


class TestAClientThatGoesAway:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_costs_no_more_steps(self, served, stream):
        engine = served.node.inference.text
        engine.script, engine.pause = ("word ",) * 10_000, 0.005
        async with posted(served, CHAT, ASK | {"stream": stream}):
            await until(lambda: engine.steps >= 5)
            when = engine.steps
        with trio.fail_after(2):
            await engine.gave_up.wait()
        # The socket closes between two steps, and the gateway may see it in the next one.
        assert engine.cancelled_at_step[0] - when <= 1
        assert engine.under_way == 0
        assert served.node.inference.inside == 0

    @pytest.mark.parametrize("stream", [False, True])
    async def test_frees_a_slot_that_waits_for_its_model(self, served, stream):
        inference = served.node.inference
        inference.loading = trio.Event()
        async with posted(served, CHAT, ASK | {"stream": stream}):
            await until(lambda: inference.inside)
        await until(lambda: not inference.inside)

    async def test_ends_all_choices_of_a_whole_answer(self, served):
        engine = served.node.inference.text
        engine.hold = trio.Event()
        async with posted(served, CHAT, ASK | {"n": 4}):
            await until(lambda: engine.under_way == 4)
        await until(lambda: not engine.under_way)
        assert engine.cancelled == 4

    async def test_in_the_middle_of_its_request_is_forgotten(self, served):
        async with posted(served, CHAT, b"{", {"Content-Length": "1000"}):
            pass
        assert (await served.stranger.get("/v1/models")).status_code == 200
        assert served.node.inference.asked == []

    async def test_in_the_middle_of_the_first_line_of_its_answer_is_sent_no_more(self):
        """Hypercorn takes no body of an answer whose start it could not send."""
        sent, left = [], trio.Event()

        async def talk(outbox):
            await outbox.put(b"data: hello")
            await trio.sleep_forever()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            left.set()
            await trio.sleep_forever()
            sent.append(message)

        with trio.fail_after(5):
            await EventStream(talk, OPENAI, trio.Event())({"type": "http"}, receive, send)
        assert sent == []


class TestTooMuch:
    @pytest.mark.parametrize("path", ["/v1/embeddings", CHAT, "/models/lab/smol"])
    async def test_in_one_request_is_refused_unread(self, served, path):
        size = str(100 << 20)
        async with posted(served, path, b"", {"Content-Length": size}) as lines:
            assert await lines.status() == 413

    async def test_in_a_chunked_request_is_refused_at_the_limit(self, served, monkeypatch):
        monkeypatch.setitem(guard.LARGER_BELOW, "/v1/", 2 * guard.MAX_BODY)
        async with posted(served, CHAT, b"", {"Transfer-Encoding": "chunked"}) as lines:
            for _ in range(65):
                await lines.send(h11.Data(data=b" " * (guard.MAX_BODY // 32)))
            assert await lines.status() == 413
        assert served.node.inference.asked == []

    async def test_is_told_in_the_words_of_the_api(self, served):
        size = str(guard.LARGER_BELOW["/v1/"] + 1)
        async with posted(served, CHAT, b"", {"Content-Length": size}) as lines:
            told = await text_until(lines, b"}}")
        assert b" 413 " in told
        assert b'"type":"invalid_request_error"' in told

    async def test_of_large_bodies_at_once_is_refused(self, tmp_path):
        async with serving(tmp_path, limits=InferenceLimits(large_bodies=0)) as served:
            body = ASK | {"user": "x" * guard.MAX_BODY}
            answer = await served.stranger.post(CHAT, json=body)
            assert answer.status_code == 429
            assert (await served.stranger.post(CHAT, json=ASK)).status_code == 200

    async def test_of_one_client_is_refused_and_others_are_answered(self, tmp_path):
        async with serving(tmp_path, limits=InferenceLimits(per_client=2, in_all=3)) as served:
            engine = served.node.inference.text
            engine.hold = trio.Event()
            mine, other = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
            body = ASK | {"n": 2}
            async with posted(served, CHAT, body, mine):
                await until(lambda: engine.under_way == 2)
                answer = await served.stranger.post(CHAT, json=ASK, headers=mine)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
                assert answer.json()["error"]["code"] == "rate_limit_exceeded"
                assert (
                    await served.stranger.post(CHAT, json=body, headers=other)
                ).status_code == 429
                engine.hold.set()
                assert (
                    await served.stranger.post(CHAT, json=ASK, headers=other)
                ).status_code == 200

    async def test_of_different_keys_are_those_of_different_clients(self, served):
        for key in ("a", "b", "a"):
            headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "10.0.0.1"}
            assert (await served.stranger.post(CHAT, json=ASK, headers=headers)).status_code == 200
        first, second, third = served.node.inference.clients
        assert first == third != second
        assert "10.0.0.1" not in first

    @pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/responses", "/models/lab/smol"])
    async def test_in_a_minute_is_refused_and_told_when_to_come_again(self, tmp_path, path):
        environ = {"P2PHUB_INFERENCE_REQUESTS_PER_MINUTE": "4"}
        async with serving(tmp_path, environ=environ) as served:
            for _ in range(4):
                assert (await served.stranger.get("/v1/models")).status_code == 200
                assert (await served.stranger.post(CHAT, json=ASK)).status_code == 200
            answer = await served.stranger.post(path, json=ASK)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "15")
            assert "requests_per_minute" in answer.text
            other = {"Authorization": "Bearer b"}
            answer = await served.stranger.post(CHAT, json=ASK, headers=other)
            assert answer.status_code == 200

    async def test_at_once_is_what_the_settings_say(self, tmp_path):
        environ = {"P2PHUB_INFERENCE_ANSWERS_PER_CLIENT": "2"}
        async with serving(tmp_path, environ=environ) as served:
            answer = await served.stranger.post(CHAT, json=ASK | {"n": 3})
            assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
            assert answer.headers["x-should-retry"] == "true"

    @pytest.mark.slow
    async def test_at_once_ends_in_answers_and_refusals(self, tmp_path):
        node, counts = FakeNode(), Counter()
        node.inference.most = 20
        node.inference.text.pause = 0.002
        async with serving(tmp_path, node) as served, trio.open_nursery() as nursery:

            async def one(number):
                key = {"Authorization": f"Bearer {number % 10}"}
                body = ASK | {"stream": bool(number % 2)}
                async with posted(served, CHAT, body, key | {"Connection": "close"}) as lines:
                    head, _, told = (await text_until(lines, b"")).partition(b"\r\n\r\n")
                counts[int(head.split()[1])] += 1
                assert (b"retry-after: " in head) is (b" 429 " in head)
                assert WHOLE in told or b"rate_limit_error" in told

            for number in range(1000):
                nursery.start_soon(one, number)
        assert set(counts) == {200, 429}
        assert counts.total() == 1000
        assert node.inference.inside == 0
        assert node.inference.text.under_way == 0


@pytest.mark.slow
async def test_nothing_is_left_of_requests_that_are_done(served):
    async def some(number):
        for _ in range(number):
            for more in ({}, {"stream": True}, {"n": 2}, {"temperature": 9}, {"model": "x"}):
                await served.stranger.post(CHAT, json=ASK | more)
            await served.stranger.post("/v1/embeddings", json={"input": "a"})
            await served.stranger.post("/models/lab/smol", json={"inputs": "a", "stream": True})
            async with posted(served, CHAT, ASK | {"stream": True}) as lines:
                await lines.status()
        for engine in (served.node.inference.text, served.node.inference.vectors):
            engine.asked.clear()
            engine.cancelled_at_step.clear()
        served.node.inference.asked.clear()
        await trio.testing.wait_all_tasks_blocked(0.05)
        gc.collect()
        return len(gc.get_objects())

    await some(10)
    before = await some(10)
    assert await some(50) - before < 200  # objects, of 400 requests


async def test_models_need_the_token_anywhere_but_on_loopback(tmp_path):
    async with serving(tmp_path, listen="0.0.0.0:0") as served:
        answer = await served.stranger.post(CHAT, json=ASK)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "permission_error")
        assert (await served.client.post(CHAT, json=ASK)).status_code == 200


async def test_a_page_from_elsewhere_asks_no_model(served):
    answer = await served.stranger.post(CHAT, json=ASK, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    answer = await served.stranger.post(CHAT, json=ASK, headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert served.node.inference.asked == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gateway_that_stops_says_so(tmp_path, stream):
    async with serving(tmp_path) as served:
        engine = served.node.inference.text
        engine.hold = trio.Event()
        async with posted(served, CHAT, ASK | {"stream": stream}) as lines:
            await until(lambda: engine.under_way)
            served.gateway.control.stopping.set()
            assert (b" 503 " in await text_until(lines, b"stopping")) is not stream


async def test_a_slow_reader_makes_the_work_wait():
    out, done = Outbox(), []

    async def work():
        for _ in range(3):
            await out.put(b"x" * MAX_WAITING)
            done.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.testing.wait_all_tasks_blocked()
        assert len(done) == 1
        assert len(await out.take()) == 2 * MAX_WAITING
        await trio.testing.wait_all_tasks_blocked()
        assert len(done) == 3
        assert len(await out.take()) == MAX_WAITING


async def test_what_comes_while_nobody_reads_is_sent_together():
    out = Outbox()
    for text in SCRIPT:
        await out.put(text.encode())
    out.close()
    assert await out.take() == "".join(SCRIPT).encode()
    assert await out.take() == b""
