"""Repos of the upstream, for its clients: what it says is passed on, files are fetched and checked.

A question is asked as it came; its answer says how old it is (`Age`), and, where the upstream could
not be asked just now, why. There are no Xet addresses in it, and links to next pages lead here, so
that everything else comes from here too. A file is offered as the upstream names it.

Rules it keeps:
 * a question that comes back to us is not passed on again;
 * a token of this node goes nowhere; another one goes to the upstream, with the call it came with;
 * nothing that a browser would run is passed on: JSON, or plain text;
 * what took a token is not to be kept by anybody on the way (`Cache-Control`).

Where the upstream cannot be asked and never was, copies that somebody signed answer as any repo.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from p2phub.errors import (
    BusyError,
    NoFileError,
    NoRevisionError,
    NotFoundError,
    RemoteError,
    TooSlowError,
)
from p2phub.formats.huggingface import etag_of
from p2phub.gateway.control import BODY_PATIENCE
from p2phub.gateway.dialects import NoSuchPathError
from p2phub.gateway.guard import Gate
from p2phub.gateway.hub_files import FileAnswer, Offer
from p2phub.gateway.hub_paths import ApiCall, Call, FileCall
from p2phub.gateway.ports import HubApi, UpstreamApi
from p2phub.network.hub_client import Question
from p2phub.node.on_demand import Reading
from p2phub.node.upstream import ForeignFile, Said

Otherwise = Callable[[Request, Any], Awaitable[ASGIApp]]
READS: Final = frozenset(
    (
        "",
        "auth-check",
        "commits",
        "discussions",
        "likers",
        "paths-info",
        "refs",
        "revision",
        "safetensors-metadata",
        "tree",
    )
)
"""Calls about a repo that change nothing."""
_PASSED: Final = ("x-error-code", "x-error-message", "x-repo-commit")
_CODE: Final = "x-error-code"
_XET: Final = "xetHash"
MAX_DEPTH: Final = 8
"""How deep in an answer files are told of."""
MAX_TOKEN: Final = 1024
"""Characters of a token that is passed on."""


class HubUpstream:
    """Answers calls about repos of the upstream."""

    def __init__(self, hub: HubApi, upstream: UpstreamApi, gate: Gate) -> None:
        self._hub, self._upstream, self._gate = hub, upstream, gate

    async def means(self, request: Request, call: Call) -> bool:
        """Whether a call is one of these. Raises `NotFoundError` for what is no name of a repo."""
        if not isinstance(call, ApiCall | FileCall):
            return False
        reads = request.method in ("GET", "HEAD") or call.verb == "paths-info"
        if not reads or not call.repo or (isinstance(call, ApiCall) and call.verb not in READS):
            return False
        return await self._upstream.means(call.repo)

    async def answer(self, request: Request, call: Call, otherwise: Otherwise) -> ASGIApp:
        """What the upstream says. If it cannot be asked, or knows no such revision, what is said
        `otherwise` by who has a copy; if nobody has, its own word.

        Raises `RefusedError` for a repo that must not be asked for, `RemoteError`, `BusyError`.
        """
        try:
            said = await self._asked(request, call)
            if not isinstance(said, Said) or said.reply.headers.get(_CODE) != "RevisionNotFound":
                return self._told(request, said)
        except (RemoteError, BusyError) as error:
            return await self._by_a_copy(request, call, otherwise, error)
        try:
            return await otherwise(request, call)
        except (NotFoundError, RemoteError):
            return self._told(request, said)

    async def _by_a_copy(
        self,
        request: Request,
        call: Call,
        otherwise: Otherwise,
        error: RemoteError | BusyError,
    ) -> ASGIApp:
        try:
            return await otherwise(request, call)
        except NoRevisionError:
            raise
        except (NotFoundError, RemoteError):
            raise error from None

    async def _asked(self, request: Request, call: Call) -> Said | ForeignFile:
        assert isinstance(call, ApiCall | FileCall)
        token, via = self._token(request), request.headers.get("cdn-loop", "")
        if self._upstream.hop in via:
            raise NotFoundError(
                f"{call.repo} is asked of us by our own upstream",
                remedy="two nodes are each other's [gateway] upstream: take one of them away",
            )
        if isinstance(call, FileCall):
            _path(call.path)
            return await self._upstream.file(
                call.kind, call.repo, call.revision, call.path, token, via
            )
        question = Question(
            _target(request),
            request.method,
            await _body(request),
            request.headers.get("content-type", "") if request.method == "POST" else "",
        )
        return await self._upstream.ask(call.kind, call.repo, question, token, via)

    def _token(self, request: Request) -> str | None:
        """The token that may be shown to the upstream."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        ours = self._gate.is_ours(request.headers)
        usable = token.isascii() and token.isprintable() and len(token) <= MAX_TOKEN
        return token if kind.lower() == "bearer" and token and usable and not ours else None

    def _told(self, request: Request, said: Said | ForeignFile) -> ASGIApp:
        if isinstance(said, ForeignFile):
            return FileAnswer(self._offer(said), trio.current_time())
        reply, headers = said.reply, _headers(said)
        headers |= {name: reply.headers[name] for name in _PASSED if name in reply.headers}
        is_json = reply.headers.get("content-type", "").startswith("application/json")
        headers["content-type"] = "application/json" if is_json else "text/plain; charset=utf-8"
        here = f"{request.url.scheme}://{request.headers['host']}"
        if "link" in reply.headers:
            headers["link"] = reply.headers["link"].replace(
                f"<{self._upstream.endpoint}/", f"<{here}/"
            )
        return Response(_without_xet(reply.body), reply.status, headers)

    # ------------------------------------------------------------ files

    def _offer(self, file: ForeignFile) -> Offer:
        told = {"x-repo-commit": file.commit, "p2phub-upstream": file.endpoint} | _headers(
            file.said
        )
        name = file.path.rpartition("/")[2]
        reading = partial(self._reading, file)
        return Offer(name, file.wanted.size, file.wanted.digest.hex(), told, reading)

    @asynccontextmanager
    async def _reading(self, file: ForeignFile, start: int, stop: int) -> AsyncIterator[Reading]:
        """From here, from peers or from the upstream; else from who has a copy of the repo."""
        async with AsyncExitStack() as stack:
            try:
                reading = await stack.enter_async_context(self._upstream.reading(file, start, stop))
            except RemoteError as error:
                if file.private:
                    raise
                reading = await self._copied(stack, file, start, stop, error)
            yield reading

    async def _copied(
        self, stack: AsyncExitStack, file: ForeignFile, start: int, stop: int, error: RemoteError
    ) -> Reading:
        try:
            copy = await self._hub.find(file.repo, file.commit, file.kind)
        except (NotFoundError, RemoteError):
            raise error from None
        for entry in copy.release.files:
            same = "/".join(entry.path) == file.path and entry.size == file.wanted.size
            if same and etag_of(entry) == file.wanted.digest.hex():
                return await stack.enter_async_context(self._hub.reading(copy, entry, start, stop))
        raise error


def _headers(said: Said) -> dict[str, str]:
    """How old an answer is, and what else its reader should know of it."""
    headers = {"age": str(said.age)} if said.age else {}
    if said.why:
        why = "".join(each if " " <= each <= "~" and each != ";" else "?" for each in said.why)
        headers["x-hf-warning"] = f"upstream; what it said {said.age} s ago, because {why}"
    if said.private:
        headers["cache-control"] = "private, no-store"
    return headers


def _target(request: Request) -> str:
    """The path and the query, as they were sent. Raises `NoSuchPathError` for what is none."""
    path = request.scope["raw_path"].partition(b"?")[0]
    query = request.scope["query_string"]
    target = path + b"?" + query if query else path
    if not all(0x21 <= byte <= 0x7E for byte in target):
        raise NoSuchPathError("a path that is not encoded")
    return str(target, "ascii")


async def _body(request: Request) -> bytes:
    try:
        with trio.fail_after(BODY_PATIENCE):
            return await request.body()
    except trio.TooSlowError:
        raise TooSlowError(f"the body did not arrive within {BODY_PATIENCE:g} seconds") from None


def _path(text: str) -> None:
    """Raise `NoFileError` for what no repo can have."""
    parts = text.split("/")
    if not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise NoFileError(f"there is no file {text[:200]!r}")


def _without_xet(body: bytes) -> bytes:
    """A list or an object of files without the addresses of another protocol."""
    if _XET.encode() not in body:
        return body
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return json.dumps(_stripped(told), separators=(",", ":")).encode()


def _stripped(told: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        return told
    if isinstance(told, list):
        return [_stripped(each, depth + 1) for each in told]
    if isinstance(told, dict):
        return {key: _stripped(each, depth + 1) for key, each in told.items() if key != _XET}
    return told
