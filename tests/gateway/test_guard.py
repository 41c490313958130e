"""Who is let in: tokens, the Host and Origin headers, body sizes."""

import h11
import pytest
import trio
from starlette.datastructures import Headers

from p2phub.config import Endpoint
from p2phub.formats.limits import MAX_TRUST_LIST
from p2phub.gateway import guard, server
from p2phub.gateway.guard import LARGER_BODIES, MAX_BODY, Gate, HttpError
from p2phub.gateway.operations import OPERATIONS

from .bare import posted, until
from .conftest import connected, posting, serving

V1 = "/control/v1"
CLOSED = [each for each in OPERATIONS if not each.open]


@pytest.mark.parametrize("operation", CLOSED, ids=lambda each: each.name)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "x"}])
async def test_what_changes_or_is_private_needs_the_token(served, operation, header):
    answer = await served.stranger.request(operation.method, operation.path, headers=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["exit"] == 7
    assert "run/token" in answer.json()["error"]["remedy"]
    assert served.node.asked == []


def test_only_reading_is_open():
    assert {each.method for each in OPERATIONS if each.open} == {"GET"}
    open_names = {each.name for each in OPERATIONS if each.open}
    assert open_names == {"id", "status", "search", "info", "repos", "files"}


async def test_public_reads_on_loopback_need_nothing(served):
    assert (await served.stranger.get(f"{V1}/search")).status_code == 200


async def test_anywhere_but_on_loopback_every_call_needs_the_token(tmp_path):
    async with serving(tmp_path, listen="0.0.0.0:0") as served:
        for path in (f"{V1}/search", "/healthz", "/control/openapi.json", "/nothing"):
            assert (await served.stranger.get(path)).status_code == 401
        assert (await served.client.get(f"{V1}/search")).status_code == 200


async def test_the_token_of_node_toml_opens_too(tmp_path):
    token = "chosen-by-the-owner"
    async with serving(tmp_path, environ={"P2PHUB_GATEWAY_TOKEN": token}) as served:
        header = {"Authorization": f"Bearer {token}"}
        assert (await served.stranger.get(f"{V1}/peers", headers=header)).status_code == 200
        assert (await served.client.get(f"{V1}/peers")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1", "a b", "[::"])
async def test_a_rebound_name_is_refused(served, host):
    answer = await served.client.get(f"{V1}/search", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert served.node.asked == []


async def test_our_own_names_are_answered(served):
    port = served.gateway.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        answer = await served.stranger.get(f"{V1}/search", headers={"Host": host})
        assert answer.status_code == 200, host


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "http://127.0.0.1"])
async def test_a_page_from_elsewhere_is_refused(served, origin):
    answer = await served.client.get(f"{V1}/search", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert served.node.asked == []


async def test_our_own_page_is_answered(served):
    answer = await served.client.get(f"{V1}/search", headers={"Origin": served.gateway.url})
    assert answer.status_code == 200


async def test_a_preflight_gets_no_permission(served):
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await served.stranger.request("OPTIONS", f"{V1}/pull", headers=asks)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_too_many_requests_at_once_are_told_to_come_again(served, monkeypatch):
    monkeypatch.setattr(guard, "MAX_REQUESTS", 1)
    served.node.hold = trio.Event()
    async with posting(served, "pull", {"reference": "lab/minilm"}) as lines:
        await lines.next()
        assert (await served.client.get(f"{V1}/search")).status_code == 429
    await served.node.cancelled.wait()


async def test_models_leave_places_for_everything_else(served, monkeypatch):
    monkeypatch.setattr(guard, "MAX_REQUESTS", 2)
    monkeypatch.setattr(guard, "RESERVED", 1)
    engine = served.node.inference.text
    engine.hold = trio.Event()
    ask = {"messages": [{"role": "user", "content": "hello"}]}
    async with posted(served, "/v1/chat/completions", ask):
        await until(lambda: engine.under_way == 1)
        refused = await served.stranger.post("/v1/chat/completions", json=ask)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await served.stranger.get("/healthz")).status_code == 200
        engine.hold.set()


async def test_a_body_that_claims_too_much_is_refused_unread(served):
    async with connected(served) as lines:
        await lines.begin(served, "rm", {"Content-Length": str(10**12)})
        assert await lines.status() == 413


@pytest.mark.parametrize("size", [1000, 20 << 20])
async def test_a_refusal_reaches_a_client_that_reads_nothing_before_it_has_sent_all(served, size):
    """In pieces, of which the node has not read the last ones when it refuses the first."""
    async with connected(served) as lines:
        await lines.begin(served, "rm", {"Content-Length": str(size), "Authorization": "Bearer x"})
        for _ in range(10):
            await trio.sleep(0.01)
            await lines.send(h11.Data(data=b" " * (size // 10)))
        assert await lines.status() in (401, 413)


async def flood(lines):
    while True:
        await lines.send(h11.Data(data=b" " * 100_000))
        await trio.sleep(0.001)


async def test_a_client_that_was_refused_and_sends_on_for_ever_is_left(served, monkeypatch):
    monkeypatch.setattr(server, "LINGER", 0.2)
    async with connected(served) as lines:
        await lines.begin(served, "rm", {"Transfer-Encoding": "chunked", "Host": "evil.example"})
        with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
            await flood(lines)
    assert (await served.client.get(f"{V1}/status")).status_code == 200


class TestALargeList:
    """A list of whom to trust is larger than other requests."""

    LIST = "/control/v1/trust/import"

    async def test_is_taken_whole(self, served):
        text = '"' * MAX_TRUST_LIST
        answer = await served.client.post(self.LIST, json={"text": text})
        assert answer.status_code == 200
        assert served.node.asked == [(text, False)]

    async def test_of_a_stranger_is_refused_before_it_is_read(self, served):
        async with connected(served) as lines:
            headers = {"Content-Length": str(2 * MAX_BODY), "Authorization": "Bearer wrong"}
            await lines.begin(served, "trust/import", headers)
            assert await lines.status() == 401

    async def test_is_as_long_as_it_may_be(self, served):
        text = "x" * (LARGER_BODIES[self.LIST] - len(b'{"text": ""}'))
        body = f'{{"text": "{text}"}}'.encode()
        headers = {"Content-Type": "application/json"}
        answer = await served.client.post(self.LIST, content=body, headers=headers)
        assert answer.status_code == 200
        assert served.node.asked == [(text, False)]

    async def test_has_an_end_too(self, served):
        most = LARGER_BODIES[self.LIST]
        for size in (most + 1, 10**12):
            async with connected(served) as lines:
                await lines.begin(served, "trust/import", {"Content-Length": str(size)})
                assert await lines.status() == 413
        assert served.node.asked == []


async def test_a_chunked_body_is_counted_as_it_comes(served):
    async with connected(served) as lines:
        await lines.begin(served, "rm", {"Transfer-Encoding": "chunked"})
        for _ in range(33):
            await lines.send(h11.Data(data=b" " * (MAX_BODY // 32)))
        assert await lines.status() == 413
    assert served.node.asked == []
    assert (await served.client.get(f"{V1}/status")).status_code == 200


@pytest.mark.parametrize(
    ("listen", "host", "ours"),
    [
        (Endpoint("127.0.0.1", 80), "127.0.0.1", True),
        (Endpoint("127.0.0.1", 80), "localhost:80", True),
        (Endpoint("127.0.0.1", 80), "mirror:80", False),
        (Endpoint("127.0.0.9", 80), "127.0.0.9:80", True),
        (Endpoint("0.0.0.0", 80), "192.0.2.7:80", True),
        (Endpoint("0.0.0.0", 80), "mirror:80", True),
        (Endpoint("0.0.0.0", 80), "mirror.local:80", True),
        (Endpoint("0.0.0.0", 80), "evil.example:80", False),
        (Endpoint("0.0.0.0", 80), "192.0.2.7:81", False),
        (Endpoint("::", 80), "[2001:db8::1]:80", True),
    ],
)
def test_which_names_are_ours(listen, host, ours):
    gate = Gate(listen, ("t" * 32,), "Mirror")
    if ours:
        gate.check_host(Headers({"host": host}))
    else:
        with pytest.raises(Exception, match="does not answer"):
            gate.check_host(Headers({"host": host}))


@pytest.mark.parametrize(
    "shown", ["Bearer", "Bearer ", "Basic tttt", "Bearer é", "tttt", "Bearer t"]
)
def test_a_strange_authorization_header_opens_nothing(shown):
    gate = Gate(Endpoint("127.0.0.1", 80), ("t" * 32,))
    with pytest.raises(HttpError):
        gate.check_token(Headers({"authorization": shown}), "read")
