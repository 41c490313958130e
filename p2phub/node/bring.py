"""Bring the files of a release onto this disk: the part of a pull that moves bytes.

Every file goes the same way: its piece table (small files have none), pieces that any blob on this
disk already has, the missing ones from sources, then a whole, read-only blob. A piece is checked
in the buffer it arrived in, before it is written; a file becomes visible only when every piece
was. Small files come many for one request. What was fetched stays when a pull is interrupted, and
is checked again, piece by piece, when the next one resumes.
"""

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from p2phub.errors import NoSourceError, WrongBytesError, plain_errors
from p2phub.formats.ids import ContentId, commit_id
from p2phub.formats.limits import MAX_PIECE, MIB, MIN_BIG_FILE
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import PieceTable
from p2phub.formats.ranges import Range, both, covering
from p2phub.node.asking import HURRY
from p2phub.node.bring_state import Bringing
from p2phub.node.events import FileDone, FilesDone, Planned, Report, Warned
from p2phub.node.fetch import PATIENCE, FileFetch
from p2phub.node.gathering import gathering_of
from p2phub.node.holdings import Holdings
from p2phub.node.joining import STARVED, Joining
from p2phub.node.locate import ResolvedRelease
from p2phub.node.progress import reporting
from p2phub.node.services import Services
from p2phub.node.small_files import FEW, SmallFilesFetch
from p2phub.node.tableless import bring_tableless
from p2phub.node.tables import table_of
from p2phub.protocol import batch_plan
from p2phub.protocol.ports import Source
from p2phub.protocol.repeats import without_repeats
from p2phub.store.partial import Partial
from p2phub.store.shelf import Shelf

FILES_AT_ONCE = 4  # large ones, and as many of one piece
SOONER = 32 * MIB  # what else is smaller comes before the weights that need it
FIRST = 0.25  # seconds until others than those who are near are looked for
SOON = 2.0  # seconds until a file that has sources is looked up by itself
ATTEMPTS = 3
"""How often sources are looked for again when the known ones are used up."""
ATTEMPT_PAUSE = 1.0  # seconds
LITTLE = 1.0
"""Seconds for which a later attempt waits for sources that are fetching the file themselves."""


async def bring_all(
    services: Services,
    resolved: ResolvedRelease,
    files: Sequence[FileEntry],
    report: Report,
    *,
    head: int = 0,
    quiet: bool = False,
    waits: bool = True,
) -> Bringing:
    """Bring all of these files. `head`: bytes at the start of each that come before its others;
    `quiet`: tell nobody that they are here; `waits`: for somebody to turn up who has what nobody
    has now.
    """
    missing = await services.on_disk(_missing, services.store.shelf, files)
    total = sum(file.size for file in files)
    to_fetch = sum(file.size for file in missing)
    report(Planned(len(files), total, total - to_fetch, to_fetch))
    async with reporting(total, report, done=total - to_fetch) as progress:
        holdings = Holdings((file.content for file in missing), services.control)
        here = total - to_fetch
        bringing = Bringing(services, resolved, report, progress, holdings, linked=here, head=head)
        bringing.quiet, bringing.waits = quiet, waits
        if missing:
            await services.on_disk(services.store.space.require, to_fetch)
            async with _gathered(bringing, missing):
                await _bring_missing(bringing, missing)
    return bringing


async def bring_part(
    services: Services,
    resolved: ResolvedRelease,
    file: FileEntry,
    ranges: Sequence[Range],
    report: Report,
    *,
    in_order: bool = False,
    beside: bool = False,
) -> Bringing:
    """Bring the pieces that hold these byte ranges of one file. They are kept, and whoever wants
    more of the file goes on from there.

    `in_order`: they are read while they come. `beside`: do not wait for another fetch of the file;
    what both want may be fetched twice.
    """
    total = sum(stop - start for start, stop in ranges)
    async with reporting(total, report) as progress:
        holdings = Holdings([file.content], services.control)
        bringing = Bringing(services, resolved, report, progress, holdings, only=ranges)
        bringing.head = file.size if in_order else 0
        bringing.turn = (file.content, "beside") if beside else file.content
        async with _gathered(bringing, [file]):
            await _bring_with_patience(bringing, file)
    return bringing


def _missing(shelf: Shelf, files: Sequence[FileEntry]) -> list[FileEntry]:
    """The files that are not here as they should be, each content once."""
    unique = {file.content: file for file in files}
    here = shelf.right(unique)
    return [file for content, file in unique.items() if content not in here]


async def _bring_missing(bringing: Bringing, missing: Sequence[FileEntry]) -> None:
    small = {file.content: file for file in missing if 0 < file.size <= MAX_PIECE}
    others = [file for file in missing if file.content not in small]
    large = deque(sorted(others, key=lambda file: file.size > SOONER))
    with plain_errors():
        async with trio.open_nursery() as nursery:
            for _ in range(FILES_AT_ONCE):
                nursery.start_soon(_bring_each, bringing, large)
            left = deque(await _bring_small(bringing, small))
            for _ in range(FILES_AT_ONCE):
                nursery.start_soon(_bring_each, bringing, left)


async def _bring_each(bringing: Bringing, files: deque[FileEntry]) -> None:
    """Bring the first of the files that are left, until none is."""
    while files:
        await _bring_with_patience(bringing, files.popleft())


async def _bring_small(
    bringing: Bringing, files: Mapping[ContentId, FileEntry]
) -> Sequence[FileEntry]:
    """Bring small files together; those that are left to be brought one by one."""
    services, small = bringing.services, bringing.services.store.small_files
    brought: set[ContentId] = set()

    def kept(contents: Sequence[ContentId]) -> None:
        brought.update(contents)

    async with services.bringing.of_those_free(files) as ours:
        wanted = await services.on_disk(small.wanted, ours)
        if len(wanted) >= FEW:
            patience = services.traffic.paces.patience(batch_plan.PATIENCE)
            fetch = SmallFilesFetch(
                wanted,
                small,
                services.on_disk,
                patience=patience,
                brought=bringing.count,
                kept=kept,
            )
            sources, _ = await _sources(bringing, wanted)
            try:
                await fetch.run(sources)
            finally:
                for content, names in fetch.caught.items():
                    bringing.doubts.lied(names, content, "/".join(files[content].path))
                bringing.doubts.was_slow(fetch.slow)
                bringing.lies |= fetch.lies
            _tell_of_streams(bringing, sources)
    if brought:
        bringing.report(FilesDone(len(brought), sum(content.size for content in brought)))
    return [file for content, file in files.items() if content not in brought]


async def _bring_with_patience(bringing: Bringing, file: FileEntry) -> None:
    """Look for other sources when the known ones did not do; a crowd of liars is passed by."""
    lie = bringing.lies.get(file.content)
    for attempt in range(ATTEMPTS):
        try:
            async with bringing.services.bringing.of(bringing.turn or file.content):
                await _bring(bringing, file, again=attempt > 0)
        except WrongBytesError as error:
            lie = error
        except NoSourceError as error:
            if lie is not None or attempt + 1 == ATTEMPTS or not bringing.waits:
                raise lie or error from None
            await trio.sleep(ATTEMPT_PAUSE)
        else:
            if bringing.only is None:
                bringing.report(FileDone("/".join(file.path), file.size))
            return
    if lie is not None:
        raise lie


async def _bring(bringing: Bringing, file: FileEntry, *, again: bool) -> None:
    """One file: table, local pieces, missing pieces, blob."""
    services, store = bringing.services, bringing.services.store
    if await _came_meanwhile(bringing, file):
        return
    try:
        table, sources = await _begin(bringing, file, again=again)
    except NoSourceError:
        if bringing.only is not None:
            raise
        name = await bring_tableless(
            services, bringing.doubts, bringing.progress, file, bringing.seeds
        )
        bringing.brought[name] = bringing.brought.get(name, 0) + file.size
        return
    if await _came_meanwhile(bringing, file):  # it was here, and only its table was not
        return
    wanted = covering(table, [(0, table.size)] if bringing.only is None else bringing.only)
    partial = await services.on_disk(store.partials.open, file.content, table, part=0)
    try:
        counted = partial.bytes_done if again or bringing.only is not None else 0
        await services.on_disk(store.link_pieces, partial, wanted=wanted)
        bringing.count_here(partial.bytes_done - counted)
        for _ in range(ATTEMPTS):
            if missing := without_repeats(table, both(partial.missing(), wanted)):
                fetch = FileFetch(
                    "/".join(file.path),
                    file.content,
                    table,
                    partial,
                    missing=missing,
                    patience=services.traffic.paces.patience(PATIENCE),
                    own=services.network.peer_id,
                    head=bringing.pieces_first(table),
                    brought=bringing.count,
                    expecting=partial.expect,
                )
                await _fetch(bringing, file, fetch, sources, again=again, partial=partial)
                linked = await services.on_disk(store.link_pieces, partial, wanted=wanted)
                bringing.count_here(linked)
        if bringing.only is None or partial.complete:
            await services.on_disk(partial.commit)
    finally:
        with trio.CancelScope(shield=True):
            await services.on_disk(store.partials.close, partial)


async def _begin(
    bringing: Bringing, file: FileEntry, *, again: bool
) -> tuple[PieceTable, list[Source]]:
    """The table of a file, and the sources to begin with.

    Whoever had the release a moment ago most often has its files too: then others are looked for
    while its pieces come.
    """
    services, doubts, content = bringing.services, bringing.doubts, file.content
    teller = services.neighbours.known(bringing.resolved.teller)
    if again or (teller is not None and teller.name in doubts.last_for([content])):
        teller = None
    lie = None
    if teller is not None and await bringing.holdings.has_all(teller.name, content):
        try:
            with trio.move_on_after(HURRY):
                table = await table_of(services, doubts, file, [teller])
                return table, [teller, *bringing.seeds]
        except NoSourceError:
            pass  # others may have it
        except WrongBytesError as error:
            lie = error
    sources, doubted = await _sources(bringing, [content], again=again)
    try:
        return await table_of(services, doubts, file, [*sources, *doubted]), sources
    except NoSourceError as error:
        raise lie or error from None


async def _sources(
    bringing: Bringing, contents: Sequence[ContentId], *, again: bool = False
) -> tuple[list[Source], list[Source]]:
    """Who may have these files of the release; nobody who has a bad copy of the only one. Apart,
    if there are others: who was slow or lied.
    """
    doubts = bringing.doubts
    useless = doubts.useless_for(contents[0]) if len(contents) == 1 else ()
    sources = await bringing.services.neighbours.holders(
        bringing.resolved.digest, again=again, without=useless
    )
    sources += [seed for seed in bringing.seeds if seed.name not in useless]
    last = doubts.last_for(contents)
    first = [source for source in sources if source.name not in last] or sources
    return first, [source for source in sources if source not in first]


@contextlib.asynccontextmanager
async def _gathered(bringing: Bringing, files: Sequence[FileEntry]) -> AsyncIterator[None]:
    """Look for sources of the release for as long as the block lasts; forget it if it fails."""
    services, digest = bringing.services, bringing.resolved.digest
    try:
        is_own = await services.on_disk(_is_own, bringing)
        release, commit = bringing.resolved.release, commit_id(digest)
        seeds = services.web_seeds.of(release, commit, files, is_own=is_own, report=bringing.report)
        gathering = gathering_of(services, digest, bringing.doubts.liars, near=True, after=FIRST)
        async with seeds as bringing.seeds, gathering as bringing.gathering:
            yield
    except BaseException:
        with trio.CancelScope(shield=True):
            if digest not in await services.on_disk(services.store.repos.held_releases):
                services.announcer.forget(digest)  # what is told by now dies by itself
        raise


def _is_own(bringing: Bringing) -> bool:
    """Whether the release is of this node's own publisher."""
    own = bringing.services.store.documents.own_publisher()
    return own == bringing.resolved.repo.publisher


async def _fetch(
    bringing: Bringing,
    file: FileEntry,
    fetch: FileFetch,
    sources: Sequence[Source],
    *,
    again: bool,
    partial: Partial,
) -> None:
    """Fetch what is missing of a file from `sources` and from whoever is found meanwhile.

    A big file has a swarm of its own, by its SHA-256: whoever has it, for whatever repo, may serve
    it, because every piece is checked against the table that was signed here.
    """
    services, release, doubts = bringing.services, bringing.gathering, bringing.doubts
    useless = doubts.useless_for(file.content)
    joining = Joining(
        file.content,
        fetch,
        services.neighbours,
        bringing.holdings,
        services.acquaintances,
        lambda: partial.bytes_done,
        slow=doubts.last_for([file.content]) - {source.name for source in sources},
        without=useless,
        patience=services.traffic.paces.patience(LITTLE if again else STARVED),
        begun=bringing.announce,
    )
    async with contextlib.AsyncExitStack() as stack:
        gatherings = [release] if release is not None else []
        if file.size > MIN_BIG_FILE:
            after = SOON if sources else 0.0
            of_file = gathering_of(services, file.sha256, useless, after=after)
            gatherings.append(await stack.enter_async_context(of_file))
        for source in sources:
            joining.add(source)
        for gathering in gatherings:
            gathering.add(each for each in sources if services.neighbours.is_connected(each.name))
        try:
            await joining.run(*gatherings)
        finally:
            _tell_of_streams(bringing, joining.helping)
            doubts.lied(fetch.caught, file.content, "/".join(file.path))
            doubts.owned_up(fetch.liars - fetch.caught, file.content, "/".join(file.path))
            doubts.was_slow(fetch.slow)


async def _came_meanwhile(bringing: Bringing, file: FileEntry) -> bool:
    """Whether a file is here now; another pull may have brought it."""
    services = bringing.services
    if not await services.on_disk(services.store.shelf.right, [file.content]):
        return False
    bringing.count_here(file.size)
    return True


def _tell_of_streams(bringing: Bringing, holders: Sequence[Source]) -> None:
    """Say, once a source, that it is slow because its data port cannot be reached."""
    for source in holders:
        if (
            bringing.services.neighbours.is_indirect(source.name)
            and source.name not in bringing.told
        ):
            bringing.told.add(source.name)
            bringing.report(
                Warned(
                    f"the data port of {source.name} cannot be reached;"
                    " its files come over a libp2p stream, which is slower",
                    remedy="let its `[network] data_listen` port through",
                )
            )
