"""What the control API answers, over a real socket."""

import json

import pytest
import trio

from p2phub import errors
from p2phub.errors import MalformedError, NotFoundError, P2PHubError, RefusedError
from p2phub.gateway import control
from p2phub.gateway.operations import OPERATIONS
from p2phub.node.values import Progress, PullRequest, SearchQuery
from p2phub.testing.nodes import COMMIT, EVENTS, PUBLISHER, FakeNode

from .conftest import posting, serving

V1 = "/control/v1"


async def lines_of(client, name, body):
    async with client.stream("POST", f"{V1}/{name}", json=body) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) async for line in response.aiter_lines()]


async def test_reads_answer_json(served):
    status = (await served.client.get(f"{V1}/status")).json()
    assert status["peers"] == 1
    assert status["announce_lag"] == 0
    repos = (await served.client.get(f"{V1}/repos")).json()["repos"]
    assert [repo["ref"] for repo in repos] == ["lab/minilm"]
    files = (await served.client.get(f"{V1}/files", params={"reference": "lab/minilm"})).json()
    assert files["files"][0]["path"] == "model.safetensors"


async def test_a_query_reaches_the_node_typed(served):
    query = {"text": "mini", "task": "feature-extraction", "limit": "3"}
    answer = await served.client.get(f"{V1}/search", params=query)
    assert served.node.asked == [SearchQuery(text="mini", task="feature-extraction", limit=3)]
    assert answer.json()["hits"][0]["commit"] == COMMIT


async def test_a_pull_streams_its_events_and_ends_with_done(served):
    request = {"reference": "lab/minilm", "include": ["*.json"]}
    lines = await lines_of(served.client, "pull", request)
    assert [each["event"] for each in lines] == ["resolved", "plan", "progress", "file", "done"]
    assert lines[-1]["commit"] == COMMIT
    assert lines[-1]["sources"] == 1
    assert served.node.asked == [PullRequest("lab/minilm", include=("*.json",))]


async def test_events_arrive_while_the_work_goes_on(served):
    served.node.hold = trio.Event()
    async with posting(served, "pull", {"reference": "lab/minilm"}) as lines:
        first = [await lines.next() for _ in EVENTS]
        assert first[-1]["event"] == "file"
        served.node.hold.set()
        assert (await lines.next())["event"] == "done"
        assert await lines.next() is None


async def test_an_error_after_the_first_event_is_the_last_line(served):
    lines = await lines_of(served.client, "pull", {"reference": "lab/nothing"})
    assert lines[-1]["error"]["code"] == "not_found"
    assert lines[-1]["error"]["exit"] == 3
    assert [each for each in lines if "error" not in each]


async def test_a_client_that_goes_away_cancels_its_pull(served):
    served.node.hold = trio.Event()
    async with posting(served, "pull", {"reference": "lab/minilm"}) as lines:
        await lines.next()
    await served.node.cancelled.wait()
    assert (await served.client.get(f"{V1}/status")).status_code == 200


async def test_a_stop_tells_the_streams_under_way(tmp_path):
    node = FakeNode()
    node.hold = trio.Event()
    lines = []

    async def pull(served):
        lines.extend(await lines_of(served.client, "pull", {"reference": "lab/minilm"}))
        done.set()

    done = trio.Event()
    async with trio.open_nursery() as nursery, serving(tmp_path, node) as served:
        nursery.start_soon(pull, served)
        await node.working.wait()
        served.gateway.control.stopping.set()
        await done.wait()
    assert lines[-1]["error"]["message"] == "the node is stopping"
    assert node.cancelled.is_set()


async def test_a_full_queue_is_refused(served, monkeypatch):
    monkeypatch.setattr(control, "MAX_STREAMS", 1)
    served.node.hold = trio.Event()
    body = {"reference": "lab/minilm"}
    async with posting(served, "pull", body) as lines:
        await lines.next()
        second = await served.client.post(f"{V1}/pull", json=body)
        assert second.status_code == 403
        assert second.json()["error"]["exit"] == 7
        served.node.hold.set()
        while await lines.next():
            pass
    third = await lines_of(served.client, "pull", body)
    assert third[-1]["event"] == "done"


async def test_a_slow_reader_gets_fewer_events_and_the_same_end(served):
    served.node.events = [Progress(n, 100_000) for n in range(100_000)]
    lines = await lines_of(served.client, "pull", {"reference": "lab/minilm"})
    assert lines[-1]["event"] == "done"
    assert len(lines) < 100
    assert lines[-2]["bytes_done"] == 99_999


async def test_trust_is_pinned_and_forgotten(served):
    body = {"alias": "org", "publisher_id": PUBLISHER}
    assert (await served.client.post(f"{V1}/trust/add", json=body)).json() == body
    pins = (await served.client.get(f"{V1}/trust")).json()["pins"]
    assert [pin["alias"] for pin in pins] == ["lab", "org"]
    await served.client.post(f"{V1}/trust/rm", json={"alias": "org"})
    assert "org" not in served.node.pins


def every_error(kind=P2PHubError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.code)
async def test_every_error_of_the_tree_is_answered_as_itself(served, kind):
    served.node.fails = kind("what happened", remedy="what to do")
    answer = await served.client.get(f"{V1}/info", params={"reference": "lab/minilm"})
    assert answer.status_code == kind.http
    told = {"code": kind.code, "exit": kind.exit}
    assert answer.json()["error"] == told | {"message": "what happened", "remedy": "what to do"}


async def test_an_error_inside_a_nursery_is_answered_as_itself(served):
    served.node.fails = ExceptionGroup("nursery", [NotFoundError("gone")])
    lines = await lines_of(served.client, "pull", {"reference": "lab/minilm"})
    assert lines[-1]["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("pull", {}, "reference"),
        ("pull", {"reference": 5}, "text"),
        ("pull", {"reference": "a/b", "include": "*.json"}, "list"),
        ("pull", {"reference": "a/b", "includes": ["*"]}, "includes"),
        ("pull", {"reference": "a/b", "to": "relative"}, "absolute"),
        ("publish", {"folder": "relative", "name": "x"}, "absolute"),
        ("publish", {"folder": "/x", "name": "x", "kind": "song"}, '"model"'),
        ("connect", ["a list"], "object"),
        ("trust/add", {"alias": "lab"}, "publisher_id"),
    ],
)
async def test_a_meaningless_request_names_what_is_wrong(served, name, body, says):
    answer = await served.client.post(f"{V1}/{name}", json=body)
    told = answer.json() if answer.status_code != 200 else json.loads(answer.text.splitlines()[-1])
    assert told["error"]["exit"] == 2
    assert says in told["error"]["message"]
    assert served.node.asked == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b'{"a":NaN}'])
async def test_a_body_that_is_not_json_is_a_usage_error(served, body):
    answer = await served.client.post(f"{V1}/rm", content=body)
    assert answer.status_code == 400


async def test_an_unknown_path_and_a_wrong_method_are_told_in_json(served):
    missing = await served.client.get("/nothing/here")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await served.client.post(f"{V1}/status", json={})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "usage")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("identity/adopt", {"parcel": "gqlk"}), ("quarantine/decide", {"approval": "gqlk"})],
)
async def test_a_document_that_is_none_is_the_fault_of_who_sends_it(served, asked, sent):
    served.node.fails = MalformedError("this is no envelope")
    answer = await served.client.post(f"{V1}/{asked}", json=sent)
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["exit"]) == ("malformed", 4)


async def test_probes(served):
    assert (await served.stranger.get("/healthz")).json() == {"ok": True}
    assert (await served.stranger.get("/readyz")).status_code == 200


async def test_every_operation_is_served(served):
    for each in OPERATIONS:
        answer = await served.stranger.request(each.method, each.path)
        assert answer.status_code not in (404, 405), each.name


async def test_a_bug_costs_one_request_a_500_and_shows_in_tests(tmp_path):
    node = FakeNode()
    node.fails = ZeroDivisionError("secret detail")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  raised when the gateway closes
        async with serving(tmp_path, node) as served:
            answer = await served.client.get(f"{V1}/status")
            assert answer.status_code == 500
            assert "secret" not in answer.text
            node.fails = None
            assert (await served.client.get(f"{V1}/status")).status_code == 200


async def test_a_bug_in_a_stream_becomes_its_last_line(tmp_path):
    node = FakeNode()
    node.fails = ZeroDivisionError("secret detail")
    with pytest.raises(ExceptionGroup):  # noqa: PT012  raised when the gateway closes
        async with serving(tmp_path, node) as served:
            lines = await lines_of(served.client, "pull", {"reference": "lab/minilm"})
            assert lines[-1]["error"]["code"] == "internal"


async def test_refused_is_told_before_a_stream_begins(served):
    served.node.fails = RefusedError("no")
    lines = await lines_of(served.client, "publish", {"folder": "/x", "name": "x"})
    assert lines[-1]["error"]["exit"] == 7
