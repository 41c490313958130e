"""The bodies of what Hugging Face's clients send: JSON, lines of JSON, bytes of files.

Each is read as it comes, against a limit and a patience of its own; nothing large is ever whole in
memory but one line of a commit, which holds at most one small file.

>>> decoded({"encoding": "base64", "content": "aGk="})
b'hi'
"""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import trio
from starlette.requests import Request

from p2phub.errors import TooSlowError, UsageError
from p2phub.gateway.guard import HttpError
from p2phub.gateway.plain_json import parsed

PATIENCE: Final = 30.0
"""Seconds that a client may send nothing of a body."""
MAX_REGULAR: Final = 10 << 20
"""Bytes of a file that comes inside a commit."""
MAX_LINE: Final = MAX_REGULAR * 4 // 3 + (64 << 10)
"""Bytes of one line of a commit."""
MAX_JSON: Final = 16 << 20
"""Bytes of a body that is one JSON value: 256 files with a sample of each."""


@asynccontextmanager
async def chunks(request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
    """A body as it comes, for the length of the block. What reads it raises `HttpError` (408)."""
    async with aclosing(request.stream()) as stream, aclosing(_patient(stream)) as found:
        yield found


async def _patient(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            with trio.fail_after(PATIENCE):
                data = await anext(stream, None)
        except trio.TooSlowError:
            error = TooSlowError(f"nothing of the body came for {PATIENCE:g} seconds")
            raise HttpError(error, 408) from None
        if data is None:
            return
        if data:
            yield data


@asynccontextmanager
async def lines(request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The lines of a commit, each a JSON object, for the length of the block.

    What reads them raises `UsageError`, or `HttpError` for a line that is too long.
    """
    async with chunks(request) as body, aclosing(_lines(body)) as found:
        yield found


async def _lines(body: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    rest = bytearray()
    async for data in body:
        *ends, last = data.split(b"\n")
        for end in ends:
            rest += end
            if rest.strip():
                yield _parsed(rest)
            rest.clear()
        rest += last
        if len(rest) > MAX_LINE:
            raise _too_large(f"a line of a commit may have {MAX_LINE} bytes")
    if rest.strip():
        yield _parsed(rest)


async def bytes_of(request: Request, most: int) -> bytes:
    """A body of at most `most` bytes. Raises `HttpError` (413)."""
    found = bytearray()
    async with chunks(request) as body:
        async for data in body:
            found += data
            if len(found) > most:
                raise _too_large(f"this body may have at most {most} bytes")
    return bytes(found)


async def whole(request: Request) -> dict[str, Any]:
    """A body that is one JSON object. Raises `UsageError`."""
    found = await bytes_of(request, MAX_JSON)
    return _parsed(found) if found.strip() else {}


def decoded(value: dict[str, Any]) -> bytes:
    """The bytes of a file that comes inside a commit. Raises `UsageError`."""
    content = text(value, "content")
    if value.get("encoding", "base64") != "base64":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("the content of a file is not base64") from None


def text(value: dict[str, Any], key: str, default: str | None = None) -> str:
    """A text in what was sent. Raises `UsageError`."""
    found = value.get(key, default)
    if not isinstance(found, str):
        raise UsageError(f'"{key}" is no text')
    return found


def number(value: dict[str, Any], key: str) -> int:
    """A number of bytes in what was sent. Raises `UsageError`."""
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise UsageError(f'"{key}" is no number of bytes')
    return found


def objects(value: dict[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    """A list of objects in what was sent. Raises `UsageError`."""
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UsageError(f'"{key}" is no list of objects')
    if len(found) > most:
        raise UsageError(f"{len(found)} of {key} in one call; {most} is the most")
    return found


def _parsed(data: bytes | bytearray) -> dict[str, Any]:
    try:
        found = parsed(data)
    except (ValueError, RecursionError):
        raise UsageError("the body of this call is not JSON") from None
    if not isinstance(found, dict):
        raise UsageError("the body of this call is no JSON object")
    return found


def _too_large(message: str) -> HttpError:
    return HttpError(UsageError(message, remedy="send large files by LFS"), 413)
