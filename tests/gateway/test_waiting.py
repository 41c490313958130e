"""A client that gives up soon is told that its answer will come, until it does."""

import contextlib
import http.client

import h11
import pytest
import trio

from p2phub.errors import NoSourceError
from p2phub.gateway import waiting
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

PATH = "/lab/minilm/resolve/main/a.bin"
AGENT = "unknown/None; hf_hub/2.4.0; python/3.11.7"


@pytest.fixture
async def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "EVERY", 0.05)
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"a.bin": b"x" * 9})
    node.hub.pause = 0.4
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


def address(hub):
    host, _, port = hub.gateway.url.removeprefix("http://").partition(":")
    return host, int(port)


async def heard(hub, agent=AGENT, version="1.1"):
    """Every status that comes for one request, and the body."""
    said, body = [], b""
    host, port = address(hub)
    async with await trio.open_tcp_stream(host, port) as stream:
        asked = f"GET {PATH} HTTP/{version}\r\nHost: {host}:{port}\r\nUser-Agent: {agent}\r\n\r\n"
        await stream.send_all(asked.encode())
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target=PATH, headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                client.receive_data(await stream.receive_some())
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                said.append(event.status_code)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return said, body


async def test_who_gives_up_soon_is_told_to_wait(hub):
    said, body = await heard(hub)
    assert set(said[:-1]) == {100}
    assert (said[-1], body) == (200, b"x" * 9)
    assert len(said) > 3


async def test_an_answer_that_has_begun_is_not_interrupted(hub):
    hub.hub.pieces = [b"xxx", b"xxx", b"xxx"]
    said, body = await heard(hub)
    assert said[said.index(200) :] == [200]
    assert body == b"x" * 9


async def test_what_fails_then_is_an_error_and_no_broken_body(hub):
    hub.hub.pieces = [NoSourceError("nobody has it")]
    said, body = await heard(hub)
    assert (said[0], said[-1]) == (100, 503)
    assert b"nobody has it" in body


@pytest.mark.parametrize(("agent", "version"), [("node", "1.1"), ("curl/8", "1.1"), (AGENT, "1.0")])
async def test_others_are_told_nothing(hub, agent, version):
    said, body = await heard(hub, agent, version)
    assert (said, body) == ([200], b"x" * 9)


async def test_python_s_own_client_waits(hub):
    def ask():
        client = http.client.HTTPConnection(*address(hub), timeout=0.25)
        client.request("GET", PATH, headers={"User-Agent": AGENT})
        with contextlib.closing(client), client.getresponse() as answer:
            return answer.status, answer.read()

    assert await trio.to_thread.run_sync(ask) == (200, b"x" * 9)
