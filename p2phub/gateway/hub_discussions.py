"""Discussions and pull requests of the Hugging Face Hub API.

    GET  /api/…/{repo}/discussions[/{number}]             ?type, status, author, p
    POST /api/…/{repo}/discussions                        {"title", "description", "pullRequest"}
    POST /api/…/{repo}/discussions/{number}/comment       {"comment"}
    POST /api/…/{repo}/discussions/{number}/comment/{id}/edit | hide
    POST /api/…/{repo}/discussions/{number}/title         {"title"}
    POST /api/…/{repo}/discussions/{number}/status        {"status", "comment"}
    POST /api/…/{repo}/discussions/{number}/merge         {"comment"}

A pull request is the branch `refs/pr/{number}`: signed, told of to everybody, and merged where
`main` has not moved on since. Titles, comments and whether something is closed are notes of this
node, which goes to nobody (`store.discussions`), so only its own repos have any; without a title
one is called as its newest commit. Both count in one row of numbers. Should another node of this
publisher begin a pull request under the number of a discussion, the pull request is what is shown,
with the notes of both.
"""

import html
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import commit_id
from p2phub.gateway.guard import HttpError
from p2phub.gateway.hub_answers import Json, iso, title
from p2phub.gateway.hub_bodies import text, whole
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.hub_revisions import HubRevisions, conflict
from p2phub.gateway.hub_writes import MAIN, PULL_REQUEST, HubWriter, numbers_of
from p2phub.gateway.ports import HubApi
from p2phub.node.committing import RefRequest
from p2phub.node.hub import Past
from p2phub.node.locate import ResolvedRelease
from p2phub.store.discussions import Discussion, Note

PAGE: Final = 50
"""Discussions in one answer."""
CLOSED: Final = ("closed", "merged")


class HubDiscussions:
    """Answers the calls about discussions."""

    def __init__(self, hub: HubApi, writer: HubWriter, revisions: HubRevisions) -> None:
        self._hub, self._writer, self._revisions = hub, writer, revisions

    async def answer(self, request: Request, call: ApiCall) -> ASGIApp:
        """Look at them, or write."""
        if request.method == "GET":
            main = await self._hub.find(call.repo, None, call.kind)
            if not call.rest:
                return await self._list(request, call, main)
            return Told(await self._whole(call, main, _number(call)))
        self._writer.require(request)
        self._writer.name_of(call.repo)
        main = await self._hub.find(call.repo, None, call.kind)
        asked = await whole(request)
        if not call.rest:
            return await self._open(call, main, asked)
        number = _number(call)
        kept = await self._kept(main, number)
        told = await self._told(call, main, await self._past(main), number, kept)
        match call.rest[1:]:
            case ("comment",):
                note = await self._note(main, number, text(asked, "comment"))
                return Told({"newMessage": note})
            case ("comment", id, "edit"):
                return await self._edit(main, number, id, text(asked, "content"))
            case ("comment", id, "hide"):
                return await self._edit(main, number, id, None)
            case ("title",):
                return await self._rename(main, told, text(asked, "title").strip())
            case ("status",):
                return await self._set_status(main, told, asked)
            case ("merge",):
                return await self._merge(call, main, told, asked)
        raise HttpError(UsageError("discussions here take no such call"), 405)

    # ------------------------------------------------------------ look

    async def _list(self, request: Request, call: ApiCall, main: ResolvedRelease) -> ASGIApp:
        query = request.query_params
        page = query.get("p", "0")
        start = int(page) * PAGE if page.isascii() and page.isdigit() and len(page) < 6 else 0
        kept = {each.number: each for each in await self._hub.discussions.every(main.repo)}
        requests = numbers_of(main)
        local = [number for number, each in kept.items() if not each.pull_request]
        numbers = sorted({*requests, *local}, reverse=True)
        past = await self._past(main)
        every = [await self._told(call, main, past, number, kept.get(number)) for number in numbers]
        wanted = [each for each in every if _is_wanted(each, query)]
        shown = wanted[start : start + PAGE]
        return Told({"discussions": shown, "count": len(wanted), "start": start})

    async def _kept(self, main: ResolvedRelease, number: int) -> Discussion | None:
        return await self._hub.discussions.get(main.repo, number)

    async def _past(self, main: ResolvedRelease) -> set[bytes]:
        """The releases that `main` has named."""
        return {each.digest for each in await self._hub.history(main)}

    async def _told(
        self,
        call: ApiCall,
        main: ResolvedRelease,
        past: set[bytes],
        number: int,
        kept: Discussion | None,
    ) -> Json:
        """What a list tells of one. Raises `NotFoundError`."""
        told: Json = {
            "num": number,
            "repo": {"name": call.repo, "type": call.kind},
            "author": {"name": call.repo.rpartition("/")[0]},
        }
        ref = main.refs.get(PULL_REQUEST.format(number))
        if ref is None:
            if kept is None or kept.pull_request:
                raise NotFoundError(f"{call.repo} has no discussion {number}")
            told |= {"title": kept.title, "status": kept.status, "isPullRequest": False}
            return told | {"author": {"name": kept.author}, "createdAt": iso(kept.created)}
        change = await self._change(call, main, number)
        # One that changes nothing yet is where `main` was, and was set after it.
        merged = ref.release in past and main.refs[MAIN].seq > ref.seq
        status = "merged" if merged else (kept.status if kept else "") or "open"
        called = (kept.title if kept else "") or title(change.release.message)
        told |= {"title": called, "status": status, "isPullRequest": True}
        created = kept.created if kept is not None else change.release.created
        return told | {"createdAt": iso(created)}

    async def _change(self, call: ApiCall, main: ResolvedRelease, number: int) -> ResolvedRelease:
        """The release that a pull request brings."""
        release = main.refs[PULL_REQUEST.format(number)].release
        return await self._hub.find(call.repo, commit_id(release), call.kind)

    async def _whole(self, call: ApiCall, main: ResolvedRelease, number: int) -> Json:
        """Everything about one."""
        kept = await self._kept(main, number)
        told = await self._told(call, main, await self._past(main), number, kept)
        events = [_event(note) for note in (kept.notes if kept is not None else ())]
        if not told["isPullRequest"]:
            return told | {"events": events}
        change = await self._change(call, main, number)
        history = await self._hub.history(change)
        follows = main.digest in [past.digest for past in history]
        merged = told["status"] == "merged"
        changes = {"base": "refs/heads/main"} | ({"mergeCommitId": change.commit} if merged else {})
        shown = _commit_event(Past(change.digest, change.release), told["author"])
        return told | {
            "events": [shown, *events],
            "filesWithConflicts": not follows and not merged,
            "diff": "",
            "changes": changes,
        }

    # ------------------------------------------------------------ write

    async def _open(self, call: ApiCall, main: ResolvedRelease, asked: dict[str, Any]) -> ASGIApp:
        """A discussion, or a pull request that changes nothing yet."""
        called, said = text(asked, "title").strip(), text(asked, "description", "").strip()
        of_change = asked.get("pullRequest") is True
        least = await self._writer.next_number(main)
        author = self._writer.author
        begin = self._hub.discussions.begin
        if not of_change:
            number = await begin(main.repo, least, called, author, pull_request=False)
        else:
            name = self._writer.name_of(call.repo)
            ref = PULL_REQUEST.format(least)
            await self._revisions.set(RefRequest(name, ref, main.commit))
            number = await begin(main.repo, least, called, author, pull_request=True)
        if said:
            await self._note(main, number, said)
        return Told({"num": number, "pullRequest": of_change})

    async def _note(self, main: ResolvedRelease, number: int, said: str) -> Json:
        discussions = self._hub.discussions
        note = await discussions.add(main.repo, number, "comment", self._writer.author, said)
        return _event(note)

    async def _edit(self, main: ResolvedRelease, number: int, id: str, said: str | None) -> ASGIApp:
        note = await self._hub.discussions.edit(main.repo, number, id, said)
        return Told({"updatedComment": _event(note)})

    async def _rename(self, main: ResolvedRelease, told: Json, called: str) -> ASGIApp:
        discussions, number = self._hub.discussions, told["num"]
        author = self._writer.author
        note = await discussions.add(main.repo, number, "title", author, called, told["title"])
        return Told({"newTitle": _event(note)})

    async def _set_status(
        self, main: ResolvedRelease, told: Json, asked: dict[str, Any]
    ) -> ASGIApp:
        status, number = text(asked, "status"), told["num"]
        if status not in ("open", "closed"):
            raise UsageError("a discussion is open or closed")
        if told["status"] in ("merged", status):
            raise conflict(f"{number} is {told['status']} already")
        if asked.get("comment"):
            await self._note(main, number, text(asked, "comment"))
        author = self._writer.author
        note = await self._hub.discussions.add(main.repo, number, "status", author, status)
        return Told({"newStatus": _event(note)})

    async def _merge(
        self, call: ApiCall, main: ResolvedRelease, told: Json, asked: dict[str, Any]
    ) -> ASGIApp:
        """Let `main` name its release, if it follows what `main` names now."""
        number, name = told["num"], self._writer.name_of(call.repo)
        if not told["isPullRequest"]:
            raise UsageError(f"{number} is a discussion, which changes nothing that can be merged")
        if told["status"] == "closed":
            raise conflict(f"pull request {number} is closed")
        change = await self._change(call, main, number)
        if main.digest not in [past.digest for past in await self._hub.history(change)]:
            raise conflict(f"main has moved on since pull request {number} was made")
        await self._revisions.set(RefRequest(name, MAIN, change.commit, expected=main.commit))
        if asked.get("comment"):
            await self._note(main, number, text(asked, "comment"))
        author = self._writer.author
        await self._hub.discussions.add(main.repo, number, "status", author, "merged")
        return Told({})


def _number(call: ApiCall) -> int:
    number = call.rest[0]
    if not (number.isascii() and number.isdigit() and len(number) < 9 and int(number)):
        raise NotFoundError(f"there is no discussion {number[:20]}")
    return int(number)


def _is_wanted(told: Json, query: Any) -> bool:
    """Whether a discussion passes the filters of a call."""
    kind, status, author = query.get("type"), query.get("status"), query.get("author")
    of_kind = {"pull_request": True, "discussion": False}.get(kind, told["isPullRequest"])
    return (
        told["isPullRequest"] == of_kind
        and (status not in ("open", "closed") or (status == "closed") == (told["status"] in CLOSED))
        and author in (None, "", told["author"]["name"])
    )


def _event(note: Note) -> Json:
    """A note as the Hub tells of an event."""
    told: Json = {
        "id": note.id,
        "createdAt": iso(note.created),
        "author": {"name": note.author},
    }
    match note.kind:
        case "title":
            return told | {"type": "title-change", "data": {"from": note.was, "to": note.text}}
        case "status":
            return told | {"type": "status-change", "data": {"status": note.text}}
    latest = {
        "raw": note.text,
        "html": f"<p>{html.escape(note.text)}</p>",
        "updatedAt": iso(note.edited or note.created),
        "author": {"name": note.author},
    }
    edits = {"edited": note.edited > 0, "hidden": note.hidden, "numEdits": int(note.edited > 0)}
    return told | {"type": "comment", "data": edits | {"latest": latest, "history": [latest]}}


def _commit_event(past: Past, author: Json) -> Json:
    """The newest release of a pull request as the Hub tells of an event."""
    data = {"subject": title(past.release.message), "oid": past.commit}
    made = iso(past.release.created)
    return {
        "id": past.commit,
        "type": "commit",
        "createdAt": made,
        "author": author,
        "data": data,
    }
