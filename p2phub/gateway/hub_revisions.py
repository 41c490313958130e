"""Branches and tags of the Hugging Face Hub API, as refs of a repo.

    POST /api/…/{repo}/branch/{name}            {"startingPoint": revision}
    POST /api/…/{repo}/tag/{revision}           {"tag": name}

No ref can be deleted (`hub_removals`). Pull requests, which are refs too, are in `hub_discussions`.
"""

from starlette.requests import Request
from starlette.types import ASGIApp

from p2phub.errors import ParentMovedError, UsageError
from p2phub.formats.ids import check_new_ref
from p2phub.gateway.guard import HttpError
from p2phub.gateway.hub_bodies import text, whole
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.hub_writes import MAIN, HubWriter
from p2phub.gateway.ports import HubApi
from p2phub.node.committing import RefRequest


class HubRevisions:
    """Answers the calls about branches and tags."""

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
            raise conflict(f"{call.repo} has a revision {ref} already")
        await self.set(RefRequest(name, ref, found.commit, tag))
        return Told({})

    async def set(self, request: RefRequest) -> None:
        """Let a ref name a release. Raises `HttpError` (409) if somebody was faster."""
        try:
            await self._hub.set_revision(request)
        except ParentMovedError as error:
            raise HttpError(error, 409) from None


def conflict(message: str) -> HttpError:
    """What cannot be done as things are now: a 409."""
    return HttpError(UsageError(message), 409)
