"""Requests to models over bare sockets, which can be left half-way."""

import json
from contextlib import asynccontextmanager

import h11
import trio

from .conftest import Lines

CHAT = "/v1/chat/completions"


async def post(lines, served, path, body, headers=()):
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    fields = {"Host": served.gateway.url.removeprefix("http://"), **dict(headers)}
    if "Transfer-Encoding" not in fields:
        fields.setdefault("Content-Length", str(len(content)))
    await lines.send(h11.Request(method="POST", target=path, headers=list(fields.items())))
    if content:
        await lines.send(h11.Data(data=content))


@asynccontextmanager
async def posted(served, path, body, headers=()):
    """A request on a socket of its own, which closes with the block."""
    host, _, port = served.gateway.url.removeprefix("http://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as socket:
        lines = Lines(socket)
        await post(lines, served, path, body, headers)
        yield lines


async def text_until(lines, end):
    """What is answered, up to some text in it; all of it if that is empty."""
    text = b""
    while not end or end not in text:
        part = await lines.receive()
        if not part:
            break
        text += part
    return text


async def until(fulfilled):
    """Wait for a condition that no event tells of, for two seconds at most."""
    with trio.fail_after(2):
        while not fulfilled():  # noqa: ASYNC110 - the fake tells nobody of its counts
            await trio.sleep(0.001)
