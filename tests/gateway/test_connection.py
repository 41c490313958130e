"""Sockets of clients that have left, over real connections."""

import json
import os
import socket

import h11
import pytest
import trio

from p2phub.gateway import connection

from .bare import CHAT, posted, text_until, until
from .conftest import connected

ASK = {"messages": [{"role": "user", "content": "hello"}], "stream": True}


FEW = 2
"""Files that the gateway opens for itself meanwhile."""


def open_files():
    return len(os.listdir("/proc/self/fd"))


async def get(served, lines):
    host = served.gateway.url.removeprefix("http://")
    await lines.send(h11.Request(method="GET", target="/healthz", headers=[("Host", host)]))
    await lines.send(h11.EndOfMessage())
    assert b" 200 " in await text_until(lines, b'{"ok":true}')


async def test_a_client_that_left_after_its_answer_keeps_no_socket_open(served):
    before = open_files()
    for _ in range(20):
        async with connected(served) as lines:
            await get(served, lines)
    await until(lambda: open_files() <= before + FEW)


async def test_a_client_that_never_asked_keeps_none_either(served):
    before = open_files()
    for _ in range(20):
        async with connected(served):
            pass
    await until(lambda: open_files() <= before + FEW)


@pytest.mark.parametrize("answered", [False, True])
async def test_a_client_that_left_in_the_middle_of_an_answer_keeps_none(served, answered):
    engine = served.node.inference.text
    before = open_files()
    for _ in range(5):
        engine.hold = trio.Event()
        async with posted(served, CHAT, ASK):
            await until(lambda: engine.under_way == 1)
            if answered:
                engine.hold.set()
        await until(lambda: engine.under_way == 0)
    await until(lambda: open_files() <= before + FEW)


async def test_a_client_that_stays_is_answered_again_and_again(served):
    host = served.gateway.url.removeprefix("http://")
    request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    name, _, port = host.partition(":")
    async with await trio.open_tcp_stream(name, int(port)) as socket:
        for _ in range(3):
            await socket.send_all(request)
            text = b""
            while not text.endswith(b'{"ok":true}'):
                text += await socket.receive_some()
            assert text.startswith(b"HTTP/1.1 200")


async def unread(served):
    """A client that asks for a stream, and reads nothing of it."""
    made = trio.socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = served.gateway.url.removeprefix("http://").partition(":")
    await made.connect((host, int(port)))
    body = json.dumps(ASK).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    await made.send(head.encode() + body)
    return made


async def test_a_client_that_reads_nothing_of_its_stream_keeps_no_slot(served, monkeypatch):
    monkeypatch.setattr(connection, "SEND_PATIENCE", 0.5)
    engine = served.node.inference.text
    engine.script = ("a long word " * 1000,) * 10_000
    client = await unread(served)
    try:
        await until(lambda: engine.under_way == 1)
        started = trio.current_time()
        with trio.fail_after(20):
            await engine.gave_up.wait()
        assert trio.current_time() - started >= 0.4
        assert served.node.inference.inside == 0
        assert (await served.stranger.get("/healthz")).status_code == 200
    finally:
        client.close()


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(served, monkeypatch):
    monkeypatch.setattr(connection, "SEND_PATIENCE", 1.0)
    engine = served.node.inference.text
    engine.script = ("a long word " * 1000,) * 400
    client, size = await unread(served), 0
    with client, trio.fail_after(60):
        while part := await client.recv(1 << 16):
            size += len(part)
            await trio.sleep(0.002)
            if part.endswith(b"[DONE]\n\n\r\n0\r\n\r\n"):
                break
    assert size > 400 * 12_000
