"""How a node asks another one for files and documents, and what it makes of the answer.

The other half of `p2phub.protocol.serve`, for every transport: requests as values, and checks of
the head of an answer that say how many bytes of body are to be read, before the first is.

Rules it keeps:
 * an answer must be the one that was asked for, to the byte: a length, a range or an encoding of
   another kind is `GarbageError`, so that nobody makes us read or allocate more than we wanted;
 * what the peer says of itself becomes our error: 404 and 416 `NotFoundError`, a damaged copy
   `WrongBytesError`, anything else `RemoteError`.

>>> request = file_request(ContentId(9, bytes(32)), 2, 5, ticket=b"")
>>> request.header("range")
'bytes=2-4'
>>> file_length(Head(206, (("content-length", "3"), ("content-range", "bytes 2-4/9"))), "bob", 2, 5)
3
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from p2phub.errors import (
    GarbageError,
    NotFoundError,
    P2PHubError,
    RemoteError,
    UsageError,
    WrongBytesError,
)
from p2phub.formats.digest import hexadecimal
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_ERROR_TEXT
from p2phub.formats.messages import plain_text
from p2phub.protocol.batch import BatchReader, batch_body
from p2phub.protocol.ports import Holding
from p2phub.protocol.serve import (
    BUSY,
    DOCUMENTS,
    FILES,
    MANY_FILES,
    MAX_HAVE_RANGES,
    SHA256,
    Headers,
    Request,
)

_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,16})-([0-9]{1,16})", re.ASCII)
_ERROR = re.compile(r"([0-9]{1,3}); (.*)", re.ASCII)
_NOT_FOUND, _UNTRUSTED = 1, 2
NO_TICKET: Final = 401
MOST_RETRY_AFTER: Final = 10
"""Seconds that a peer can make us wait at most before we ask it again."""
_NOT_UNDERSTOOD: Final = (400, 404, 405, 501)
"""What servers that know no request for many files answer to one."""


class UnknownTicketError(RemoteError):
    """The peer does not know our ticket (any more); with a fresh one it may answer."""


class NotUnderstoodError(RemoteError):
    """The peer does not know this request: an older p2phub, or something else."""


class BusyError(RemoteError):
    """The peer has no place for us now; in `seconds` it may have one. That is not its fault."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message, remedy="pull again later, when the peer is less busy")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; header names are in lower case."""

    status: int
    headers: Headers

    def header(self, name: str) -> str | None:
        """The one value of this header; None if it is missing or there several times."""
        values = [value for each, value in self.headers if each == name]
        return values[0] if len(values) == 1 else None


def file_request(content: ContentId, start: int, stop: int, *, ticket: bytes) -> Request:
    """Ask for bytes [start, stop) of a file; at least one."""
    headers = (("range", f"bytes={start}-{stop - 1}"), *_who(ticket))
    return Request("GET", f"{FILES}{content}", headers)


def batch_request(contents: Sequence[ContentId], *, ticket: bytes) -> Request:
    """Ask for many small files; see `p2phub.protocol.batch` for how many."""
    body = batch_body(contents)
    headers = (("content-length", str(len(body))), *_who(ticket))
    return Request("POST", MANY_FILES, headers, body)


def holding_request(content: ContentId, *, ticket: bytes) -> Request:
    """Ask what the peer has of a file."""
    return Request("HEAD", f"{FILES}{content}", _who(ticket))


def content_request(sha256: bytes, *, ticket: bytes) -> Request:
    """Ask which file has this SHA-256."""
    return Request("HEAD", f"{SHA256}{hexadecimal(sha256)}", _who(ticket))


def document_request(digest: bytes, *, ticket: bytes) -> Request:
    """Ask for a document, a page or a piece table."""
    return Request("GET", f"{DOCUMENTS}{hexadecimal(digest)}", _who(ticket))


def file_length(head: Head, name: str, start: int, stop: int) -> int:
    """The bytes of body to read: all of [start, stop). `name`: whom was asked, for errors."""
    _check_status(head, name, (206,))
    spans = (head.header("content-range") or "").removeprefix("bytes ").partition("/")[0]
    if spans != f"{start}-{stop - 1}":
        raise GarbageError(f"{name} answers with other bytes than those asked for")
    length = _content_length(head, name)
    if length != stop - start:
        raise GarbageError(f"{name} sends {length} bytes where {stop - start} were asked for")
    return length


def batch_reader(head: Head, name: str, contents: Sequence[ContentId]) -> BatchReader:
    """Who takes the body of the answer. Raises `NotUnderstoodError` if the peer is older."""
    if head.status in _NOT_UNDERSTOOD:
        raise NotUnderstoodError(f"{name} does not hand out many files for one request")
    _check_status(head, name, (200,))
    return BatchReader(contents, name, _content_length(head, name))


def document_length(head: Head, name: str, limit: int) -> int:
    """The bytes of body to read, at most `limit`."""
    _check_status(head, name, (200,))
    length = _content_length(head, name)
    if length > limit:
        raise GarbageError(f"{name} claims a document of {length} bytes; at most {limit} can be")
    return length


def holding_of(head: Head, name: str, content: ContentId) -> Holding | None:
    """What the peer says that it has of `content`. There is no body to read."""
    try:
        _check_status(head, name, (200,))
    except NotFoundError:
        return None
    ranges = _ranges(head.header("p2phub-have") or "", content.size)
    if ranges is None or _content_length(head, name) != content.size:
        raise GarbageError(f"{name} says what it has of a file in a way that is not our protocol")
    if ranges == ((0, content.size),) or not content.size:
        return Holding(complete=True)
    return Holding(complete=False, ranges=ranges)


def content_of(head: Head, name: str) -> ContentId | None:
    """The file that the peer says has the SHA-256. There is no body to read."""
    try:
        _check_status(head, name, (200,))
    except NotFoundError:
        return None
    try:
        return ContentId.parse(head.header("p2phub-content") or "")
    except UsageError:
        raise GarbageError(f"{name} names a file in a way that is not our protocol") from None


def ticket_of(request: Request) -> bytes | None:
    """The ticket that a request shows; None if it shows none, empty if it cannot be one."""
    shown = request.header("authorization")
    if shown is None:
        return None
    kind, _, text = shown.partition(" ")
    plain = re.fullmatch(r"(?:[0-9a-f]{2}){1,256}", text, re.ASCII)
    return bytes.fromhex(text) if kind.lower() == "bearer" and plain else b""


def _who(ticket: bytes) -> Headers:
    return (("authorization", f"Bearer {hexadecimal(ticket)}"),) if ticket else ()


def _check_status(head: Head, name: str, wanted: tuple[int, ...]) -> None:
    said = _ERROR.fullmatch(head.header("p2phub-error") or "")
    if said is not None and head.status == BUSY:
        message = plain_text(said[2], MAX_ERROR_TEXT)
        raise BusyError(f"{name} is busy: {message}", seconds=_retry_after(head))
    if said is not None:
        raise _error(int(said[1]), plain_text(said[2], MAX_ERROR_TEXT), head.status, name)
    if head.status not in wanted:
        raise GarbageError(f"{name} answers with status {head.status}, which is not our protocol")
    if head.header("transfer-encoding") or head.header("content-encoding"):
        raise GarbageError(f"{name} answers in an encoding that nobody asked for")


def _error(wire: int, message: str, status: int, name: str) -> P2PHubError:
    if status == NO_TICKET:
        return UnknownTicketError(f"{name} does not know our ticket: {message}")
    if wire == _NOT_FOUND:
        return NotFoundError(f"{name}: {message}")
    if wire == _UNTRUSTED:
        return WrongBytesError(f"{name} says that its own copy is damaged: {message}")
    return RemoteError(f"{name} refused: {message}")


def _retry_after(head: Head) -> float:
    """Seconds, from 0.05 to `MOST_RETRY_AFTER`; one if the peer does not say."""
    text = head.header("retry-after") or ""
    seconds = int(text) if _NUMBER.fullmatch(text) else 1
    return float(min(max(seconds, 0.05), MOST_RETRY_AFTER))


def _content_length(head: Head, name: str) -> int:
    text = head.header("content-length") or ""
    if _NUMBER.fullmatch(text) is None:
        raise GarbageError(f"{name} does not say how long its answer is")
    return int(text)


def _ranges(text: str, size: int) -> tuple[tuple[int, int], ...] | None:
    """The ranges of a `P2PHub-Have` header; None if it is not one of a file of `size` bytes."""
    unit, _, spans = text.partition("=")
    named = spans.split(",") if spans else []
    found = [_SPAN.fullmatch(span) for span in named]
    ranges = tuple((int(each[1]), int(each[2]) + 1) for each in found if each)
    if unit != "bytes" or len(ranges) != len(named) or len(ranges) > MAX_HAVE_RANGES:
        return None
    ordered = all(before[1] <= after[0] for before, after in pairwise(ranges))
    if not ordered or any(not start < stop <= size for start, stop in ranges):
        return None
    return ranges
