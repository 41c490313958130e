"""Pull a repo of the upstream by its name there: its files come here, are recorded, and are pulled.

What is wanted of a commit is brought as any file of the upstream is (from here, from peers, from
it), signed as a record of our own publisher (`upstream_records`), and presented as the release that
the record is. While the upstream is away, a copy of somebody who is trusted is pulled instead.

>>> AT_ONCE
4
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol
from urllib.parse import quote

import trio

from p2phub.errors import (
    GarbageError,
    NoRevisionError,
    NotFoundError,
    RefusedError,
    RemoteError,
    UnsafePathError,
    UsageError,
    plain_errors,
)
from p2phub.formats.ids import KINDS, Kind, is_commit_id
from p2phub.formats.limits import MAX_FILE, MAX_FILES
from p2phub.formats.paths import FilePath, parse_path
from p2phub.network.hub_client import Question
from p2phub.node.events import FileDone, Planned, Report, Warned
from p2phub.node.locate import ResolvedRelease
from p2phub.node.progress import ProgressCounter, reporting
from p2phub.node.pull import check_target, pull, pull_resolved
from p2phub.node.selection import select
from p2phub.node.services import Services
from p2phub.node.upstream import ForeignFile, Said
from p2phub.node.upstream_desk import UpstreamDesk
from p2phub.node.upstream_names import copy_name
from p2phub.node.upstream_records import record
from p2phub.node.values import Pulled, PullRequest
from p2phub.store.incoming import WholeDigest
from p2phub.store.space import written_bytes
from p2phub.store.upstream import Origin

AT_ONCE: Final = 4
"""Files that are brought at once."""
LOOK_EVERY: Final = 0.25
"""Seconds between two looks at how far they are."""
MOST_PAGES: Final = 1000
_NEXT: Final = re.compile(r'<([^>]*)>; rel="next"')


class Hub(Protocol):
    """What is needed of a node's hub."""

    @property
    def upstream(self) -> UpstreamDesk | None: ...

    async def find(self, repo: str, revision: str | None, kind: Kind) -> ResolvedRelease: ...


async def pull_by_name(
    services: Services, hub: Hub, request: PullRequest, report: Report
) -> Pulled:
    """Pull what a name means: a release of a publisher, or a repo of the upstream.

    Raises what `pull` raises, and `UsageError` without a publisher of our own.
    """
    desk = hub.upstream
    repo, _, revision = request.reference.removeprefix("p2p://").partition("@")
    if desk is None or not await _is_its(desk, repo):
        return await pull(services, request, report)
    started = trio.current_time()
    if request.to is not None:
        await services.on_disk(check_target, request.to, services.store.layout.store)
    if await services.on_disk(services.store.documents.own_publisher) is None:
        raise UsageError(
            f"{repo} is a repo of the upstream, and what comes from there is recorded in a release"
            " that this machine signs",
            remedy="run `p2phub init` to become a publisher",
        )
    try:
        origin = await _named(desk, repo, revision or "main")
    except RemoteError as error:
        copy = await _copy(hub, repo, revision or None, error)
        return await pull_resolved(services, copy, request, report, started)
    await _bring(services, desk, await _wanted(desk, origin, request, report), report)
    release = await record(services, origin)
    if release is None:
        raise RefusedError(
            f"what comes of {repo} is recorded in a release, and those of this publisher take"
            " several signatures",
            remedy="pull it on a machine with a publisher of its own, or with `hf download`",
        )
    name = copy_name(origin.kind, origin.repo)
    resolved = await hub.find(name, release.commit, origin.kind)
    return await pull_resolved(services, resolved, request, report, started)


async def _is_its(desk: UpstreamDesk, repo: str) -> bool:
    try:
        return await desk.means(repo)
    except NotFoundError:
        return False  # what is wrong with the name is told by who pulls from peers


async def _copy(hub: Hub, repo: str, revision: str | None, error: RemoteError) -> ResolvedRelease:
    """A copy of somebody who is trusted, under its own name. Raises `error` if there is none."""
    for kind in KINDS:
        with suppress(NotFoundError, RemoteError):
            return replace(await hub.find(repo, revision, kind), shown="")
    raise error


async def _named(desk: UpstreamDesk, repo: str, revision: str) -> Origin:
    """The commit that a revision of a repo, of whatever kind, names at the upstream."""
    code = ""
    for kind in KINDS:
        said = await _asked(desk, kind, repo, f"revision/{quote(revision, safe='')}")
        code = said.reply.headers.get("x-error-code", "")
        if said.reply.status < 400:
            commit = _object(said.reply.body).get("sha")
            if not isinstance(commit, str) or not is_commit_id(commit):
                raise GarbageError(f"the upstream does not say at which commit {repo} is")
            return Origin(desk.endpoint, kind, repo, commit)
        if code != "RepoNotFound":
            break
    if code == "RepoNotFound":
        raise NotFoundError(
            f"neither the upstream nor anybody here has {repo}", remedy="check the spelling"
        )
    if code == "RevisionNotFound":
        raise NoRevisionError(f"{repo} has no revision {revision} at the upstream")
    raise RefusedError(
        f"the upstream does not give {repo} to everybody",
        remedy="`hf download` through the gateway (`p2phub env`) shows it your token",
    )


async def _wanted(
    desk: UpstreamDesk, origin: Origin, request: PullRequest, report: Report
) -> list[ForeignFile]:
    files, unsafe = await _listed(desk, origin)
    if unsafe:
        names = ", ".join(repr(path[:100]) for path in unsafe[:5])
        report(Warned(f"left out, because no release may have such a path: {names}"))
    wanted, pickles = select(list(files), request.include, request.exclude)
    if pickles:
        names = ", ".join("/".join(path) for path in pickles[:5])
        report(Warned(f"left out, because loading them runs code: {names}", "use --include"))
    if not wanted:
        raise UsageError(f"no file of {origin.repo} matches")
    return [files[path] for path in wanted]


async def _listed(
    desk: UpstreamDesk, origin: Origin
) -> tuple[dict[FilePath, ForeignFile], list[str]]:
    """The files of a commit, as its tree lists them on some pages; and paths that none can have."""
    found: dict[FilePath, ForeignFile] = {}
    unsafe: list[str] = []
    target = f"tree/{origin.commit}?recursive=true"
    for _ in range(MOST_PAGES):
        said = await _asked(desk, origin.kind, origin.repo, target)
        try:
            entries = json.loads(said.reply.body)
            files = [_file(origin, said, each) for each in entries if each["type"] == "file"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise GarbageError(f"the upstream does not list the files of {origin.repo}") from None
        for file in files:
            try:
                found[parse_path(file.path)] = file
            except UnsafePathError:
                unsafe.append(file.path)
        link = _NEXT.search(said.reply.headers.get("link", ""))
        below = f"/api/{origin.kind}s/{origin.repo}/"
        if link is None or len(found) > MAX_FILES:
            return found, unsafe
        target = link[1].removeprefix(desk.endpoint).removeprefix(below)
    raise GarbageError(f"the list of the files of {origin.repo} has no end")


def _file(origin: Origin, said: Said, entry: Any) -> ForeignFile:
    """A line of a tree. Raises what a wrong one leads to."""
    path, size, lfs = str(entry["path"]), entry["size"], entry.get("lfs") or {}
    digest = bytes.fromhex(lfs.get("oid") or entry["oid"])
    if type(size) is not int or not 0 <= size <= MAX_FILE or len(digest) not in (20, 32):
        raise ValueError(entry)
    prefix = "" if origin.kind == "model" else f"{origin.kind}s/"
    url = f"{origin.endpoint}/{prefix}{origin.repo}/resolve/{origin.commit}/{quote(path)}"
    wanted = WholeDigest(digest, size)
    return ForeignFile(
        origin.endpoint, origin.kind, origin.repo, origin.commit, path, wanted, url, said
    )


async def _asked(desk: UpstreamDesk, kind: Kind, repo: str, rest: str) -> Said:
    return await desk.ask(kind, repo, Question(f"/api/{kind}s/{repo}/{rest}"), None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    return told if isinstance(told, dict) else {}


# ---------------------------------------------------------------- bytes


async def _bring(
    services: Services, desk: UpstreamDesk, files: Sequence[ForeignFile], report: Report
) -> None:
    """All of these files, a few at once."""
    total = sum(file.wanted.size for file in files)
    here = sum([file.wanted.size for file in files if await desk.is_here(file)])
    report(Planned(len(files), total, here, total - here))
    todo, active = iter(files), list[ForeignFile]()

    async def work() -> None:
        for file in todo:
            active.append(file)
            async with desk.reading(file, 0, 0):
                pass
            active.remove(file)
            done.append(file.wanted.size)
            report(FileDone(file.path, file.wanted.size))

    async def look(counter: ProgressCounter) -> None:
        while True:
            await trio.sleep(LOOK_EVERY)
            counter.done = sum(done) + await services.on_disk(_written, services, tuple(active))

    done: list[int] = []
    async with reporting(total, report) as counter:
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look, counter)
                async with trio.open_nursery() as workers:
                    for _ in range(min(AT_ONCE, len(files))):
                        workers.start_soon(work)
                nursery.cancel_scope.cancel()
        counter.done = total


def _written(services: Services, files: Sequence[ForeignFile]) -> int:
    """Bytes of files that are on their way."""
    folder = services.store.layout.upstream
    return sum(min(each.wanted.size, written_bytes(folder / str(each.wanted))) for each in files)
