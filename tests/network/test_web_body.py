"""Bodies of HTTP answers as they come off the wire, in every cut."""

import pytest

from p2phub.errors import GarbageError
from p2phub.network.web_body import Body
from p2phub.protocol.ask import Head

CHUNKED = Head(200, (("transfer-encoding", "Chunked"),))
WIRE = b"5\r\nhello\r\nA ; x=1\r\n, you ther\r\n1\r\ne\r\n0\r\nDigest: x\r\n\r\n"


def body_of(head, *parts):
    """A body of which the first part came with the head."""
    waiting = list(parts[1:])

    def read(view):
        if not waiting:
            return 0
        data = waiting[0][: len(view)]
        waiting[0] = waiting[0][len(data) :]
        if not waiting[0]:
            waiting.pop(0)
        view[: len(data)] = data
        return len(data)

    return Body(head, parts[0], read)


def all_of(body, at_once=7):
    found, buffer = b"", memoryview(bytearray(at_once))
    while count := body.read_into(buffer):
        found += buffer[:count]
    return found


@pytest.mark.parametrize("cut", range(len(WIRE)))
def test_chunks_however_they_are_cut(cut):
    body = body_of(CHUNKED, WIRE[:cut], WIRE[cut:])
    assert all_of(body) == b"hello, you there"
    assert body.is_over


def test_chunks_byte_by_byte():
    body = body_of(CHUNKED, b"", *(WIRE[at : at + 1] for at in range(len(WIRE))))
    assert all_of(body) == b"hello, you there"


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\r\n",
        b"5\r\nhello",
        b"fffffffffffffff\r\n",
        b"5" + b" " * 5000,
        b"0\r\n" + b"X: y\r\n" * 5000,
        b"0\r\nX: y",
    ],
)
def test_what_is_no_chunk_is_garbage(wire):
    with pytest.raises(GarbageError):
        all_of(body_of(CHUNKED, b"", wire))


def test_a_chunk_that_breaks_off_is_not_over():
    body = body_of(CHUNKED, b"", b"9\r\nhel")
    buffer = memoryview(bytearray(10))
    assert body.read_into(buffer) == 3
    assert body.read_into(buffer) == 0
    assert not body.is_over


def test_a_body_with_a_length_ends_there_and_says_when_more_came():
    body = body_of(Head(200, (("content-length", "3"),)), b"abcd")
    assert all_of(body) == b"abc"
    assert not body.is_over
    exact = body_of(Head(200, (("content-length", "3"),)), b"ab", b"c")
    assert all_of(exact) == b"abc"
    assert exact.is_over


def test_a_body_without_a_length_ends_with_the_connection_and_is_never_over():
    body = body_of(Head(200, ()), b"ab", b"cd")
    assert all_of(body) == b"abcd"
    assert not body.is_over


def test_what_came_with_the_head_of_an_answer_nobody_wants_is_left_out():
    body = body_of(Head(302, (("content-length", "4"),)), b"gone")
    body.drop_what_came()
    assert body.is_over
    longer = body_of(Head(302, (("content-length", "5"),)), b"gone")
    longer.drop_what_came()
    assert not longer.is_over


def test_an_encoding_nobody_knows_is_garbage():
    with pytest.raises(GarbageError):
        body_of(Head(200, (("transfer-encoding", "gzip, chunked"),)), b"")
