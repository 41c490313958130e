"""Write a load onto a medium: every document, then its share of the pieces, then what it claims.

Documents go along with every part of an export, so that any of them can be begun with. A piece is
hashed when it is read, before it is written; one that is on the medium already is not read.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from p2phub.airgap.onefile import is_one_file
from p2phub.airgap.sealed import Seal
from p2phub.airgap.turns import writing
from p2phub.airgap.volume import FOLDER
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import DamagedBlobError
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.publisher import Index, Page
from p2phub.node.cargo import Cargo, Slices, table_of
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import ResolvedRelease
from p2phub.node.resolve import HISTORY
from p2phub.node.services import Services
from p2phub.node.sites import site_key
from p2phub.store.disk import Progress, read_into
from p2phub.store.store import Store


@dataclass(frozen=True, slots=True)
class Load:
    """One part of an export: what one medium takes."""

    cargo: Cargo
    contents: Contents
    room: int | None = None
    """Bytes of pieces and their rows in one part; None: all go on this medium."""
    size: int = 0
    """Bytes of the pieces of this part."""
    limit: int | None = None
    """Bytes of all that is in one part; None: no limit."""
    seal: Seal | None = None
    """Whom it is sealed to; None: it is not."""


@asynccontextmanager
async def alone_at(services: Services, path: Path) -> AsyncIterator[None]:
    """Nobody else reads or writes the bundle in `path`, which is begun if need be.

    Raises `BusyError`, `NoSpaceError`, `RefusedError`.
    """
    if not is_one_file(path):
        await services.on_disk(services.store.disk.make_folder, path / FOLDER)
    with writing(path):
        yield


def stow(services: Services, path: Path, load: Load, progress: Progress) -> int:
    """Put all of it on the medium at `path`; how many bytes were not there before.

    `progress` is told of pieces that are on the medium, and were read back if they were not before.
    Raises `DamagedBlobError`, `NoSpaceError`, `RefusedError`, `WrongBytesError` for a medium that
    does not hold what was written.
    """
    store, cargo = services.store, load.cargo
    slices = Slices(load.room, cargo.only)
    with BundleWriter(path, store.disk, _cancellable(progress), load.seal) as into:
        for file in cargo.files:
            _put_pieces(store, into, file, slices, load.contents.part, progress)
        for digest, data in documents_of(services, cargo):
            into.put("documents", digest, data)
        into.finish(load.contents)
        return into.written


def _cancellable(progress: Progress) -> Progress:
    """The same, in a thread of trio's that may be told to end."""

    def told(count: int) -> None:
        trio.from_thread.check_cancelled()
        progress(count)

    return told


def contents_of(services: Services, cargo: Cargo, sites: tuple[bytes, ...] = ()) -> Contents:
    """What a medium with all of it says of itself. `sites`: whom it is for; empty: anybody."""
    documents, knowledge = services.store.documents, services.knowledge
    heads: list[bytes] = []
    notices: list[bytes] = []
    for publisher in cargo.publishers:
        digest = documents.head(publisher)
        head = documents.get(digest) if digest is not None else None
        heads += [head] if head is not None else []
        notices += knowledge.notices(publisher)
    releases = tuple(
        Meant(
            each.repo.publisher.digest,
            each.repo.name,
            each.release.kind,
            each.digest,
            sum(file.size for file in each.release.files),
        )
        for each in cargo.releases
    )
    now, site = services.now(), site_key(services)
    return Contents(now, tuple(heads), tuple(notices), releases, site, tuple(sorted(sites)))


def documents_of(services: Services, cargo: Cargo) -> Iterator[tuple[bytes, bytes]]:
    """Every document that goes along, under the digest that it is asked for by; some twice."""
    store, knowledge = services.store, services.knowledge
    for publisher in cargo.publishers:
        state = knowledge.state(publisher)
        if state is not None:
            yield from _read(store, _index(knowledge, state.index))
    for each in cargo.releases:
        yield from _read(store, _history(knowledge, each))
    for file in cargo.files:
        if file.content.has_table:
            yield file.content.digest, table_of(store, file).pack()


def _put_pieces(
    store: Store,
    into: BundleWriter,
    file: FileEntry,
    slices: Slices,
    part: int,
    progress: Progress,
) -> None:
    """The pieces of a file that belong to this part. `progress`: of those that are there."""
    content, blobs, table = file.content, store.blobs, table_of(store, file)
    buffer = memoryview(bytearray(min(MAX_PIECE, max(content.size, 1))))
    with blobs.opened(content) as fd:
        for index in range(table.count):
            trio.from_thread.check_cancelled()
            digest, piece = table.digest(index), buffer[: table.length(index)]
            if slices.part_of(digest, len(piece)) != part:
                continue
            if into.has("pieces", digest):
                progress(len(piece))
                continue
            got = read_into(fd, piece, table.offset(index), blobs.path(content))
            if not table.check(index, piece[:got]):
                blobs.verify(content)
                raise DamagedBlobError(
                    f"{'/'.join(file.path)} on this disk is not what it was",
                    remedy="pull the release again: what is damaged is fetched",
                )
            into.put("pieces", digest, piece)


def _index(knowledge: Knowledge, digest: bytes) -> Iterator[bytes]:
    """An index, and those of its pages that are here."""
    yield digest
    index = knowledge.document(digest, Index)
    todo = [index.document.pages] if index and isinstance(index.document, Index) else []
    while todo:
        page = knowledge.document(each := todo.pop(), Page)
        if page is not None and isinstance(page.document, Page):
            yield each
            todo += (child for _, child in page.document.children)


def _history(knowledge: Knowledge, resolved: ResolvedRelease) -> Iterator[bytes]:
    """The releases that one passes on the way from the refs of the repo to this one."""
    todo = [ref.release for ref in resolved.refs.values()]
    seen: set[bytes] = {resolved.digest}
    yield resolved.digest
    while todo and len(seen) < HISTORY:
        digest = todo.pop(0)
        if digest in seen:
            continue
        seen.add(digest)
        found = knowledge.document(digest, Release)
        if found is not None and isinstance(found.document, Release):
            yield digest
            todo += found.document.parents


def _read(store: Store, digests: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for digest in digests:
        data = store.documents.get(digest)
        if data is not None:
            yield digest, data
