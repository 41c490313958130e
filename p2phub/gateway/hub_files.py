"""The answer with the bytes of a file: `resolve` and `raw` of the Hugging Face Hub.

HEAD answers from what is signed. GET hands out verified bytes: of a file that is here the kernel
sends them, of others they are sent as they come (`dripping`). What fails after the answer has begun
closes the connection in the middle of the body: an error could be taken for bytes.

A file is data, whatever it holds: no browser may run a page or a script of a repo as ours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import trio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from p2phub.errors import plain_errors
from p2phub.formats.huggingface import etag_of
from p2phub.formats.manifest import FileEntry
from p2phub.formats.ranges import Range
from p2phub.gateway import byte_ranges
from p2phub.gateway.connection import current
from p2phub.gateway.dripping import deliver
from p2phub.gateway.ports import HubApi
from p2phub.gateway.waiting import kept_waiting
from p2phub.node.locate import ResolvedRelease
from p2phub.node.on_demand import Reading

HEADERS_AFTER: Final = 8.0
"""Seconds after which an answer begins without a byte, to clients that cannot be told to wait."""
TOLD_SIZE: Final = 50_000_000_000
"""Bytes up to which a HEAD tells the size: huggingface_hub refuses to get a file whose HEAD told
more, and takes the size from the GET if it was not told."""
BOUNDARY: Final = "p2phub-part"


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that can be sent. `size`: bytes. `etag`: without its quotes. `told`: headers of it."""

    name: str
    size: int
    etag: str
    told: Mapping[str, str]
    reading: Callable[[int, int], AbstractAsyncContextManager[Reading]]
    """Its checked bytes from the first to before the second number."""


def offer_of(hub: HubApi, resolved: ResolvedRelease, file: FileEntry) -> Offer:
    """A file of a release."""
    told = {
        "last-modified": formatdate(resolved.release.created, usegmt=True),
        "p2phub-publisher": str(resolved.repo.publisher),
        "p2phub-release": resolved.digest.hex(),
        "p2phub-verdict": resolved.judgement.text,
        "x-repo-commit": resolved.commit,
    }
    reading = partial(hub.reading, resolved, file)
    return Offer(file.path[-1], file.size, etag_of(file), told, reading)


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """An ASGI response with a file, or parts of it."""

    file: Offer
    since: float
    """When the request came, by trio's clock."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        if _has_it(asked.get("if-none-match", ""), self.etag):
            await Response(status_code=304, headers=self._always())(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._head(send)
            return
        ranges = self._ranges(asked)
        if ranges == []:
            headers = self._always() | {"content-range": f"bytes */{self.file.size}"}
            await Response(status_code=416, headers=headers)(scope, receive, send)
            return
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                async with kept_waiting(scope, send) as (sending, waits):
                    begin_at = math.inf if waits else self.since + HEADERS_AFTER
                    await self._send(ranges, sending, begin_at)
                nursery.cancel_scope.cancel()

    async def _send(self, ranges: Sequence[Range] | None, send: Send, begin_at: float) -> None:
        """The headers and the body; they begin at `begin_at` without a byte of it."""
        start, last = self._start(ranges), {"type": "http.response.body", "body": b""}
        if ranges is None or len(ranges) == 1:
            part = ranges[0] if ranges else (0, self.file.size)
            async with self.file.reading(*part) as reading:
                connection = current()
                if connection is not None and reading.blob >= 0:
                    await send(start)
                    await connection.send_file(reading.blob, *part, reading.on_disk)
                else:
                    await deliver(reading, start, begin_at, send)
        else:
            await send(start)
            for each in self._body(ranges):
                await self._send_part(each, send)
        await send(last)

    async def _send_part(self, part: Range | bytes, send: Send) -> None:
        if isinstance(part, bytes):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            return
        async with self.file.reading(*part) as reading:
            await deliver(reading, None, 0.0, send)

    @property
    def etag(self) -> str:
        return f'"{self.file.etag}"'

    def _ranges(self, asked: Headers) -> list[Range] | None:
        condition = asked.get("if-range")
        if condition is not None and condition != self.etag:
            return None  # it has another version of the file
        return byte_ranges.parse(asked.get("range", ""), self.file.size)

    # ------------------------------------------------------------ headers

    def _always(self) -> dict[str, str]:
        name = self.file.name
        plain = "".join(each if each.isascii() and each not in '"\\' else "_" for each in name)
        return {
            "accept-ranges": "bytes",
            "cache-control": "no-cache",
            "content-disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";",
            "content-security-policy": "default-src 'none'; sandbox",
            "etag": self.etag,
            **self.file.told,
        }

    async def _head(self, send: Send) -> None:
        headers = self._always() | {"content-type": "application/octet-stream"}
        if self.file.size <= TOLD_SIZE:
            headers["content-length"] = str(self.file.size)
        await send(_start(200, headers))
        await send({"type": "http.response.body", "body": b""})

    def _start(self, ranges: Sequence[Range] | None) -> dict[str, Any]:
        headers = self._always() | {"content-type": "application/octet-stream"}
        if ranges is None:
            return _start(200, headers | {"content-length": str(self.file.size)})
        if len(ranges) == 1:
            headers["content-range"] = self._content_range(ranges[0])
        else:
            headers["content-type"] = f"multipart/byteranges; boundary={BOUNDARY}"
        lengths = (
            len(part) if isinstance(part, bytes) else part[1] - part[0]
            for part in self._body(ranges)
        )
        return _start(206, headers | {"content-length": str(sum(lengths))})

    def _content_range(self, part: Range) -> str:
        return f"bytes {part[0]}-{part[1] - 1}/{self.file.size}"

    # ------------------------------------------------------------ body

    def _body(self, ranges: Sequence[Range]) -> list[Range | bytes]:
        """The ranges to send, and the bytes between them."""
        if len(ranges) == 1:
            return list(ranges)
        body: list[Range | bytes] = []
        for part in ranges:
            head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
            head += f"Content-Range: {self._content_range(part)}\r\n\r\n"
            body += [head.encode(), part]
        return [*body, f"\r\n--{BOUNDARY}--\r\n".encode()]


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


def _has_it(condition: str, etag: str) -> bool:
    """Whether an `If-None-Match` names this version."""
    return condition.strip() == "*" or etag in (
        each.strip().removeprefix("W/") for each in condition.split(",")
    )


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
