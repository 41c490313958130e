"""Any bytes at all on the data port: an answer within what is held, a refusal, or the end.

The two ends of the data protocol are joined without a socket: bytes in, bytes out.
"""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import GarbageError, NotFoundError, RemoteError, WrongBytesError
from p2phub.formats.digest import hexadecimal, sha256
from p2phub.formats.limits import MIB
from p2phub.network.http_head import HeadReader, RequestReader, request_bytes
from p2phub.protocol.ask import (
    document_length,
    file_length,
    file_request,
    holding_of,
    holding_request,
)
from p2phub.protocol.serve import FileRange, Request, answer, refusal
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.samples import make_sample

WHOLE = make_sample(3 * MIB, seed="whole", piece=MIB)
PARTIAL = make_sample(4 * MIB, seed="partial", piece=MIB)
SECRET = make_sample(100, seed="secret")
RANGES = ((0, MIB), (2 * MIB, 3 * MIB))
PAGE = b"a page"
PATHS = [
    f"/v1/files/{WHOLE.content}",
    f"/v1/files/{PARTIAL.content}",
    f"/v1/files/{SECRET.content}",
    f"/v1/sha256/{hexadecimal(sha256(SECRET.data))}",
    f"/v1/documents/{hexadecimal(sha256(PAGE))}",
    "/v1/files/",
    "/",
]
OFFSETS = st.integers(-1, 5 * MIB) | st.sampled_from([MIB - 1, MIB, 2 * MIB, 3 * MIB - 1, 1 << 70])


def library():
    library = MemoryLibrary()
    library.add(WHOLE)
    library.add(PARTIAL, ranges=RANGES)
    library.add(SECRET, private_to=["friend"], hashed_whole=True)
    library.documents[sha256(PAGE)] = PAGE
    return library


def talk(shelf, data):
    """What the server makes of these bytes: request and answer, again and again, until garbage."""
    reader, exchanges, garbage = RequestReader(), [], None
    try:
        reader.receive(data)
        reader.receive(b"")
        while (request := reader.next()) is not None:
            found = answer(request, shelf, None)
            exchanges.append((request, found, reader.head(found)))
            found.close()
            reader.sent(int(found.header("content-length") or 0) if found.body else 0)
            if not reader.finish():
                break
    except GarbageError as error:
        garbage = error
    if garbage is not None:
        assert reader.head(refusal(garbage, status=400)).startswith(b"HTTP/1.1 400")
    return exchanges


def check(exchanges):
    """Nothing is offered that is not held, and nothing to a stranger that is private."""
    for request, found, head in exchanges:
        assert HeadReader().feed(head).status == found.status
        if isinstance(found.body, FileRange):
            where = (found.body.start, found.body.stop)
            assert str(SECRET.content) not in request.target
            if str(PARTIAL.content) in request.target:
                assert any(start <= where[0] and where[1] <= stop for start, stop in RANGES)
        else:
            assert found.body in (b"", PAGE)
        assert found.header("p2phub-content") != str(SECRET.content)


def asked(path, method, first, last, more):
    headers = (("Range", f"bytes={first}-{last}"), *more)
    return request_bytes(Request(method, path, headers))


REQUESTS = st.builds(
    asked,
    st.sampled_from(PATHS),
    st.sampled_from(["GET", "HEAD", "PUT"]),
    OFFSETS,
    OFFSETS | st.just(""),
    st.lists(st.sampled_from([("Range", "bytes=0-0"), ("Connection", "close")]), max_size=2),
)


@given(st.lists(REQUESTS, max_size=4))
def test_any_requests_in_a_row(requests):
    shelf = library()
    check(talk(shelf, b"".join(requests)))
    assert shelf.open_now == 0


@given(REQUESTS, st.integers(0, 400), st.binary(min_size=1, max_size=6), st.booleans())
def test_a_request_with_bytes_changed_or_put_in(request, at, data, put_in):
    shelf = library()
    at = min(at, len(request))
    rest = request[at:] if put_in else request[at + len(data) :]
    check(talk(shelf, request[:at] + data + rest))
    assert shelf.open_now == 0


@given(st.binary(max_size=400))
def test_any_bytes(data):
    check(talk(library(), data))


HEADERS = st.sampled_from(
    ["content-length", "content-range", "p2phub-have", "p2phub-error", "transfer-encoding"]
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30) | st.sampled_from(
    ["10", "0", "1000000000", "bytes 5-14/3145728", "bytes=0-9", "1; gone", "99; what", "chunked"]
)


@given(st.sampled_from([200, 206, 404, 416, 500]), st.lists(st.tuples(HEADERS, VALUES), max_size=5))
def test_any_answer_is_believed_for_what_was_asked_or_not_at_all(status, headers):
    lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers), "", ""]
    try:
        head = HeadReader().feed("\r\n".join(lines).encode())
    except GarbageError:
        return
    for length_of in (
        lambda: file_length(head, "bob", 5, 15),
        lambda: document_length(head, "bob", 10),
    ):
        with suppress(RemoteError, NotFoundError, WrongBytesError):
            assert length_of() in range(11)


@given(OFFSETS, OFFSETS)
def test_both_ends_agree_on_every_range(first, last):
    start, stop = sorted((max(first, 0), max(last, 0)))
    request = file_request(WHOLE.content, start, stop + 1, ticket=b"")
    stop += 1
    ((_, _, head),) = talk(library(), request_bytes(request))
    parsed = HeadReader().feed(head)
    if stop <= WHOLE.content.size:
        assert file_length(parsed, "bob", start, stop) == stop - start
        return
    with pytest.raises((RemoteError, NotFoundError)):  # never believed beyond the end of a file
        file_length(parsed, "bob", start, stop)


def test_both_ends_agree_on_what_is_held():
    ((_, _, head),) = talk(library(), request_bytes(holding_request(PARTIAL.content, ticket=b"")))
    assert holding_of(HeadReader().feed(head), "bob", PARTIAL.content).ranges == RANGES
