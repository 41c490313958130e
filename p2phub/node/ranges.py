"""Bring and read parts of files: byte ranges, and so single tensors, without the whole file.

Only the pieces that hold the wanted bytes are fetched. They lie in the partial file of their
content and are kept like those of an interrupted pull: over restarts, within the quota, and for the
pull that wants the rest. What is read was verified in the buffer it is read from; a piece that has
rotted is fetched again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2phub.errors import DamagedBlobError, NoFileError, NotFoundError
from p2phub.formats.ids import ContentId, Reference
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import parse_path
from p2phub.formats.ranges import MAX_READ, Range, check_ranges, covering
from p2phub.node.bring import bring_part
from p2phub.node.bring_state import Bringing
from p2phub.node.events import Event, Report
from p2phub.node.locate import ResolvedRelease, ref_of
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.pull import obey_policy
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.store.excerpt import read_excerpt
from p2phub.store.store import Store

ATTEMPTS = 3
"""How often a piece that rots, or is taken away, between coming and being read is brought again."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The wanted part of a file, found."""

    resolved: ResolvedRelease
    file: FileEntry
    ranges: tuple[Range, ...]


async def what_it_names(services: Services, reference: str) -> Named:
    """Which release a reference names now. Brings its documents, and none of its files.

    Raises `NotFoundError`, `UntrustedError`, `NoSourceError`.
    """
    resolved = await resolve(services, Reference.parse(reference))
    return Named(
        ref=resolved.called,
        commit=resolved.commit,
        publisher_id=str(resolved.repo.publisher),
        verdict=resolved.judgement.text,
    )


async def bring_ranges(services: Services, request: PartRequest, report: Report) -> PartHere:
    """Bring what is missing of some ranges of a file; any number of bytes.

    Raises `NotFoundError` for an unknown release or file, `UsageError` for ranges that are not in
    it, and what a pull raises.
    """
    part = await _find(services, request, report)
    bringing = None
    if not await services.on_disk(_is_here, services.store, part.file.content, part.ranges):
        bringing = await _bring(services, part, report)
    resolved = part.resolved
    return PartHere(
        ref=resolved.called,
        commit=resolved.commit,
        path="/".join(part.file.path),
        size=part.file.size,
        bytes_fetched=sum(bringing.brought.values()) if bringing else 0,
        bytes_linked=bringing.linked if bringing else 0,
    )


async def read_ranges(services: Services, request: PartRequest) -> bytes:
    """The bytes of some ranges of a file, one after another, fetched if they are not here.

    At most `MAX_READ` bytes. Raises as `bring_ranges` does.
    """
    part = await _find(services, request, _unheard, most=MAX_READ)
    store, content = services.store, part.file.content
    attempt = 0
    while True:
        try:
            return await services.on_disk(
                read_excerpt, store.blobs, store.partials, content, part.ranges
            )
        except (NotFoundError, DamagedBlobError):
            attempt += 1
            if attempt > ATTEMPTS:
                raise
        await _bring(services, part, _unheard)


async def _find(
    services: Services, request: PartRequest, report: Report, most: int | None = None
) -> _Part:
    path = parse_path(request.path)
    resolved = await resolve(services, Reference.parse(request.reference))
    await obey_policy(services, resolved, report)
    for file in resolved.release.files:
        if file.path == path:
            return _Part(resolved, file, check_ranges(request.ranges, file.size, most))
    raise NoFileError(
        f"{request.reference} has no file {request.path}", remedy="`p2phub ls REF` lists its files"
    )


async def _bring(services: Services, part: _Part, report: Report) -> Bringing:
    """Bring the pieces. The release is held from now on: `ls` shows it and `rm` drops it."""
    async with holding(services, part.resolved, part.file.content):
        return await bring_part(services, part.resolved, part.file, part.ranges, report)


@asynccontextmanager
async def holding(
    services: Services, resolved: ResolvedRelease, content: ContentId
) -> AsyncIterator[None]:
    """Bring something of a file in the block; what it brought stays, and so does its release."""
    await services.on_disk(_hold, services, resolved, content)
    services.traffic.pulls += 1
    try:
        yield
    except BaseException:
        with trio.CancelScope(shield=True):
            await services.on_disk(_let_go_if_empty, services.store, resolved)
        raise
    finally:
        services.traffic.pulls -= 1


def _hold(services: Services, resolved: ResolvedRelease, content: ContentId) -> None:
    repos = services.store.repos
    if repos.unreferenced([content]):
        revision = ref_of(resolved.refs, resolved.digest) or resolved.revision
        repos.pulling(resolved.digest, revision, services.now())


def _let_go_if_empty(store: Store, resolved: ResolvedRelease) -> None:
    """What brought nothing leaves no line in `ls`."""
    begun = set(store.partials.list())
    contents = [file.content for file in resolved.release.files]
    if not any(content in begun or store.blobs.has(content) for content in contents):
        store.repos.remove(resolved.digest)


def _is_here(store: Store, content: ContentId, ranges: tuple[Range, ...]) -> bool:
    """Whether every piece of these ranges is on this disk."""
    if not ranges or store.blobs.has(content):
        return True
    table = store.blobs.table(content)
    if table is None or content not in store.partials.list():
        return False
    partial = store.partials.open(content, table, part=0)
    try:
        runs = covering(table, ranges)
        return all(partial.have(i) for run in runs for i in range(run.first, run.first + run.count))
    finally:
        store.partials.close(partial)


def _unheard(event: Event) -> None:
    """Where the events of a call go that is answered in one piece."""
