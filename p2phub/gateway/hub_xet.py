"""The write half of a Xet CAS: how unmodified clients of Hugging Face 1.x and 2.x send large files.

    GET  /api/…/{repo}/xet-write-token/{revision}     where to send, and for how long
    POST {cas}/v1/xorbs/default/{hash}                 a run of chunks
    POST {cas}/v1/shards                               which files they make

`{cas}` is an address of its own for every upload, signed by this gateway: who was told it may send,
and the clients' memory of what is at an address never outlives what is there. There is no question
across uploads whether a chunk is here (404), and no other form of an answer is offered (404): the
clients go on without. A file that a shard makes is put together and kept by its SHA-256; the commit
that follows names it by that.
"""

import hashlib
import hmac
import secrets
import time
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from p2phub.errors import NotFoundError, RefusedError
from p2phub.formats.xet import MAX_SHARD, MAX_XORB, is_hash
from p2phub.gateway.hub_bodies import bytes_of, chunks
from p2phub.gateway.hub_paths import ApiCall, XetCall
from p2phub.gateway.hub_writes import HubWriter, base_url
from p2phub.gateway.ports import HubApi

LASTS: Final = 24 * 3600
"""Seconds for which an address takes an upload."""


class HubXet:
    """Takes large files in chunks. `secret` signs the addresses they are sent to."""

    def __init__(self, hub: HubApi, writer: HubWriter, secret: bytes) -> None:
        self._hub, self._writer, self._secret = hub, writer, secret

    async def token(self, request: Request, call: ApiCall) -> ASGIApp:
        """The address for one upload."""
        self._writer.require(request)
        self._writer.name_of(call.repo)
        until, session = int(time.time()) + LASTS, secrets.token_hex(16)
        proof = self._proof(session, until)
        cas = f"{base_url(request)}/xet/{session}/{until}/{proof}"
        told = {"casUrl": cas, "accessToken": proof, "exp": until}
        headers = {
            "X-Xet-Cas-Url": cas,
            "X-Xet-Access-Token": proof,
            "X-Xet-Token-Expiration": str(until),
        }
        return JSONResponse(told, headers=headers)

    async def answer(self, request: Request, call: XetCall) -> ASGIApp:
        """A call below such an address."""
        known = call.until.isascii() and call.until.isdigit() and len(call.until) < 12
        until = call.until if known else "0"
        proof = self._proof(call.session, int(until))
        if not hmac.compare_digest(proof.encode(), call.proof.encode()) or int(until) < time.time():
            raise RefusedError("this address takes nothing any more", remedy="begin a new upload")
        match request.method, call.rest:
            case "POST", ("v1", "xorbs", "default", name) if is_hash(name):
                size = int(request.headers.get("content-length") or MAX_XORB)
                async with chunks(request) as body:
                    new = await self._hub.keep_xorb(call.session, name, size, body)
                return JSONResponse({"was_inserted": new})
            case "POST", ("v1", "shards"):
                await self._hub.take_shard(call.session, await bytes_of(request, MAX_SHARD))
                return JSONResponse({"result": 1})
            case "POST", ("v1", "telemetry"):
                return JSONResponse({})
        raise NotFoundError("this is not here")

    def _proof(self, session: str, until: int) -> str:
        """What only this gateway can write about an upload."""
        return hmac.new(self._secret, f"xet {session} {until}".encode(), hashlib.sha256).hexdigest()
