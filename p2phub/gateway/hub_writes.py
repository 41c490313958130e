"""The Hugging Face Hub API for writing: each commit becomes a signed release of our publisher.

Only who shows a token of this node with the scope write does. Small files come inside the commit,
large ones before it, by LFS (`hub_lfs`). What is published here is public: a private repo cannot be
made.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from p2phub.errors import (
    NotFoundError,
    RefusedError,
    UnsafePathError,
    UsageError,
)
from p2phub.formats.digest import from_hexadecimal, sha256
from p2phub.formats.ids import KINDS, Kind
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath, parse_path
from p2phub.gateway.guard import Gate, HttpError
from p2phub.gateway.hub_bodies import decoded, lines, number, objects, text, whole
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.ports import NodeApi
from p2phub.node.committing import CommitRequest, Drop, Put
from p2phub.node.locate import ResolvedRelease
from p2phub.store.uploads import Kept

MAIN: Final = "main"
PULL_REQUEST: Final = "refs/pr/{}"
MAX_FILES: Final = 256
"""Files that one preupload asks about."""
MAX_CHANGES: Final = 100_000
"""Lines of a commit."""
REGULAR: Final = 5 << 20
"""Bytes up to which a text comes inside the commit."""
ATTRIBUTES: Final = "".join(
    f"*.{ending} filter=lfs diff=lfs merge=lfs -text\n"
    for ending in (
        "bin",
        "ckpt",
        "gguf",
        "h5",
        "onnx",
        "parquet",
        "pt",
        "pth",
        "safetensors",
        "zip",
    )
)
"""The first file of a new repo, as the Hub makes one."""
PREFIXES: Final[dict[Kind, str]] = {"model": "", "dataset": "datasets/", "space": "spaces/"}


class HubWriter:
    """Answers the calls that change a repo."""

    def __init__(self, node: NodeApi, gate: Gate) -> None:
        self._node, self._hub, self._gate = node, node.hub, gate

    def require(self, request: Request) -> None:
        """Raises `HttpError` (401, 403) unless the request shows a token of ours that may write."""
        self._gate.check_token(request.headers, "write")

    def name_of(self, repo: str) -> str:
        """The name of a repo of ours. Raises `RefusedError` for one of somebody else's."""
        identity = self._node.identity
        owner, slash, name = repo.rpartition("/")
        if identity.publisher_id is None:
            raise RefusedError(
                "this node has no publisher of its own yet", remedy="run `p2phub init --name NAME`"
            )
        if slash and owner not in (identity.alias, identity.publisher_id):
            raise RefusedError(
                f"this node publishes as {identity.alias or identity.publisher_id}, not as {owner}",
                remedy="write to a repo of your own",
            )
        return name

    @property
    def author(self) -> str:
        """The name under which this node writes."""
        identity = self._node.identity
        return identity.alias or identity.publisher_id or ""

    async def next_number(self, resolved: ResolvedRelease) -> int:
        """The number of a repo's next pull request or discussion."""
        kept = [each.number for each in await self._hub.discussions.every(resolved.repo)]
        return 1 + max((*numbers_of(resolved), *kept), default=0)

    # ------------------------------------------------------------ repos

    async def create(self, request: Request) -> ASGIApp:
        """`POST /api/repos/create`."""
        self.require(request)
        asked = await whole(request)
        name, owner = text(asked, "name"), asked.get("organization") or ""
        kind = asked.get("type") or "model"
        if kind not in KINDS or not isinstance(owner, str):
            raise UsageError(f"a repo is a {', a '.join(KINDS)}")
        if asked.get("private") or asked.get("visibility", "public") not in (None, "public"):
            raise UsageError(
                "what is published here is public, and a private repo was asked for",
                remedy="publish it from a node with a private network, or make it public",
            )
        name = self.name_of(f"{owner}/{name}" if owner else name)
        url = self._url(request, kind, name)
        try:
            await self._hub.find(self._called(name), None, kind)
        except NotFoundError:
            pass
        else:
            told = {"error": f"You already created this {kind} repo", "url": url}
            return JSONResponse(told, 409)
        first = Put((".gitattributes",), await self._keep(ATTRIBUTES.encode()))
        await self._hub.commit(CommitRequest(name, kind, "initial commit", (first,), new=True))
        return JSONResponse({"url": url, "name": self._called(name), "id": self._called(name)})

    def _called(self, name: str) -> str:
        identity = self._node.identity
        return f"{identity.alias or identity.publisher_id}/{name}"

    def _url(self, request: Request, kind: Kind, name: str) -> str:
        return f"{base_url(request)}/{PREFIXES[kind]}{self._called(name)}"

    # ------------------------------------------------------------ files

    async def preupload(self, request: Request, call: ApiCall) -> ASGIApp:
        """How each file is to be sent, and what is there in its place."""
        self.require(request)
        self.name_of(call.repo)
        asked = objects(await whole(request), "files", MAX_FILES)
        here = {file.path: file for file in await self._files(call)}
        return JSONResponse({"files": [_mode(each, here) for each in asked]})

    async def _files(self, call: ApiCall) -> tuple[FileEntry, ...]:
        """The files of what is written to. Raises `NoRevisionError`, `NotFoundError`."""
        return (await self._branch(call)).release.files

    async def _branch(self, call: ApiCall) -> ResolvedRelease:
        """The branch that a call writes to."""
        ref = call.rest[0] if call.rest else MAIN
        found = await self._hub.find(call.repo, ref, call.kind)
        if ref not in found.refs or found.refs[ref].tag:
            raise UsageError(f"{ref[:100]} is no branch", remedy=f"commit to {MAIN}")
        return found

    async def commit(self, request: Request, call: ApiCall) -> ASGIApp:
        """`POST /api/…/commit/main`: lines of JSON, the header first."""
        self.require(request)
        name = self.name_of(call.repo)
        branch, number = await self._branch(call), 0
        ref = call.rest[0] if call.rest else MAIN
        if request.query_params.get("create_pr") in ("1", "true", "True"):
            number = await self.next_number(branch)
            ref = PULL_REQUEST.format(number)
        header: dict[str, Any] = {}
        changes: list[Put | Drop] = []
        async with lines(request) as body:
            async for line in body:
                key, value = _keyed(line)
                if key == "header":
                    header = value
                    continue
                changes.append(await self._change(key, value))
                if len(changes) > MAX_CHANGES:
                    raise UsageError(f"a commit has at most {MAX_CHANGES} changes")
        message = "\n\n".join(
            filter(None, (text(header, "summary", ""), text(header, "description", "")))
        )
        parent = text(header, "parentCommit") if header.get("parentCommit") else None
        asked = CommitRequest(name, call.kind, message, tuple(changes), parent, ref=ref)
        made = await self._hub.commit(asked)
        url = self._url(request, call.kind, name)
        told = {"success": True, "commitUrl": f"{url}/commit/{made.commit}"}
        if number:
            told["pullRequestUrl"] = f"{url}/discussions/{number}"
        return JSONResponse(told | {"commitOid": made.commit})

    async def _change(self, key: str, value: dict[str, Any]) -> Put | Drop:
        path = text(value, "path")
        match key:
            case "file":
                return Put(_path(path), await self._keep(decoded(value)))
            case "lfsFile":
                return Put(_path(path), await self._sent(value))
            case "deletedFile" | "deletedEntry":
                return Drop(_path(path))
            case "deletedFolder":
                return Drop(_path(path.rstrip("/")), folder=True)
        raise UsageError(f'a commit has no lines of the kind "{key[:40]}"')

    async def _sent(self, value: dict[str, Any]) -> Kept:
        """A file that was sent before the commit."""
        digest = from_hexadecimal(text(value, "oid"))
        if value.get("algo", "sha256") != "sha256" or digest is None:
            raise UsageError("a large file is named by its SHA-256")
        kept = await self._hub.uploaded(digest, number(value, "size"))
        if kept is None:
            raise UsageError(
                f"the file {text(value, 'path')} was not sent before the commit",
                remedy="upload it again",
            )
        return kept

    async def _keep(self, data: bytes) -> Kept:
        async def body() -> AsyncIterator[bytes]:
            yield data

        return await self._hub.upload(len(data), sha256(data), body())


def base_url(request: Request) -> str:
    """Where this gateway is, as the client called it."""
    return f"{request.url.scheme}://{request.headers['host']}"


def _mode(asked: dict[str, Any], here: dict[FilePath, FileEntry]) -> dict[str, Any]:
    """The answer about one file of a preupload."""
    path, size, sample = text(asked, "path"), number(asked, "size"), text(asked, "sample", "")
    there = here.get(_path(path))
    regular = size <= REGULAR and _is_text(decoded({"content": sample}))
    oid = None
    if there is not None and regular:
        oid = there.git_sha1.hex() if there.git_sha1 else None
    elif there is not None:
        oid = there.sha256.hex()
    mode = "regular" if regular else "lfs"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}


def _is_text(sample: bytes) -> bool:
    """Whether a file that begins so looks like a text; a character may be cut at its end."""
    try:
        return b"\0" not in sample and (sample.decode() is not None)
    except UnicodeDecodeError as error:
        return error.start > len(sample) - 4 and error.reason == "unexpected end of data"


def _keyed(line: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    value = line.get("value")
    if not isinstance(value, dict):
        raise UsageError('a line of a commit is {"key": …, "value": {…}}')
    return text(line, "key"), value


def numbers_of(resolved: ResolvedRelease) -> list[int]:
    """The pull requests of a repo."""
    found = [name.removeprefix("refs/pr/") for name in resolved.refs if name.startswith("refs/pr/")]
    every = [int(each) for each in found if each.isascii() and each.isdigit() and len(each) < 9]
    return [number for number in every if number > 0]


def _path(path: str) -> FilePath:
    try:
        return parse_path(path)
    except UnsafePathError as error:
        raise HttpError(error, 400) from None
