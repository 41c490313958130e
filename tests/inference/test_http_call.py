"""One request to a server that may be anything: one that breaks off, dawdles, or is none."""

import socket
from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.errors import EngineError, GarbageError, TooSlowError, UsageError
from p2phub.inference import http_call as module
from p2phub.inference.http_call import CHUNK, http_call

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


@asynccontextmanager
async def server(answer, *, hold=False):
    """A socket that answers everybody with the same bytes; `hold`: and stays open."""
    asked = []

    async def serve(stream):
        async with stream:
            asked.append(await stream.receive_some())
            await stream.send_all(answer)
            if hold:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port = listener.socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/x?y=1", asked
        nursery.cancel_scope.cancel()


async def test_the_request_and_the_answer_are_whole():
    token = {"authorization": "T"}
    async with (
        server(HEAD + b"hello") as (url, asked),
        http_call("POST", url, body=b"{}", headers=token) as answer,
    ):
        assert (answer.status, answer.headers["content-length"]) == (200, "5")
        assert await answer.whole(5) == b"hello"
        assert await answer.part() == b""
    (sent,) = asked
    assert sent.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert b"content-length: 2\r\n" in sent.lower()
    assert sent.endswith(b"\r\n\r\n{}")


async def test_an_answer_without_length_or_in_chunks_ends_where_it_ends():
    chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    for answer in (b"HTTP/1.1 200 OK\r\n\r\nab", chunks):
        async with server(answer) as (url, _), http_call("GET", url) as got:
            assert await got.whole(2) == b"ab"


async def test_what_comes_before_the_answer_is_passed_over():
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with server(early + HEAD + b"hello") as (url, _), http_call("GET", url) as answer:
        assert await answer.whole(5) == b"hello"


async def test_a_byte_more_than_allowed_is_refused():
    async with server(HEAD + b"hello") as (url, _), http_call("GET", url) as answer:
        with pytest.raises(GarbageError, match="more than 4"):
            await answer.whole(4)


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2 * CHUNK],
)
async def test_what_is_no_http_is_an_error(answer):
    async with server(answer) as (url, _):
        with pytest.raises(EngineError):
            async with http_call("GET", url):
                pytest.fail("there is no answer")


async def test_a_body_that_breaks_off_is_an_error_and_not_a_short_body():
    async with server(HEAD + b"hel") as (url, _), http_call("GET", url) as answer:
        with pytest.raises(EngineError, match="broke off"):
            await answer.whole(5)


async def test_a_server_that_falls_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "READ_PATIENCE", 0.05)
    async with server(HEAD + b"hel", hold=True) as (url, _), http_call("GET", url) as answer:
        with pytest.raises(TooSlowError, match="sent nothing"):
            await answer.whole(5)


async def test_a_server_without_tls_where_tls_was_meant_is_an_error():
    async with server(b"HTTP/1.1 400 Bad\r\n\r\n") as (url, _):
        with pytest.raises(EngineError):
            async with http_call("GET", url.replace("http:", "https:")):
                pytest.fail("there is no answer")


@pytest.mark.parametrize("url", ["", "x", "ftp://host/x", "http://", "//host", "http:///x"])
async def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError):
        async with http_call("GET", url):
            pytest.fail("there is no answer")


async def test_who_leaves_closes_the_connection():
    gone = trio.Event()

    async def serve(stream):
        await stream.receive_some()
        await stream.send_all(HEAD)
        assert await stream.receive_some() == b""
        gone.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port = listener.socket.getsockname()[1]
        async with http_call("GET", f"http://127.0.0.1:{port}/"):
            pass
        with trio.fail_after(5):
            await gone.wait()
        nursery.cancel_scope.cancel()


async def test_a_port_that_nobody_listens_on_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match="does not answer"):
        async with http_call("GET", f"http://127.0.0.1:{port}/"):
            pytest.fail("there is no answer")
