"""What a node answers to a request of the data protocol. The transport has no say in it.

    GET, HEAD  /v1/files/{size}-{hex}   a file by content id; `Range: bytes=first-last`, one range
    GET, HEAD  /v1/sha256/{hex}         a file that was hashed whole here; `P2PHub-Content` names it
    POST       /v1/files                many small files, by a list of content ids (see `batch`)
    GET        /v1/documents/{hex}      a document, a page or a piece table, by digest

`answer` takes a request whose head was parsed and says what to send; the TLS server and the libp2p
stream ask the same function, so that both refuse the same things in the same words.

Rules it keeps:
 * bytes that this node has not verified are never offered: a range not wholly held is answered
   with 416 and `P2PHub-Have`, which says what is held;
 * every refusal carries `P2PHub-Error: {wire number}; {sentence}`, so that the other side raises
   the error that was raised here; a copy that turns out damaged is owned up to;
 * `peer` is who proved to be asking, None if nobody did; what it may see is for `Held` to say.

It leaves to others: the bytes of HTTP (`p2phub.network.http_head`), who a ticket stands for, and
reading files: an answer with a `FileRange` or a `FileBatch` must be closed by the transport.

>>> from p2phub.formats.digest import sha256
>>> class Nothing:
...     def holding(self, content, peer): return None
>>> refusal = answer(Request("GET", f"/v1/files/{ContentId(2, sha256(b'hi'))}"), Nothing(), None)
>>> refusal.status, refusal.header("p2phub-error")
(404, '1; this node does not have 2-8f434346')
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from p2phub.errors import (
    NotFoundError,
    P2PHubError,
    RefusedError,
    RemoteError,
    UsageError,
    as_wire,
)
from p2phub.formats.digest import from_hexadecimal, hexadecimal
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import KIB, MAX_ERROR_TEXT, MAX_FILE
from p2phub.protocol.batch import FileBatch, Opener, parse_batch
from p2phub.protocol.ports import FileReader, Holding

FILES: Final = "/v1/files/"
MANY_FILES: Final = "/v1/files"
DOCUMENTS: Final = "/v1/documents/"
SHA256: Final = "/v1/sha256/"

MAX_HAVE_RANGES: Final = 200
"""Byte ranges in one `P2PHub-Have` header; the largest are named. Under 7 KiB of header."""
MAX_TARGET: Final = 1 * KIB
BUSY: Final = 503

_RANGE = re.compile(r"bytes=([0-9]{0,16})-([0-9]{0,16})", re.ASCII)
_NOT_PLAIN = re.compile(r"[^ -~]")

Headers = tuple[tuple[str, str], ...]


class Held(Protocol):
    """What this node has and may show. Every method may be called from any thread."""

    def holding(self, content: ContentId, peer: str | None) -> Holding | None:
        """What is held of a file that `peer` may see, no ranges if that is about to begin; None if
        nothing.
        """
        ...

    def document(self, digest: bytes, peer: str | None) -> bytes | None:
        """A document, page or piece table that `peer` may see."""
        ...

    def content_of_sha256(self, digest: bytes, peer: str | None) -> ContentId | None:
        """The file with this SHA-256 that was hashed whole here and that `peer` may see."""
        ...

    def open(self, content: ContentId) -> FileReader:
        """Open what `holding` named. Raises `NotFoundError` or `DamagedBlobError`."""
        ...

    def openers(self, contents: Sequence[ContentId], peer: str | None) -> Sequence[Opener | None]:
        """For each of many small files what opens it; None for one that is not here as a whole, or
        that `peer` may not see.
        """
        ...


class Library(Held, Protocol):
    """What the control protocol shows too."""

    def head(self, publisher: bytes, peer: str | None) -> bytes | None:
        """The newest head record known of a publisher, by the publisher id's digest."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose head was parsed; header names are in lower case."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        return _header(self.headers, name)


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes [start, stop) of an open file, to be sent and then closed."""

    reader: FileReader
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. `Content-Length` is among the headers; to `HEAD`, the body is empty."""

    status: int
    headers: Headers
    body: bytes | FileRange | FileBatch = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        return _header(self.headers, name)

    def close(self) -> None:
        """Close the file it holds open, if any."""
        if isinstance(self.body, FileRange):
            self.body.reader.close()
        if isinstance(self.body, FileBatch):
            self.body.close()


class _PartlyHeldError(NotFoundError):
    """Not an answer for people: carries what is held to the one place that writes 416."""

    http = 416

    def __init__(self, message: str, content: ContentId, holding: Holding) -> None:
        super().__init__(message)
        self.content, self.holding = content, holding


def answer(request: Request, held: Held, peer: str | None, *, most: int = MAX_FILE) -> Answer:
    """The answer to `request`, with at most `most` bytes of a file. Never raises one of ours."""
    try:
        return _answer(request, held, peer, most)
    except P2PHubError as error:
        return refusal(error)


def refusal(error: P2PHubError, *, status: int | None = None) -> Answer:
    """The answer that says `error`."""
    wire, message = as_wire(error)
    headers = [("P2PHub-Error", f"{wire}; {_NOT_PLAIN.sub('?', message)[:MAX_ERROR_TEXT]}")]
    if isinstance(error, _PartlyHeldError):
        headers.append(("P2PHub-Have", have_header(error.content, error.holding)))
        headers.append(("Content-Range", f"bytes */{error.content.size}"))
    headers.append(("Content-Length", "0"))
    return Answer(status or error.http, tuple(headers))


def busy(message: str, seconds: int, *, closes: bool = False) -> Answer:
    """The answer that says: ask again in so many seconds, over another connection if it `closes`.

    >>> busy("all slots are taken", 2).header("retry-after")
    '2'
    """
    said = refusal(RemoteError(message), status=BUSY)
    closing = (("Connection", "close"),) if closes else ()
    return Answer(BUSY, (*said.headers, ("Retry-After", str(seconds)), *closing))


def have_header(content: ContentId, holding: Holding) -> str:
    """The value of `P2PHub-Have`: the largest ranges held, in order, as HTTP counts (last byte in).

    >>> have_header(ContentId(9, b""), Holding(False, ((0, 4), (6, 7))))
    'bytes=0-3,6-6'
    """
    spans: Sequence[tuple[int, int]] = ((0, content.size),) if holding.complete else holding.ranges
    largest = sorted(spans, key=lambda span: span[0] - span[1])[:MAX_HAVE_RANGES]
    return "bytes=" + ",".join(f"{a}-{b - 1}" for a, b in sorted(largest) if a < b)


def _header(headers: Headers, name: str) -> str | None:
    return next((value for each, value in headers if each.lower() == name), None)


def _answer(request: Request, held: Held, peer: str | None, most: int) -> Answer:
    if (request.method, request.target) == ("POST", MANY_FILES):
        return _many_files(request, held, peer, most)
    if request.method not in ("GET", "HEAD"):
        raise UsageError(f"{request.method[:16]} is not understood here; ask with GET or HEAD")
    target = request.target
    if len(target) > MAX_TARGET:
        raise UsageError(f"a path of more than {MAX_TARGET} characters")
    if target.startswith(FILES):
        content = ContentId.parse(target.removeprefix(FILES))
        return _file(request, content, held, peer, most)
    if target.startswith(SHA256):
        digest = _digest(target.removeprefix(SHA256))
        found = held.content_of_sha256(digest, peer)
        if found is None:
            raise NotFoundError(f"no file here was hashed whole to {hexadecimal(digest)[:16]}")
        return _file(request, found, held, peer, most)
    if target.startswith(DOCUMENTS):
        return _document(request, _digest(target.removeprefix(DOCUMENTS)), held, peer)
    raise NotFoundError("there is nothing at this path; this is a p2phub data port")


def _digest(text: str) -> bytes:
    digest = from_hexadecimal(text)
    if digest is None:
        raise UsageError("the path must end in 64 lower-case hexadecimal digits")
    return digest


def _document(request: Request, digest: bytes, held: Held, peer: str | None) -> Answer:
    data = held.document(digest, peer)
    if data is None:
        raise NotFoundError(f"this node does not have document {hexadecimal(digest)[:16]}")
    headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(len(data))))
    return Answer(200, headers, data if request.method == "GET" else b"")


def _file(request: Request, content: ContentId, held: Held, peer: str | None, most: int) -> Answer:
    holding = held.holding(content, peer)
    name = f"{content.size}-{hexadecimal(content.digest)[:8]}"
    if holding is None:
        raise NotFoundError(f"this node does not have {name}")
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes"),
        ("P2PHub-Content", str(content)),
    ]
    if request.method == "HEAD":
        headers.append(("P2PHub-Have", have_header(content, holding)))
        headers.append(("Content-Length", str(content.size)))
        return Answer(200, tuple(headers))
    asked = request.header("range")
    start, stop = (0, content.size) if asked is None else _range(asked, content.size)
    if start >= stop and asked is not None:
        raise _PartlyHeldError(f"{name} has no such bytes", content, holding)
    if not _covers(holding, start, stop):
        raise _PartlyHeldError(
            f"this node does not have all of these bytes of {name}", content, holding
        )
    if stop - start > most:
        raise RefusedError(f"ask for at most {most} bytes at a time here, not {stop - start}")
    if asked is not None:
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{content.size}"))
    headers.append(("Content-Length", str(stop - start)))
    body = FileRange(held.open(content), start, stop)
    return Answer(200 if asked is None else 206, tuple(headers), body)


def _many_files(request: Request, held: Held, peer: str | None, most: int) -> Answer:
    contents = parse_batch(request.body)
    body = FileBatch(contents, held.openers(contents, peer))
    if body.length > most:
        raise RefusedError(f"ask for at most {most} bytes at a time here, not {body.length}")
    headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(body.length)))
    return Answer(200, headers, body)


def _range(text: str, size: int) -> tuple[int, int]:
    """The bytes [start, stop) that a `Range` header asks for; start ≥ stop if there are none."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        raise _BadRangeError("Range must name one range of bytes, as in bytes=0-1023")
    if not found[1]:
        return max(0, size - int(found[2])), size
    stop = min(int(found[2]) + 1, size) if found[2] else size
    return int(found[1]), stop


class _BadRangeError(UsageError):
    http = 416


def _covers(holding: Holding, start: int, stop: int) -> bool:
    return holding.complete or any(
        first <= start and stop <= last for first, last in holding.ranges
    )
