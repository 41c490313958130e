"""Branches, tags and pull requests of the Hugging Face Hub API, as refs of a repo.

    POST /api/…/{repo}/branch/{name}            {"startingPoint": revision}
    POST /api/…/{repo}/tag/{revision}           {"tag": name}
    GET  /api/…/{repo}/discussions[/{number}]   pull requests only
    POST /api/…/{repo}/discussions              {"title": …, "pullRequest": true}
    POST /api/…/{repo}/discussions/{number}/merge

A pull request is the branch `refs/pr/{number}`. What it is called and whether it is merged is told
from its releases: nothing else is kept of it, so there are no comments and no discussions without
one. It is merged where `main` has not moved on since. No ref can be
deleted (`hub_removals`).
"""

from starlette.requests import Request
from starlette.types import ASGIApp

from p2phub.errors import NotFoundError, ParentMovedError, UsageError
from p2phub.formats.ids import check_new_ref, commit_id
from p2phub.gateway.guard import HttpError
from p2phub.gateway.hub_answers import Json, iso, title
from p2phub.gateway.hub_bodies import text, whole
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.hub_writes import MAIN, PULL_REQUEST, HubWriter, next_pull_request
from p2phub.gateway.ports import HubApi
from p2phub.node.committing import RefRequest
from p2phub.node.locate import ResolvedRelease


class HubRevisions:
    """Answers the calls about branches, tags and pull requests."""

    def __init__(self, hub: HubApi, writer: HubWriter) -> None:
        self._hub, self._writer = hub, writer

    async def branch(self, request: Request, call: ApiCall) -> ASGIApp:
        """Make a branch."""
        name = self._begin(request, call)
        start = (await whole(request)).get("startingPoint") or MAIN
        if not isinstance(start, str):
            raise UsageError('"startingPoint" is no text')
        return await self._new(call, name, "/".join(call.rest), start, tag=False)

    async def tag(self, request: Request, call: ApiCall) -> ASGIApp:
        """Make a tag."""
        name = self._begin(request, call)
        tag = text(await whole(request), "tag")
        return await self._new(call, name, tag, "/".join(call.rest) or MAIN, tag=True)

    def _begin(self, request: Request, call: ApiCall) -> str:
        self._writer.require(request)
        if not call.rest:
            raise UsageError("which revision is not said")
        return self._writer.name_of(call.repo)

    async def _new(self, call: ApiCall, name: str, ref: str, start: str, *, tag: bool) -> ASGIApp:
        check_new_ref(ref)
        found = await self._hub.find(call.repo, start, call.kind)
        if ref in found.refs:
            raise _conflict(f"{call.repo} has a revision {ref} already")
        await self._set(RefRequest(name, ref, found.commit, tag))
        return Told({})

    async def _set(self, request: RefRequest) -> None:
        try:
            await self._hub.set_revision(request)
        except ParentMovedError as error:
            raise HttpError(error, 409) from None

    # ------------------------------------------------------------ pull requests

    async def discussions(self, request: Request, call: ApiCall) -> ASGIApp:
        """Look at them, begin one, or merge one."""
        match request.method, call.rest:
            case "GET", ():
                found = await self._hub.find(call.repo, None, call.kind)
                every = [await self._told(call, number) for number in numbers_of(found)]
                return Told({"discussions": every, "count": len(every), "start": 0})
            case "GET", (number,):
                told = await self._told(call, self._known(number))
                more = {"events": [], "filesWithConflicts": False, "diff": ""}
                return Told(told | more | {"changes": {"base": "refs/heads/main"}})
            case "POST", ():
                return await self._open(request, call)
            case "POST", (number, "merge"):
                return await self._merge(request, call, self._known(number))
        raise UsageError(
            "this hub keeps no comments, titles or states of discussions",
            remedy="speak to the publisher elsewhere",
        )

    def _known(self, number: str) -> int:
        if not (number.isascii() and number.isdigit() and len(number) < 9):
            raise NotFoundError(f"there is no discussion {number[:20]}")
        return int(number)

    async def _told(self, call: ApiCall, number: int) -> Json:
        """What the releases of a pull request say of it."""
        main = await self._hub.find(call.repo, None, call.kind)
        ref = main.refs.get(PULL_REQUEST.format(number))
        if ref is None:
            raise NotFoundError(f"{call.repo} has no pull request {number}")
        change = await self._hub.find(call.repo, commit_id(ref.release), call.kind)
        past = [each.digest for each in await self._hub.history(main)]
        return {
            "num": number,
            "title": title(change.release.message),
            "author": {"name": call.repo.rpartition("/")[0]},
            "createdAt": iso(change.release.created),
            "status": "merged" if ref.release in past else "open",
            "repo": {"name": call.repo, "type": call.kind},
            "isPullRequest": True,
        }

    async def _open(self, request: Request, call: ApiCall) -> ASGIApp:
        """A pull request that changes nothing yet."""
        self._writer.require(request)
        name = self._writer.name_of(call.repo)
        asked = await whole(request)
        if asked.get("pullRequest") is not True:
            raise UsageError("this hub has pull requests, and no other discussions")
        main = await self._hub.find(call.repo, None, call.kind)
        number = next_pull_request(main)
        await self._set(RefRequest(name, PULL_REQUEST.format(number), main.commit))
        return Told({"num": number, "pullRequest": True})

    async def _merge(self, request: Request, call: ApiCall, number: int) -> ASGIApp:
        """Let `main` name its release, if it follows what `main` names now."""
        self._writer.require(request)
        name = self._writer.name_of(call.repo)
        main = await self._hub.find(call.repo, None, call.kind)
        ref = main.refs.get(PULL_REQUEST.format(number))
        if ref is None:
            raise NotFoundError(f"{call.repo} has no pull request {number}")
        change = await self._hub.find(call.repo, commit_id(ref.release), call.kind)
        if main.digest not in [past.digest for past in await self._hub.history(change)]:
            raise _conflict(f"main has moved on since pull request {number} was made")
        await self._set(RefRequest(name, MAIN, change.commit, expected=main.commit))
        return Told({})


def numbers_of(resolved: ResolvedRelease) -> list[int]:
    """The pull requests of a repo, the newest first."""
    found = [name.removeprefix("refs/pr/") for name in resolved.refs if name.startswith("refs/pr/")]
    return sorted((int(each) for each in found if each.isdigit()), reverse=True)


def _conflict(message: str) -> HttpError:
    return HttpError(UsageError(message), 409)
