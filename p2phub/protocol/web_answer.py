"""What the answer of an ordinary web server means, before a byte of its body is read.

The counterpart of `p2phub.protocol.ask` for servers that know nothing of p2phub.

Rules it keeps:
 * bytes are taken only as what they were asked for: another range, another total length, an
   encoding or several parts in one answer are refused;
 * an answer with the whole file is fine for whoever asked for its beginning, and for nobody else;
 * "come back later" is an answer (`BusyError`), and so is "it is elsewhere" (`MovedError`); who
   obeys them, and how often, is decided by `network/web_source.py`.

>>> head = Head(206, (("content-range", "bytes 2-4/9"), ("content-length", "3")))
>>> check_range(head, "mirror", 2, 5, 9)
>>> check_range(head, "mirror", 2, 5, 10)
Traceback (most recent call last):
...
p2phub.errors.NotFoundError: mirror has a file of 9 bytes there instead of 10
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from p2phub.errors import GarbageError, NotFoundError, RemoteError
from p2phub.protocol.ask import Head

_RANGE = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
_MOVED: Final = (301, 302, 303, 307, 308)
_LACKS: Final = (401, 403, 404, 410, 416, 451)
LATER: Final = 1.0
"""Seconds to wait where a server that is asked too often does not say how long."""


class MovedError(RemoteError):
    """What was asked for is at `location`, a URL that may be relative."""

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


class BusyError(RemoteError):
    """The server asks to come back in `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def check_range(head: Head, name: str, start: int, stop: int, size: int) -> None:
    """Whether the body begins with the bytes [start, stop) of a file of `size` bytes.

    The head must have passed `check_status`. Raises `GarbageError`, or `NotFoundError` for a file
    of another length.
    """
    length = _content_length(head, name)
    if head.status == 200:
        if start:
            raise NotFoundError(f"{name} does not serve parts of files")
        _check_size(name, size if length is None else length, size)
        return
    found = _RANGE.fullmatch(head.header("content-range") or "")
    if head.status != 206 or found is None:
        raise GarbageError(f"{name} does not say which bytes it sends")
    if found[3] != "*":
        _check_size(name, int(found[3]), size)
    if (int(found[1]), int(found[2]) + 1) != (start, stop):
        raise GarbageError(f"{name} answers with other bytes than those asked for")
    if length not in (None, stop - start):
        raise GarbageError(f"{name} sends {length} bytes where {stop - start} were asked for")


def check_document(head: Head, name: str, limit: int) -> None:
    """Whether the body is a whole document of at most `limit` bytes, as far as the head says."""
    length = _content_length(head, name)
    if head.status != 200:
        raise GarbageError(f"{name} answers with status {head.status} where 200 was due")
    if length is not None and length > limit:
        raise GarbageError(f"{name} claims a document of {length} bytes; at most {limit} can be")


def check_status(head: Head, name: str, *, now: float, size: int | None = None) -> None:
    """Whether there is an answer at all. `now`: unix seconds. `size`: of the file, if it is one.

    Raises `MovedError`, `BusyError`, `NotFoundError`, `GarbageError`, `RemoteError`.
    """
    if head.status in _MOVED:
        linked = head.header("x-linked-size") or ""
        if size is not None and _NUMBER.fullmatch(linked):
            _check_size(name, int(linked), size)
        location = head.header("location")
        if not location:
            raise GarbageError(f"{name} redirects to nowhere")
        raise MovedError(f"{name} redirects", location)
    if head.status == 429 or (head.status == 503 and head.header("retry-after")):
        seconds = retry_after(head.header("retry-after") or "", now)
        raise BusyError(f"{name} asks to come back in {seconds:.0f} s", seconds)
    if head.status in _LACKS:
        raise NotFoundError(f"{name} does not have it (status {head.status})")
    if head.status >= 500:
        raise RemoteError(f"{name} fails with status {head.status}")
    if head.status not in (200, 206):
        raise GarbageError(f"{name} answers with status {head.status}")
    if any(value.lower() != "identity" for value in _all(head, "content-encoding")):
        raise GarbageError(f"{name} answers in an encoding that nobody asked for")


def is_last(head: Head, *, old: bool) -> bool:
    """Whether the server hangs up behind this answer. `old`: it is one of HTTP/1.0.

    >>> is_last(Head(200, (("connection", "Close"),)), old=False), is_last(Head(200, ()), old=True)
    (True, True)
    """
    said = {word.strip().lower() for each in _all(head, "connection") for word in each.split(",")}
    return "keep-alive" not in said if old else "close" in said


def retry_after(text: str, now: float) -> float:
    """Seconds to wait: a number or a date as HTTP writes it.

    >>> retry_after("120", 0), retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40), retry_after("", 0)
    (120.0, 60.0, 1.0)
    """
    if _NUMBER.fullmatch(text.strip()):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError, TypeError):
        return LATER
    return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now)


def _all(head: Head, name: str) -> list[str]:
    return [value for each, value in head.headers if each == name]


def _content_length(head: Head, name: str) -> int | None:
    text = head.header("content-length")
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise GarbageError(f"{name} does not say how long its answer is")
    return int(text)


def _check_size(name: str, found: int, size: int) -> None:
    if found != size:
        raise NotFoundError(f"{name} has a file of {found} bytes there instead of {size}")
