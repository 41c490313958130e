"""HTTP heads on both ends: one byte at a time equals whole, and garbage is `GarbageError`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import GarbageError, NotFoundError
from p2phub.network.http_head import HeadReader, RequestReader, request_bytes
from p2phub.network.limits import MAX_HTTP_HEAD
from p2phub.protocol.ask import Head
from p2phub.protocol.serve import Answer, Request, refusal

REQUEST = Request("GET", "/v1/files/x", (("range", "bytes=0-9"), ("authorization", "Bearer 00")))
ANSWER = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nX: y\r\n\r\n"
HEAD = Head(206, (("content-length", "5"), ("x", "y")))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_request_arrives_however_it_is_cut(step):
    reader, data = RequestReader(), request_bytes(REQUEST)
    for start in range(0, len(data), step):
        assert reader.next() is None
        reader.receive(data[start : start + step])
    arrived = reader.next()
    assert (arrived.method, arrived.target) == ("GET", "/v1/files/x")
    assert arrived.header("range") == "bytes=0-9"
    assert arrived.header("authorization") == "Bearer 00"


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_answer_arrives_however_it_is_cut(step):
    reader, data = HeadReader(), ANSWER + b"hello"
    found, at = None, 0
    while found is None:
        found = reader.feed(data[at : at + step])
        at += step
    assert found == HEAD
    assert reader.rest + data[at:] == b"hello"


def test_the_two_ends_understand_each_other_request_after_request():
    server = RequestReader()
    for answer in (Answer(200, (("Content-Length", "2"),), b"hi"), refusal(NotFoundError("no"))):
        server.receive(request_bytes(REQUEST))
        assert server.next() is not None
        client = HeadReader()
        assert client.feed(server.head(answer) + answer.body).status == answer.status
        assert client.rest == answer.body
        server.sent(len(answer.body))
        assert server.finish()


def test_a_peer_that_closes_between_requests_is_done():
    reader = RequestReader()
    reader.receive(b"")
    assert reader.next() is None
    assert reader.ended


def test_a_peer_that_closes_in_a_request_is_garbage():
    reader = RequestReader()
    reader.receive(b"GET / HT")
    assert reader.next() is None
    reader.receive(b"")
    with pytest.raises(GarbageError):
        reader.next()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HTTP_HEAD,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HTTP_HEAD + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_none_is_garbage_as_soon_as_that_is_clear(data):
    with pytest.raises(GarbageError):
        HeadReader().feed(data)


def test_garbage_is_recognised_by_its_first_byte():
    with pytest.raises(GarbageError):
        HeadReader().feed(b"\x16")


def test_a_head_just_within_the_limit_passes_and_one_beyond_does_not():
    for extra, passes in ((0, True), (1, False)):
        reader, start = RequestReader(), b"GET / HTTP/1.1\r\nHost: h\r\nX: "
        filler = MAX_HTTP_HEAD - len("/" + "Host" + "h" + "X") + extra
        reader.receive(start + b"x" * filler + b"\r\n\r\n")
        if passes:
            assert reader.next() is not None
        else:
            with pytest.raises(GarbageError, match="head of more than"):
                reader.next()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_garbage(data):
    reader, garbage = RequestReader(), None
    try:
        reader.receive(data)
        reader.receive(b"")
        assert isinstance(reader.next(), Request | None)
    except GarbageError as error:
        garbage = error
    if garbage is not None:
        assert reader.head(refusal(garbage, status=400)).startswith(b"HTTP/1.1 400")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_garbage(data):
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        reader = HeadReader()
        try:
            found = reader.feed(start + data)
        except GarbageError:
            found = None
        assert found is None or 200 <= found.status <= 999
