"""The calls of the Hugging Face Hub API that delete, rename or hide, and why they are refused.

    DELETE /api/repos/delete                         {"name", "organization", "type"}
    POST   /api/repos/move                           {"fromRepo", "toRepo", "type"}
    POST   /api/…/{repo}/super-squash/{branch}
    PUT    /api/…/{repo}/settings                    {"private", "visibility", "gated", …}
    DELETE /api/…/{repo}/branch/{name}, …/tag/{name}

A publisher's index is joined from what several nodes of it wrote (`trust.merging`): it has no way
to say "no more", and what one index left out would come back with the next that has it. So nothing
is left out, and each of these calls is a 405 that tells a person what to do instead. Who may not
write, or means a repo that is not there, hears that first. Settings that hold already are fine.
"""

from typing import Any, Final, NoReturn

from starlette.requests import Request
from starlette.types import ASGIApp

from p2phub.errors import UsageError
from p2phub.formats.ids import KINDS
from p2phub.gateway.guard import HttpError
from p2phub.gateway.hub_bodies import text, whole
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.hub_writes import MAIN, HubWriter
from p2phub.gateway.ports import HubApi

STAYS: Final = "what a publisher's index has listed once stays in it"
HELD: Final[dict[str, tuple[object, ...]]] = {
    "private": (False, None),
    "visibility": ("public", None),
    "gated": (False, None),
}
"""The settings that every repo has, and their values."""


class HubRemovals:
    """Answers the calls that would take something away."""

    def __init__(self, hub: HubApi, writer: HubWriter) -> None:
        self._hub, self._writer = hub, writer

    async def delete(self, request: Request) -> ASGIApp:
        """A repo that is to be deleted."""
        self._writer.require(request)
        asked = await whole(request)
        name, owner = text(asked, "name"), asked.get("organization") or ""
        repo = await self._known(f"{owner}/{name}" if owner else name, asked)
        _refuse(
            f"{repo} cannot be deleted: {STAYS}, and other nodes may have it",
            f"take a release back with `p2phub key revoke --release {repo} --reason TEXT`, which"
            f" every node obeys; `p2phub rm {repo}` frees the room on this disk",
        )

    async def move(self, request: Request) -> ASGIApp:
        """A repo that is to get another name."""
        self._writer.require(request)
        asked = await whole(request)
        repo, to = await self._known(text(asked, "fromRepo"), asked), text(asked, "toRepo")
        _refuse(
            f"{repo} cannot be renamed: {STAYS}, and its releases are signed with their name",
            f"publish the files as {to[:200]}, and say in the README of {repo} where they are now",
        )

    async def squash(self, request: Request, call: ApiCall) -> ASGIApp:
        """A history that is to be forgotten."""
        self._writer.require(request)
        self._writer.name_of(call.repo)
        await self._hub.find(call.repo, call.rest[0] if call.rest else MAIN, call.kind)
        _refuse(
            f"the history of {call.repo} cannot be squashed: each release is signed with those"
            " before it",
            f"`p2phub rm {call.repo}@COMMIT` frees the room of one on this disk; pulls bring no"
            " old ones",
        )

    async def settings(self, request: Request, call: ApiCall) -> ASGIApp:
        """Settings, which are what every repo has, or are refused."""
        self._writer.require(request)
        self._writer.name_of(call.repo)
        await self._hub.find(call.repo, None, call.kind)
        for key, value in (await whole(request)).items():
            if key not in HELD or value not in HELD[key]:
                _refuse(
                    f'"{key[:40]}" of {call.repo} cannot be set: what is published here is public,'
                    " for everybody",
                    "take back what was published by mistake: `p2phub key revoke --release"
                    f" {call.repo} --reason TEXT`",
                )
        return Told({})

    async def revision(self, request: Request, call: ApiCall) -> ASGIApp:
        """A branch or a tag that is to be deleted."""
        self._writer.require(request)
        self._writer.name_of(call.repo)
        ref = "/".join(call.rest)
        await self._hub.find(call.repo, ref, call.kind)
        _refuse(
            f"{ref[:200]} of {call.repo} cannot be deleted: {STAYS}, so no revision can be deleted",
            "make another one, and say in the README which counts",
        )

    async def _known(self, repo: str, asked: dict[str, Any]) -> str:
        """A repo of ours. Raises `NotFoundError`, `RefusedError`, `UsageError`."""
        kind = asked.get("type") or "model"
        if kind not in KINDS:
            raise UsageError(f"a repo is a {', a '.join(KINDS)}")
        self._writer.name_of(repo)
        await self._hub.find(repo, None, kind)
        return repo


def _refuse(message: str, remedy: str) -> NoReturn:
    raise HttpError(UsageError(message, remedy=remedy), 405)
