"""Large files of Hugging Face's clients, by the batch API of Git LFS.

    POST /[datasets/]{repo}.git/info/lfs/objects/batch    which are wanted, and where to send them
    PUT  /api/lfs/{sha256}/{size}?until=…&proof=…          the bytes of one; shows no token
    PUT  /api/lfs/{sha256}/{size}/{part}/{number}?…        those of a part of one: ETag
    POST /api/lfs/{sha256}/{size}/{part}?…                 that is all: every part with its ETag
    POST /api/lfs/verify                                   whether it is here

Where to send a file is told to who shows the token, and proves itself for a while: the address is
signed. What comes is kept if its SHA-256 is the one in its address, and is gone if it is not.

A file goes in one piece, or in parts of `part` bytes where one of those asked about has more than
`ONE_PIECE` and the client can: "multipart", as the Hub has it. A part may come twice and in any
order; the file counts once it is whole and was read.

Format: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, and of the parts
`huggingface_hub/lfs.py` 2.4.
"""

import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from p2phub.errors import NotFoundError, RefusedError, UsageError, WrongBytesError
from p2phub.formats.digest import from_hexadecimal
from p2phub.formats.limits import MAX_FILE
from p2phub.gateway.guard import HttpError
from p2phub.gateway.hub_bodies import chunks, number, objects, text, whole
from p2phub.gateway.hub_paths import LfsCall, OtherCall
from p2phub.gateway.hub_writes import HubWriter, base_url
from p2phub.gateway.ports import HubApi
from p2phub.store.sent_parts import InParts

MAX_OBJECTS: Final = 1000
"""Files that one batch asks about."""
MAX_PARTS: Final = 1000
"""Parts of one file."""
MAX_ADDRESSES: Final = 10_000
"""Addresses of parts in one answer."""
ONE_PIECE: Final = 1 << 30
"""Bytes up to which a file goes in one piece."""
PART: Final = 64 << 20
"""Bytes of the smallest part, but for the last of a file."""
PART_STEP: Final = 1 << 20
"""A part has a multiple of so many bytes."""
LASTS: Final = 3600
"""Seconds for which an address takes a file."""
LASTS_IN_PARTS: Final = 24 * 3600
"""Seconds for which its addresses take a file in parts."""
MULTIPART: Final = "multipart"
MEDIA: Final = "application/vnd.git-lfs+json"


class HubLfs:
    """Takes large files. `secret` signs the addresses they are sent to."""

    def __init__(self, hub: HubApi, writer: HubWriter, secret: bytes) -> None:
        self._hub, self._writer, self._secret = hub, writer, secret

    async def batch(self, request: Request, call: LfsCall) -> ASGIApp:
        """Which files are wanted, and where they are to be sent."""
        self._writer.require(request)
        self._writer.name_of(call.repo)
        asked = await whole(request)
        if asked.get("operation") != "upload":
            raise UsageError("large files are got by resolve, and sent by LFS")
        files = objects(asked, "objects", MAX_OBJECTS)
        largest = max((number(each, "size") for each in files), default=0)
        parts = MULTIPART in transfers(asked) and largest > ONE_PIECE
        most = min(MAX_PARTS, MAX_ADDRESSES // max(1, len(files))) if parts else 0
        told = [await self._object(request, each, most) for each in files]
        transfer = MULTIPART if parts else "basic"
        return JSONResponse({"transfer": transfer, "objects": told}, media_type=MEDIA)

    async def _object(self, request: Request, asked: dict[str, Any], most: int) -> dict[str, Any]:
        """The answer about one file, which goes in at most `most` parts; 0: in one piece."""
        oid, size = text(asked, "oid"), number(asked, "size")
        told: dict[str, Any] = {"oid": oid, "size": size}
        digest = from_hexadecimal(oid)
        if digest is None or size > MAX_FILE:
            wrong = "no SHA-256" if digest is None else f"a file has at most {MAX_FILE} bytes"
            return told | {"error": {"code": 422, "message": wrong}}
        if await self._hub.uploaded(digest, size) is not None:
            return told
        base = f"{base_url(request)}/api/lfs"
        upload = self._in_one(base, oid, size)
        if most and size:
            upload = self._in_parts(base, InParts(digest, size, part_of(size, most)))
        actions = {"upload": upload, "verify": {"href": f"{base}/verify", "header": {}}}
        return told | {"authenticated": True, "actions": actions}

    def _in_one(self, base: str, oid: str, size: int) -> dict[str, Any]:
        query = self._query(f"{oid} {size}", LASTS)
        return {"href": f"{base}/{oid}/{size}?{query}", "header": {}}

    def _in_parts(self, base: str, what: InParts) -> dict[str, Any]:
        """Where a file is told to be whole, and where each of its parts is sent."""
        oid = what.sha256.hex()
        query = self._query(f"{oid} {what.size} {what.part}", LASTS_IN_PARTS)
        place = f"{base}/{oid}/{what.size}/{what.part}"
        each = {str(count): f"{place}/{count}?{query}" for count in range(1, what.count + 1)}
        return {"href": f"{place}?{query}", "header": {"chunk_size": str(what.part)} | each}

    async def answer(self, request: Request, call: OtherCall) -> ASGIApp:
        """A call below `/api/lfs`."""
        match request.method, call.rest:
            case "PUT", (oid, size):
                return await self._put(request, oid, size)
            case "PUT", (oid, size, part, count):
                return await self._put_part(request, self._parts(request, oid, size, part), count)
            case "POST", (oid, size, part):
                return await self._finish(request, self._parts(request, oid, size, part))
            case "POST", ("verify",):
                return await self._verify(request)
        raise HttpError(UsageError(f"{request.url.path[:200]} does not take that"), 405)

    async def _put(self, request: Request, oid: str, size: str) -> ASGIApp:
        digest = from_hexadecimal(oid)
        if digest is None or not _is_number(size):
            raise UsageError("no address for a file")
        self._check(request, f"{oid} {int(size)}")
        with wrong_bytes():
            async with chunks(request) as body:
                await self._hub.upload(int(size), digest, body)
        return Response(status_code=200)

    def _parts(self, request: Request, oid: str, size: str, part: str) -> InParts:
        """The file that an address is of."""
        digest = from_hexadecimal(oid)
        if digest is None or not (_is_number(size) and _is_number(part)) or not int(part):
            raise UsageError("no address for a file")
        self._check(request, f"{oid} {int(size)} {int(part)}")
        return InParts(digest, int(size), int(part))

    async def _put_part(self, request: Request, what: InParts, count: str) -> ASGIApp:
        if not _is_number(count):
            raise UsageError("no address for a part of a file")
        with wrong_bytes():
            async with chunks(request) as body:
                tag = await self._hub.upload_part(what, int(count), body)
        return Response(status_code=200, headers={"ETag": f'"{tag}"'})

    async def _finish(self, request: Request, what: InParts) -> ASGIApp:
        asked = await whole(request)
        if from_hexadecimal(text(asked, "oid")) != what.sha256:
            raise UsageError("this address is of another file")
        parts = objects(asked, "parts", MAX_PARTS)
        tags = {number(each, "partNumber"): text(each, "etag").strip('"') for each in parts}
        if len(tags) != len(parts) or len(tags) != what.count:
            raise UsageError(f"{len(parts)} parts are named, {what.count} are to be named once")
        with wrong_bytes():
            await self._hub.finish_parts(what, tags)
        return JSONResponse({}, media_type=MEDIA)

    async def _verify(self, request: Request) -> ASGIApp:
        self._writer.require(request)
        asked = await whole(request)
        digest = from_hexadecimal(text(asked, "oid"))
        if digest is None or await self._hub.uploaded(digest, number(asked, "size")) is None:
            raise NotFoundError("this file did not come", remedy="send it again")
        return JSONResponse({}, media_type=MEDIA)

    def _query(self, what: str, lasts: int) -> str:
        """What proves for `lasts` seconds that this gateway told an address."""
        until = int(time.time()) + lasts
        return f"until={until}&proof={self._proof(what, until)}"

    def _check(self, request: Request, what: str) -> None:
        """Raises `UsageError`, or `RefusedError` for an address that was not told, or long ago."""
        until = request.query_params.get("until", "")
        if not _is_number(until):
            raise UsageError("no address for a file")
        given = request.query_params.get("proof", "").encode()
        proof = self._proof(what, int(until)).encode()
        if not hmac.compare_digest(proof, given) or int(until) < time.time():
            raise RefusedError(
                "this address takes no file any more", remedy="ask for a new one, with the token"
            )

    def _proof(self, what: str, until: int) -> str:
        """What only this gateway can write about a file."""
        return hmac.new(self._secret, f"lfs {what} {until}".encode(), hashlib.sha256).hexdigest()


def transfers(asked: dict[str, Any]) -> list[object]:
    """How a client can send. Raises `UsageError`."""
    found = asked.get("transfers") or []
    if not isinstance(found, list):
        raise UsageError('"transfers" is no list')
    return found


def part_of(size: int, most: int) -> int:
    """The bytes of each part of a file that goes in at most `most` of them.

    >>> part_of(70 << 20, 100) == 64 << 20, -(-(1 << 40) // part_of(1 << 40, 1000))
    (True, 1000)
    """
    return max(PART, -(-size // most // PART_STEP) * PART_STEP)


@contextmanager
def wrong_bytes() -> Iterator[None]:
    """Bytes that are not those that were promised are a 422."""
    try:
        yield
    except WrongBytesError as error:
        raise HttpError(error, 422) from None


def _is_number(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) <= 15
