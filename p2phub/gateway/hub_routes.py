"""The Hugging Face Hub API: what its unmodified clients ask when `HF_ENDPOINT` is here.

Anybody on this machine may read, whatever token is shown: people often have one of another hub,
which is neither looked at nor kept. There are no Xet headers, so that bytes come from here. What
changes a repo is in `hub_writes` and `hub_lfs`.

One route answers for the whole API. It matches the path as it was sent (`hub_paths`), and leaves
to others what it does not know.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from p2phub.errors import NoFileError, TooSlowError, UnsafePathError, UsageError
from p2phub.formats.card import metadata_from_readme
from p2phub.formats.paths import FilePath, parse_path
from p2phub.gateway import hub_answers as answers
from p2phub.gateway.control import BODY_PATIENCE
from p2phub.gateway.dialects import HUB, NoSuchPathError
from p2phub.gateway.guard import Gate, HttpError
from p2phub.gateway.hub_answers import About, Json
from p2phub.gateway.hub_discussions import HubDiscussions
from p2phub.gateway.hub_files import FileAnswer, offer_of
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_lfs import HubLfs
from p2phub.gateway.hub_paging import TRUE, expanded, paged
from p2phub.gateway.hub_paths import ApiCall, Call, FileCall, LfsCall, OtherCall, XetCall, parse
from p2phub.gateway.hub_preview import HubPreview
from p2phub.gateway.hub_removals import HubRemovals
from p2phub.gateway.hub_revisions import HubRevisions
from p2phub.gateway.hub_search import Listing
from p2phub.gateway.hub_upstream import HubUpstream
from p2phub.gateway.hub_writes import HubWriter
from p2phub.gateway.hub_xet import HubXet
from p2phub.gateway.listener import url_of
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.tokens import MadeToken, covers
from p2phub.node.locate import ResolvedRelease

PAGE: Final = 1000
"""Entries of a tree in one answer; a fifth of it with the last commits."""
COMMITS: Final = 50
"""Commits in one answer."""
MAX_PATHS: Final = 10_000
"""Paths that one call may ask about."""
OTHER_METHODS: Final = {
    "discussions": ("GET", "POST"),
    "settings": ("PUT",),
    "super-squash": ("POST",),
}
"""What the calls take that are about no files; branches and tags DELETE and POST."""
WITH_REVISION: Final = ("commits", "paths-info", "revision", "tree")


class HubRoute(BaseRoute):
    """Everything of the API, as one route of the gateway."""

    def __init__(self, node: NodeApi, gate: Gate) -> None:
        self._desk = HubDesk(node, gate)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        call = parse(scope["raw_path"]) if scope["type"] == "http" else None
        return (Match.NONE, {}) if call is None else (Match.FULL, {"hub_call": call})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._desk.answer(Request(scope, receive), scope["hub_call"])
        await answer(scope, receive, send)


class HubDesk:
    """Answers the calls of the API from one node."""

    def __init__(self, node: NodeApi, gate: Gate) -> None:
        self._node, self._hub, self._gate = node, node.hub, gate
        upstream = node.hub.upstream
        self._upstream = HubUpstream(node.hub, upstream, gate) if upstream else None
        self._writer = HubWriter(node, gate)
        self._xet = HubXet(node.hub, self._writer, gate.tokens[0].encode())
        self._lfs = HubLfs(node.hub, self._writer, gate.tokens[0].encode())
        self._writes: dict[str, Callable[[Request, ApiCall], Awaitable[ASGIApp]]] = {
            "commit": self._writer.commit,
            "preupload": self._writer.preupload,
        }
        self._removals = HubRemovals(node.hub, self._writer)
        revisions = HubRevisions(node.hub, self._writer)
        self._others: dict[str, Callable[[Request, ApiCall], Awaitable[ASGIApp]]] = {
            "branch": revisions.branch,
            "discussions": HubDiscussions(node.hub, self._writer, revisions).answer,
            "settings": self._removals.settings,
            "super-squash": self._removals.squash,
            "tag": revisions.tag,
        }
        self._verbs: dict[str, Callable[[Request, ApiCall], Awaitable[ASGIApp]]] = {
            "": self._info,
            "auth-check": self._auth_check,
            "commits": self._commits,
            "likers": self._likers,
            "paths-info": self._paths_info,
            "preview": HubPreview(node.hub, url_of(gate.listen), gate.tokens[0]).answer,
            "refs": self._refs,
            "revision": self._info,
            "safetensors-metadata": self._safetensors,
            "tree": self._tree,
            "xet-write-token": self._xet.token,
        }

    async def answer(self, request: Request, call: Call) -> ASGIApp:
        """The answer to a call. Raises what becomes an error of the API."""
        if self._upstream is not None and await self._upstream.means(request, call):
            return await self._upstream.answer(request, call, self._here)
        return await self._here(request, call)

    async def _here(self, request: Request, call: Call) -> ASGIApp:
        """The answer from what is here and with peers."""
        match call:
            case FileCall():
                _only(request, "GET", "HEAD")
                return await self._file(call)
            case XetCall():
                return await self._xet.answer(request, call)
            case LfsCall():
                _only(request, "POST")
                return await self._lfs.batch(request, call)
            case OtherCall():
                return await self._other(request, call)
        if not call.repo:
            _only(request, "GET")
            return await Listing(self._node, call.kind).answer(request)
        if call.verb in self._writes:
            _only(request, "POST")
            return await self._writes[call.verb](request, call)
        if call.verb in self._others:
            _only(request, *OTHER_METHODS.get(call.verb, ("DELETE", "POST")))
            if request.method == "DELETE":
                return await self._removals.revision(request, call)
            return await self._others[call.verb](request, call)
        verb = self._verbs.get(call.verb)
        if verb is None:
            raise _not_allowed(request)
        _only(request, "POST" if call.verb == "paths-info" else "GET")
        return await verb(request, call)

    # ------------------------------------------------------------ files

    async def _file(self, call: FileCall) -> ASGIApp:
        since = trio.current_time()
        path = _path(call.path)
        resolved = await self._hub.find(call.repo, call.revision, call.kind)
        for file in resolved.release.files:
            if file.path == path:
                return FileAnswer(offer_of(self._hub, resolved, file), since)
        answer = HUB.refusal(_no_file(call.repo, call.path))
        answer.headers["X-Repo-Commit"] = resolved.commit  # so that clients need not ask again
        return answer

    # ------------------------------------------------------------ repos

    async def _found(self, call: ApiCall) -> ResolvedRelease:
        """The release that a call is about; its revision comes first after the verb."""
        revision = call.rest[0] if call.rest and call.verb in WITH_REVISION else None
        return await self._hub.find(call.repo, revision, call.kind)

    async def _info(self, request: Request, call: ApiCall) -> ASGIApp:
        resolved = await self._found(call)
        query = request.query_params
        wanted = set(query.getlist("expand") + query.getlist("expand[]"))
        about = await self._about(resolved, wanted)
        told = answers.info(resolved, about, blobs=query.get("blobs") in TRUE)
        return Told(expanded(told, wanted))

    async def _about(self, resolved: ResolvedRelease, wanted: set[str]) -> About:
        """What the files tell. They are fetched only for who asks for just that."""
        readme = await self._hub.readme(resolved, fetch="cardData" in wanted)
        of_weights = bool(wanted & {"safetensors", "config"})
        described = await self._hub.described(resolved, fetch=of_weights)
        return About(metadata_from_readme(readme), described)

    async def _tree(self, request: Request, call: ApiCall) -> ASGIApp:
        below = _path("/".join(call.rest[1:])) if "".join(call.rest[1:]) else ()
        resolved = await self._found(call)
        query = request.query_params
        entries = answers.tree(resolved.release, below, recursive=query.get("recursive") in TRUE)
        expand = query.get("expand") in TRUE
        page, headers = paged(request, entries, PAGE // 5 if expand else PAGE)
        if expand:
            page = answers.with_last_commits(page, await self._hub.history(resolved))
        return Told(page, headers=headers)

    async def _paths_info(self, request: Request, call: ApiCall) -> ASGIApp:
        resolved = await self._found(call)
        asked = await _asked_paths(request)
        entries = answers.paths_info(
            resolved.release, filter(None, map(_path_or_none, asked.paths))
        )
        if asked.expand:
            entries = answers.with_last_commits(entries, await self._hub.history(resolved))
        return Told(entries)

    async def _refs(self, request: Request, call: ApiCall) -> ASGIApp:
        with_requests = request.query_params.get("include_prs") in TRUE
        resolved = await self._found(call)
        return Told(answers.refs(resolved, pull_requests=with_requests))

    async def _commits(self, request: Request, call: ApiCall) -> ASGIApp:
        resolved = await self._found(call)
        history = await self._hub.history(resolved)
        author = answers.repo_id(resolved.called).rpartition("/")[0]
        page, headers = paged(request, answers.commits(history, author), COMMITS)
        return Told(page, headers=headers)

    async def _safetensors(self, request: Request, call: ApiCall) -> ASGIApp:
        resolved = await self._hub.find(call.repo, None, call.kind)
        described = await self._hub.described(resolved, fetch=True)
        if described is None or not described.files:
            raise _no_file(call.repo, "/".join(call.rest))
        return Told(answers.safetensors_metadata(described))

    async def _auth_check(self, request: Request, call: ApiCall) -> ASGIApp:
        await self._hub.find(call.repo, None, call.kind)
        return Told({})

    async def _likers(self, request: Request, call: ApiCall) -> ASGIApp:
        await self._hub.find(call.repo, None, call.kind)
        return Told([])

    # ------------------------------------------------------------ the rest

    async def _other(self, request: Request, call: OtherCall) -> ASGIApp:
        match call.name, call.rest:
            case "lfs", _:
                return await self._lfs.answer(request, call)
            case "repos", ("create",):
                _only(request, "POST")
                return await self._writer.create(request)
            case "repos", ("delete",):
                _only(request, "DELETE")
                return await self._removals.delete(request)
            case "repos", ("move",):
                _only(request, "POST")
                return await self._removals.move(request)
            case "validate-yaml", ():
                _only(request, "POST")
                return Told({"errors": [], "warnings": []})
        _only(request, "GET", "HEAD")
        match call.name, call.rest:
            case "telemetry", _:
                return Response(status_code=204)
            case "agent-harnesses", ():
                return Told({"standardEnvVars": [], "harnesses": {}})
            case (("models-tags-by-type" | "datasets-tags-by-type" | "tasks"), ()):
                return Told({})
            case "whoami-v2", ():
                return Told(self._who(request))
            case (("users" | "organizations"), (name, "overview")):
                return Told({"user": name, "name": name, "fullname": name})
        raise NoSuchPathError(f"there is no {request.url.path[:200]} here")

    def _who(self, request: Request) -> Json:
        """Whoever asks is the publisher of this node; a token of ours may write or read."""
        shown = self._gate.shown_by(request.headers)
        role = (
            "write" if covers(self._gate.scope_of(request.headers) or "read", "write") else "read"
        )
        identity = self._node.identity
        name = identity.alias or "reader"
        token = shown.name if isinstance(shown, MadeToken) else name
        return {
            "type": "user",
            "id": identity.publisher_id or identity.peer_id,
            "name": name,
            "fullname": identity.name or name,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": token, "role": role}},
        }


# ---------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a call asks about some paths."""

    paths: list[str]
    expand: bool


async def _asked_paths(request: Request) -> _Asked:
    """The body of `paths-info`: a form, or JSON. Raises `UsageError`."""
    try:
        with trio.fail_after(BODY_PATIENCE):
            body = await request.body()
    except trio.TooSlowError:
        raise TooSlowError(f"the body did not arrive within {BODY_PATIENCE:g} seconds") from None
    if "json" in request.headers.get("content-type", ""):
        try:
            told = json.loads(body)
            paths, expand = told["paths"], told.get("expand", False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError('the body is not {"paths": […]}') from None
        paths = [paths] if isinstance(paths, str) else paths
        if not isinstance(paths, list) or not all(isinstance(each, str) for each in paths):
            raise UsageError('"paths" is no list of texts')
    else:
        form = QueryParams(body)
        paths, expand = form.getlist("paths"), form.get("expand")
    if len(paths) > MAX_PATHS:
        raise UsageError(f"{len(paths)} paths in one call; {MAX_PATHS} is the most")
    return _Asked(paths, expand in (*TRUE, True))


def _path(text: str) -> FilePath:
    """A path in a request. What can be no path of a release is in none."""
    try:
        return parse_path(text)
    except UnsafePathError as error:
        raise HttpError(error, 400) from None


def _path_or_none(text: str) -> FilePath | None:
    try:
        return parse_path(text.strip("/"))
    except UnsafePathError:
        return None


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise _not_allowed(request)


def _not_allowed(request: Request) -> HttpError:
    told = f"{request.url.path[:200]} does not take {request.method} here"
    return HttpError(UsageError(told, remedy="this hub has no such call"), 405)


def _no_file(repo: str, path: str) -> NoFileError:
    return NoFileError(f"{repo} has no file {path[:200]}", remedy="its tree lists its files")
