"""Signed records of what was seen at an upstream: releases that say whose copies they are.

When files of a commit were fetched and checked, and a little time has passed without another, this
node's publisher signs a release of them: seen at this upstream, in this repo, at this commit, with
these digests. Peers fetch it as any release, and read what the upstream has while it is away; the
signature is worth what its publisher's word is worth to them. A release has the files that were
fetched by then, and the next one of the same commit has those and more.

A node without a publisher, or one whose releases take several signatures, keeps no records.

>>> QUIET < MOST_QUIET
True
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from p2phub.errors import NotFoundError, P2PHubError, UnsafePathError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_FILES
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.manifest import Upstream as SeenAt
from p2phub.formats.paths import FilePath, check_unique, parse_path
from p2phub.node.author import author_of, own_delegation
from p2phub.node.drafting import Draft
from p2phub.node.events import Event
from p2phub.node.ingesting import card_of
from p2phub.node.listing import release_of
from p2phub.node.own_history import base_of
from p2phub.node.own_index import on_newest
from p2phub.node.publish import Outcome, announce, come_up_to_date, sign_and_keep
from p2phub.node.services import Services
from p2phub.node.upstream_names import copy_name
from p2phub.node.values import PublishRequest
from p2phub.protocol.seeds import host_of
from p2phub.store.upstream import Origin
from p2phub.trust.merging import MAIN

log = logging.getLogger(__name__)
QUIET: Final = 5.0
"""Seconds without another file of a commit after which it is recorded."""
MOST_QUIET: Final = 60.0
"""Seconds after the first file, at most."""


class Records:
    """Makes them. `run` has to run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._first: dict[Origin, float] = {}
        """When a file came that no record has, by trio's clock."""
        self._last: dict[Origin, float] = {}
        self._news = trio.Event()

    def noted(self, origin: Origin) -> None:
        """Another file of a commit is here."""
        now = trio.current_time()
        self._first.setdefault(origin, now)
        self._last[origin] = now
        self._news.set()

    async def run(self) -> None:
        """Record what is due, for ever."""
        while True:
            self._news = trio.Event()
            due = min(map(self._due, self._last), default=float("inf"))
            with trio.move_on_at(due):
                await self._news.wait()
            for origin in [each for each in self._last if self._due(each) <= trio.current_time()]:
                del self._first[origin], self._last[origin]
                await self._record(origin)

    def _due(self, origin: Origin) -> float:
        return min(self._last[origin] + QUIET, self._first[origin] + MOST_QUIET)

    async def _record(self, origin: Origin) -> None:
        try:
            await record(self._services, origin)
        except P2PHubError as error:
            log.warning("no record of %s was signed: %s", origin.repo, error.message)


async def record(services: Services, origin: Origin) -> Release | None:
    """Sign what is here of a commit; None without a publisher that can.

    Raises what `publish` raises.
    """
    try:
        own = (await services.on_disk(author_of, services)).publisher
    except (NotFoundError, UsageError):
        return None
    if (await services.on_disk(own_delegation, services)).threshold > 1:
        return None
    async with services.signing:
        await come_up_to_date(services, own, copy_name(origin.kind, origin.repo))
        made = await on_newest(services, own, partial(_signed, services, own, origin))
    await trio.lowlevel.checkpoint()  # who is told may be gone by now, if the node stops
    await announce(services, own, made.digest, made.release)
    return made.release


def _signed(services: Services, own: PublisherId, origin: Origin) -> Outcome:
    name = copy_name(origin.kind, origin.repo)
    seen_at = SeenAt(origin.endpoint, origin.repo, origin.commit)
    main = release_of(services, own, base_of(services, own).entry(name))
    before = main[1].files if main is not None and main[1].upstream == seen_at else ()
    files = _files(services, origin, before)
    host = host_of(origin.endpoint)
    message = f"{len(files)} files of {origin.repo}, as seen at {host}"
    asked = PublishRequest(Path(), name, message, kind=origin.kind)
    card = card_of(services, files, _ignore)
    draft = Draft(asked, message, (), files, card, (), MAIN, seen_at)
    return sign_and_keep(services, own, draft, _ignore)


def _files(
    services: Services, origin: Origin, before: Sequence[FileEntry]
) -> tuple[FileEntry, ...]:
    """Those of the last record of the same commit, and those that are here now. What has a path
    that no release may have is left out.
    """
    found: dict[FilePath, FileEntry] = {file.path: file for file in before}
    names = {_folded(path) for path in found}
    for seen in services.store.upstream.files(origin)[:MAX_FILES]:
        path = _path(seen.path)
        if path is None or _folded(path) in names or not services.store.blobs.has(seen.content):
            continue
        names.add(_folded(path))
        found[path] = FileEntry(path, seen.content.size, seen.sha256, seen.content, seen.git_sha1)
    return tuple(found[path] for path in sorted(found))


def _path(text: str) -> FilePath | None:
    try:
        path = parse_path(text)
        check_unique([path])
    except UnsafePathError:
        return None
    return path


def _folded(path: FilePath) -> FilePath:
    return tuple(part.casefold() for part in path)


def _ignore(event: Event) -> None:
    """Nobody waits for what is told meanwhile."""
