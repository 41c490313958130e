"""Large files of Hugging Face's clients, by the batch API of Git LFS with its basic transfer.

    POST /[datasets/]{repo}.git/info/lfs/objects/batch    which are wanted, and where to send them
    PUT  /api/lfs/{sha256}/{size}?until=…&proof=…          the bytes of one; shows no token
    POST /api/lfs/verify                                   whether it is here

Where to send a file is told to who shows the token, and proves itself for an hour: the address is
signed. What comes is kept if its SHA-256 is the one in its address, and is gone if it is not. A
file of any size goes in one piece: the multipart transfer, which the Hub has for its own storage,
is not offered.

Format: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

import hashlib
import hmac
import time
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

MAX_OBJECTS: Final = 1000
"""Files that one batch asks about."""
LASTS: Final = 3600
"""Seconds for which an address takes a file."""
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
        told = [
            await self._object(request, each) for each in objects(asked, "objects", MAX_OBJECTS)
        ]
        return JSONResponse({"transfer": "basic", "objects": told}, media_type=MEDIA)

    async def _object(self, request: Request, asked: dict[str, Any]) -> dict[str, Any]:
        oid, size = text(asked, "oid"), number(asked, "size")
        told: dict[str, Any] = {"oid": oid, "size": size}
        digest = from_hexadecimal(oid)
        if digest is None or size > MAX_FILE:
            wrong = "no SHA-256" if digest is None else f"a file has at most {MAX_FILE} bytes"
            return told | {"error": {"code": 422, "message": wrong}}
        if await self._hub.uploaded(digest, size) is not None:
            return told
        until = int(time.time()) + LASTS
        query = f"until={until}&proof={self._proof(oid, size, until)}"
        base = f"{base_url(request)}/api/lfs"
        actions = {
            "upload": {"href": f"{base}/{oid}/{size}?{query}", "header": {}},
            "verify": {"href": f"{base}/verify", "header": {}},
        }
        return told | {"authenticated": True, "actions": actions}

    async def answer(self, request: Request, call: OtherCall) -> ASGIApp:
        """A call below `/api/lfs`."""
        match request.method, call.rest:
            case "PUT", (oid, size):
                return await self._put(request, oid, size)
            case "POST", ("verify",):
                return await self._verify(request)
        raise HttpError(UsageError(f"{request.url.path[:200]} does not take that"), 405)

    async def _put(self, request: Request, oid: str, size: str) -> ASGIApp:
        query, digest = request.query_params, from_hexadecimal(oid)
        until = query.get("until", "")
        numbers = (size + until).isascii() and size.isdigit() and until.isdigit()
        if digest is None or not numbers or len(size) > 15 or len(until) > 12:
            raise UsageError("no address for a file")
        proof = self._proof(oid, int(size), int(until))
        given = query.get("proof", "").encode()
        if not hmac.compare_digest(proof.encode(), given) or int(until) < time.time():
            raise RefusedError(
                "this address takes no file any more", remedy="ask for a new one, with the token"
            )
        try:
            async with chunks(request) as body:
                await self._hub.upload(int(size), digest, body)
        except WrongBytesError as error:
            raise HttpError(error, 422) from None
        return Response(status_code=200)

    async def _verify(self, request: Request) -> ASGIApp:
        self._writer.require(request)
        asked = await whole(request)
        digest = from_hexadecimal(text(asked, "oid"))
        if digest is None or await self._hub.uploaded(digest, number(asked, "size")) is None:
            raise NotFoundError("this file did not come", remedy="send it again")
        return JSONResponse({}, media_type=MEDIA)

    def _proof(self, oid: str, size: int, until: int) -> str:
        """What only this gateway can write about a file."""
        told = f"lfs {oid} {size} {until}".encode()
        return hmac.new(self._secret, told, hashlib.sha256).hexdigest()
