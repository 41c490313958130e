"""Heads of ordinary web servers: the right ones pass, each wrong one has its error."""

import pytest

from p2phub.errors import GarbageError, NotFoundError, RemoteError
from p2phub.protocol.ask import Head
from p2phub.protocol.web_answer import (
    LATER,
    BusyError,
    MovedError,
    check_document,
    check_range,
    check_status,
    retry_after,
)

NOW = 1_700_000_000.0
RIGHT = {"content-range": "bytes 2-4/9", "content-length": "3"}


def head(status, **headers):
    return Head(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def part(**changes):
    return Head(206, tuple((RIGHT | {k.replace("_", "-"): v for k, v in changes.items()}).items()))


@pytest.mark.parametrize(
    "good",
    [
        part(),
        part(content_range="bytes 2-4/*"),
        Head(206, (("content-range", "bytes 2-4/9"),)),
    ],
)
def test_the_range_that_was_asked_for(good):
    check_range(good, "m", 2, 5, 9)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (part(content_range="bytes 1-3/9"), GarbageError),
        (part(content_range="bytes 2-5/9"), GarbageError),
        (part(content_range="bytes 2-3/9"), GarbageError),
        (part(content_range="bytes=2-4/9"), GarbageError),
        (part(content_range="bytes 2-99999999999999999999/9"), GarbageError),
        (part(content_range="items 2-4/9"), GarbageError),
        (part(content_range="bytes */9"), GarbageError),
        (part(content_range="bytes 2-4/10"), NotFoundError),
        (part(content_length="4"), GarbageError),
        (part(content_length="-3"), GarbageError),
        (Head(206, ()), GarbageError),
        (Head(206, (("content-range", "bytes 2-4/9"),) * 2), GarbageError),
        (head(200, content_length="9"), NotFoundError),
    ],
)
def test_any_other_range(wrong, error):
    with pytest.raises(error):
        check_range(wrong, "m", 2, 5, 9)


def test_the_whole_file_is_fine_for_its_beginning():
    check_range(head(200, content_length="9"), "m", 0, 5, 9)
    check_range(head(200), "m", 0, 5, 9)
    with pytest.raises(NotFoundError, match="10 bytes there instead of 9"):
        check_range(head(200, content_length="10"), "m", 0, 5, 9)


def test_documents():
    check_document(head(200, content_length="9"), "m", 9)
    check_document(head(200), "m", 9)
    for wrong in (head(206), head(200, content_length="10"), head(200, content_length="x")):
        with pytest.raises(GarbageError):
            check_document(wrong, "m", 9)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, NotFoundError),
        (403, NotFoundError),
        (404, NotFoundError),
        (410, NotFoundError),
        (416, NotFoundError),
        (451, NotFoundError),
        (500, RemoteError),
        (503, RemoteError),
        (400, GarbageError),
        (204, GarbageError),
        (304, GarbageError),
        (302, GarbageError),
    ],
)
def test_statuses(status, error):
    with pytest.raises(error) as caught:
        check_status(head(status), "m", now=NOW)
    assert not isinstance(caught.value, BusyError | MovedError)


def test_good_statuses():
    check_status(head(200, content_encoding="identity"), "m", now=NOW)
    check_status(head(206), "m", now=NOW)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_an_encoding_that_nobody_asked_for(encoding):
    with pytest.raises(GarbageError, match="encoding"):
        check_status(head(206, content_encoding=encoding), "m", now=NOW)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_say_where(status):
    with pytest.raises(MovedError) as caught:
        check_status(head(status, location="/x?signed"), "m", now=NOW)
    assert caught.value.location == "/x?signed"
    assert "signed" not in caught.value.message


def test_a_redirect_that_knows_the_size():
    moved = head(302, location="/x", x_linked_size="10")
    with pytest.raises(MovedError):
        check_status(moved, "m", now=NOW, size=10)
    with pytest.raises(MovedError):
        check_status(moved, "m", now=NOW)
    with pytest.raises(NotFoundError):
        check_status(moved, "m", now=NOW, size=9)


@pytest.mark.parametrize(("status", "after"), [(429, "7"), (503, "7"), (429, None)])
def test_come_back_later(status, after):
    headers = {"retry_after": after} if after else {}
    with pytest.raises(BusyError) as caught:
        check_status(head(status, **headers), "m", now=NOW)
    assert caught.value.seconds == (7 if after else LATER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 5 ", 5),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10),
        ("soon", LATER),
        ("-5", LATER),
        ("1e9", LATER),
        ("Tue, 99 Nov 2023 99:13:30 GMT", LATER),
        ("9" * 400, LATER),
    ],
)
def test_how_much_later(text, seconds):
    assert retry_after(text, NOW) == seconds
