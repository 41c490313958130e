"""Put releases of this disk into a bundle, which carries them to where no network reaches.

With a release goes all that the other side needs to judge it as if it were online: its publisher's
newest head, the index and its pages, the history that leads to it, and what the publisher took
back. Pieces are read through the store and hashed on the way; what is on the medium already is
neither read nor written again. Nobody is asked: a release is exported as this disk knows it.

How things lie on the medium is `p2phub.airgap.writer`'s business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import trio

from p2phub.airgap.writer import BundleWriter
from p2phub.bundle_results import BundleExported, BundleRelease
from p2phub.errors import DamagedBlobError, NotFoundError, UsageError
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import ContentId, PublisherId, Reference, RepoId, commit_id
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.publisher import Index, Page
from p2phub.node.events import Planned, Report
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import ResolvedRelease, locate
from p2phub.node.progress import reporting
from p2phub.node.pull import check_target, obey_policy, told_of
from p2phub.node.resolve import HISTORY
from p2phub.node.selection import select
from p2phub.node.services import Services
from p2phub.node.values import BundleExportRequest
from p2phub.store.disk import Progress, read_into
from p2phub.store.store import Store


async def export_bundle(
    services: Services, request: BundleExportRequest, report: Report
) -> BundleExported:
    """Add the releases that `request` names to the bundle in its folder, or begin one there.

    Raises `NotFoundError` for a release that is not here with all its files (but pickles, which a
    pull leaves out), `UntrustedError` for one that is refused, `DamagedBlobError`, `NoSpaceError`
    for a full medium, `RefusedError` for one that cannot be written, `UsageError`. What was written
    until then counts for nothing, and the next export writes over it.
    """
    started = trio.current_time()
    if not request.references:
        raise UsageError("nothing was named", remedy="name the releases to export")
    await services.on_disk(check_target, request.to, services.store.layout.store)
    picked: dict[bytes, ResolvedRelease] = {}
    files: dict[ContentId, FileEntry] = {}
    for reference in dict.fromkeys(request.references):
        resolved, wanted = await services.on_disk(_pick, services, Reference.parse(reference))
        await obey_policy(services, resolved, report)
        report(told_of(resolved))
        picked[resolved.digest] = resolved
        files |= {file.content: file for file in wanted}
    total = sum(content.size for content in files)
    report(Planned(len(files), total, bytes_linked=0, bytes_to_fetch=0))
    async with reporting(total, report) as progress:
        add = services.pressure.shared(progress.add)
        written = await services.on_disk(
            _write, services, request, tuple(picked.values()), tuple(files.values()), add
        )
    return BundleExported(
        path=request.to,
        releases=tuple(_exported(each) for each in picked.values()),
        bytes_total=total,
        bytes_written=written,
        seconds=trio.current_time() - started,
    )


def row_of(repo: RepoId, digest: bytes, kind: str, size: int) -> BundleRelease:
    """A release as everybody may name it, whatever it is called here."""
    commit, publisher = commit_id(digest), str(repo.publisher)
    ref = f"{publisher}/{repo.name}@{commit}"
    return BundleRelease(ref, commit, publisher, repo.name, kind, size)


def _exported(resolved: ResolvedRelease) -> BundleRelease:
    release = resolved.release
    size = sum(file.size for file in release.files)
    row = row_of(resolved.repo, resolved.digest, release.kind, size)
    return replace(row, outcome="exported", verdict=resolved.judgement.text)


def _pick(
    services: Services, reference: Reference
) -> tuple[ResolvedRelease, tuple[FileEntry, ...]]:
    """A release that is here, and its files that are."""
    store = services.store
    resolved = locate(store, services.knowledge, reference)
    files = resolved.release.files
    here = store.shelf.right(file.content for file in files)
    needed, _ = select([file.path for file in files], (), ())
    needs = set(needed)
    lacking = [each for each in files if each.path in needs and each.content not in here]
    if lacking:
        raise NotFoundError(
            f"{resolved.called} is not on this disk with all its files"
            f" ({'/'.join(lacking[0].path)} is not)",
            remedy=f"`p2phub pull {reference}` fetches what is missing",
        )
    return resolved, tuple(file for file in files if file.content in here)


def _write(
    services: Services,
    request: BundleExportRequest,
    picked: Sequence[ResolvedRelease],
    files: Sequence[FileEntry],
    progress: Progress,
) -> int:
    store, knowledge = services.store, services.knowledge
    with BundleWriter(request.to, store.disk, lambda _: trio.from_thread.check_cancelled()) as into:
        for file in files:
            _put_file(store, into, file, progress)
        publishers = dict.fromkeys(each.repo.publisher for each in picked)
        for publisher in publishers:
            _put_index(store, knowledge, into, publisher)
        for each in picked:
            for digest in _history(knowledge, each):
                _put_document(store, into, digest)
        into.finish(_contents(services, picked))
        return into.written


def _put_file(store: Store, into: BundleWriter, file: FileEntry, progress: Progress) -> None:
    """Its table and its pieces, each of which is hashed before it is written."""
    content, blobs = file.content, store.blobs
    table = blobs.table(content)
    if table is None:
        raise DamagedBlobError(f"the piece table of {'/'.join(file.path)} is lost")
    if content.has_table:
        into.put("documents", content.digest, table.pack())
    buffer = memoryview(bytearray(min(MAX_PIECE, max(content.size, 1))))
    with blobs.opened(content) as fd:
        for index in range(table.count):
            trio.from_thread.check_cancelled()
            piece = buffer[: table.length(index)]
            progress(len(piece))
            if into.has("pieces", table.digest(index)):
                continue
            got = read_into(fd, piece, table.offset(index), blobs.path(content))
            if not table.check(index, piece[:got]):
                blobs.verify(content)
                raise DamagedBlobError(
                    f"{'/'.join(file.path)} on this disk is not what it was",
                    remedy="pull the release again: what is damaged is fetched",
                )
            into.put("pieces", table.digest(index), piece)


def _put_index(
    store: Store, knowledge: Knowledge, into: BundleWriter, publisher: PublisherId
) -> None:
    """The newest index of a publisher, and those of its pages that are here."""
    state = knowledge.state(publisher)
    if state is None:
        return
    _put_document(store, into, state.index)
    index = knowledge.document(state.index, Index)
    todo = [index.document.pages] if index and isinstance(index.document, Index) else []
    while todo:
        digest = todo.pop()
        page = knowledge.document(digest, Page)
        if page is not None and isinstance(page.document, Page):
            _put_document(store, into, digest)
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


def _put_document(store: Store, into: BundleWriter, digest: bytes) -> None:
    data = store.documents.get(digest)
    if data is not None:
        into.put("documents", digest, data)


def _contents(services: Services, picked: Sequence[ResolvedRelease]) -> Contents:
    documents, knowledge = services.store.documents, services.knowledge
    heads: list[bytes] = []
    notices: list[bytes] = []
    for publisher in dict.fromkeys(each.repo.publisher for each in picked):
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
        for each in picked
    )
    return Contents(services.now(), tuple(heads), tuple(notices), releases)
