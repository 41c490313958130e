"""A real gateway on a loopback socket in front of a fake node, and a client for it."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11
import httpx
import pytest
import trio

from p2phub import config
from p2phub.gateway.server import Gateway, open_gateway
from p2phub.testing.nodes import FakeNode


@dataclass
class Served:
    node: FakeNode
    gateway: Gateway
    client: httpx.AsyncClient
    """Shows the token."""
    stranger: httpx.AsyncClient
    """Shows none."""
    bugs: list[Exception]


@asynccontextmanager
async def serving(home, node=None, listen="127.0.0.1:0", environ=(), limits=None):
    """A gateway for the length of the block. Any bug it met is raised at the end."""
    node = node or FakeNode()
    settings = config.load("", {"P2PHUB_GATEWAY_LISTEN": listen, **dict(environ)})
    bugs: list[Exception] = []
    async with open_gateway(node, settings, home, on_bug=bugs.append, limits=limits) as gateway:
        token = {"Authorization": f"Bearer {gateway.token}"}
        async with (
            httpx.AsyncClient(base_url=gateway.url, headers=token, trust_env=False) as client,
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as stranger,
        ):
            yield Served(node, gateway, client, stranger, bugs)
    if bugs:
        raise bugs[0]


@pytest.fixture
async def served(tmp_path):
    async with serving(tmp_path) as served:
        yield served


class Lines:
    """A streamed answer read line by line from a bare socket, so that it can be left half-way."""

    def __init__(self, socket):
        self._socket = socket
        self._http = h11.Connection(h11.CLIENT)
        self._text = b""

    async def begin(self, served, name, length):
        headers = {
            "Host": served.gateway.url.removeprefix("http://"),
            "Authorization": f"Bearer {served.gateway.token}",
        } | length
        target = f"/control/v1/{name}"
        await self.send(h11.Request(method="POST", target=target, headers=list(headers.items())))

    async def ask(self, served, name, body):
        content = json.dumps(body).encode()
        await self.begin(served, name, {"Content-Length": str(len(content))})
        await self.send(h11.Data(data=content))
        await self.send(h11.EndOfMessage())

    async def send(self, event):
        await self._socket.send_all(self._http.send(event))

    async def close(self):
        await self._socket.aclose()

    async def receive(self):
        """The next bytes as they come, framing included."""
        return await self._socket.receive_some()

    async def status(self):
        """The status code of the answer."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._socket.receive_some())
        return event.status_code

    async def next(self):
        """The next line, None at the end."""
        while b"\n" not in self._text:
            match self._http.next_event():
                case h11.NEED_DATA:
                    self._http.receive_data(await self._socket.receive_some())
                case h11.Data(data=data):
                    self._text += bytes(data)
                case h11.EndOfMessage():
                    return None
        first, _, self._text = self._text.partition(b"\n")
        return json.loads(first)


@asynccontextmanager
async def connected(served):
    host, _, port = served.gateway.url.removeprefix("http://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as socket:
        yield Lines(socket)


@asynccontextmanager
async def posting(served, name, body):
    async with connected(served) as lines:
        await lines.ask(served, name, body)
        yield lines
