"""What every source must do: a fake, a peer's data port, a libp2p stream, a static web export."""

import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from p2phub.airgap.bundle_source import BundleSource
from p2phub.airgap.medium import look
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import (
    GarbageError,
    NoSpaceError,
    NotFoundError,
    WrongBytesError,
)
from p2phub.formats.bundle import Contents
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network.peer_source import PeerSource
from p2phub.network.stream_http import StreamServer
from p2phub.network.web_guard import Guard
from p2phub.network.web_source import WebSource
from p2phub.protocol.batch import MAX_BATCH_FILES
from p2phub.protocol.ports import Holding, Source
from p2phub.store.disk import Disk
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import ServedPeer
from p2phub.testing.samples import FullSink, MemorySink, make_sample
from p2phub.testing.sources import DamagedSource, HonestSource
from p2phub.testing.streams import StreamNetwork
from p2phub.testing.web import WebServer

LARGE = make_sample(20 * MIB, seed="large", piece=700_000)
PARTIAL = make_sample(4 * MIB, seed="partial", piece=MIB)
SMALL = make_sample(1000, seed="small")
EMPTY = make_sample(0)
ROTTEN = make_sample(50, seed="rotten")
MANY = [make_sample(300_000 if n == 3 else 100 + n, seed=f"many {n}") for n in range(6)]
RANGES = ((0, MIB), (2 * MIB, 4 * MIB))
UNKNOWN = ContentId(77, bytes(32))
PAGE = b"a page" * 1000


def make_library():
    library = MemoryLibrary()
    for sample in (LARGE, SMALL, EMPTY, ROTTEN, *MANY):
        library.add(sample, hashed_whole=True)
    library.add(PARTIAL, ranges=RANGES)
    library.damaged.add(ROTTEN.content)
    library.documents[sha256(PAGE)] = PAGE
    return library


class _Fake(HonestSource):
    """The honest fake, whose rotten file is that of the one that owns up."""

    async def fetch(self, content, table, run, sink):
        if content == ROTTEN.content:
            await DamagedSource.fetch(self, content, table, run, sink)
        await super().fetch(content, table, run, sink)


@asynccontextmanager
async def fake():
    files = (LARGE, SMALL, EMPTY, ROTTEN, PARTIAL, *MANY)
    ranges = {PARTIAL.content: RANGES}
    yield _Fake("fake", files, {sha256(PAGE): PAGE}, ranges=ranges, latency=0)


@asynccontextmanager
async def over_tls():
    library = make_library()
    peer = ServedPeer(library)
    await trio.to_thread.run_sync(peer.__enter__)
    source = PeerSource(peer.peer_id, [peer.endpoint])
    yield source
    assert source.via in ("tls", "")
    await source.close()
    await trio.to_thread.run_sync(peer.__exit__)
    assert library.open_now == 0


@asynccontextmanager
async def over_stream():
    library = make_library()
    async with trio.open_nursery() as nursery:
        network = StreamNetwork(nursery)
        StreamServer(library).register(network)
        source = PeerSource("bob", [], network=network)
        yield source
        assert source.via in ("stream", "")
        await source.close()
        nursery.cancel_scope.cancel()
    assert library.open_now == 0


@asynccontextmanager
async def web_export():
    """Files by content id, documents by digest, and nothing that knows of p2phub."""
    here = (LARGE, SMALL, EMPTY, *MANY)
    files = {f"/v1/files/{sample.content}": sample.data for sample in here}
    files[f"/v1/files/{ROTTEN.content}"] = bytes(ROTTEN.content.size)
    files[f"/v1/documents/{sha256(PAGE).hex()}"] = PAGE
    server = WebServer(files)
    await trio.to_thread.run_sync(server.__enter__)
    known = [sample.content for sample in (*here, ROTTEN)]
    known += [UNKNOWN, ContentId(2 * MIB, sha256(PAGE)), ContentId(2 * MIB, bytes(32))]
    urls = {content: [f"{server.url}/v1/files/{content}"] for content in known}
    source = WebSource("export", urls, guard=Guard(frozenset({server.host})))
    yield source
    await source.close()
    await trio.to_thread.run_sync(server.__exit__)


@asynccontextmanager
async def bundle():
    """A stick; what has rotted there is found by who checks it."""
    with TemporaryDirectory() as folder:
        with BundleWriter(Path(folder), Disk()) as writer:
            for sample in (LARGE, SMALL, EMPTY, *MANY):
                put(writer, sample)
            put(writer, PARTIAL, [0, 2, 3])
            writer.put("pieces", ROTTEN.content.digest, bytes(ROTTEN.content.size))
            writer.put("documents", sha256(PAGE), PAGE)
            writer.finish(Contents(0))
        with closing(look(Path(folder))) as medium:
            source = BundleSource(medium)
            yield source
            await source.close()


def put(writer, sample, pieces=None):
    if sample.content.has_table:
        writer.put("documents", sample.content.digest, sample.table.pack())
    for index in range(sample.table.count) if pieces is None else pieces:
        writer.put("pieces", sample.table.digest(index), sample.piece(index))


P2PHUB = [fake, over_tls, over_stream]


@pytest.fixture(params=[*P2PHUB, web_export, bundle], ids=lambda make: make.__name__)
async def source(request):
    async with request.param() as source:
        yield source


@pytest.fixture(params=P2PHUB, ids=lambda make: make.__name__)
async def peer(request):
    """A source that can say what it lacks of a file, and that its copy is damaged."""
    async with request.param() as source:
        yield source


async def test_has_a_name_and_says_how_many_runs_at_once(source: Source):
    assert source.name
    assert source.connections >= 1


class TestHolds:
    @pytest.mark.parametrize("sample", [LARGE, SMALL, EMPTY], ids=["large", "small", "empty"])
    async def test_everything(self, source, sample):
        assert await source.holds(sample.content) == Holding(complete=True)

    async def test_a_part(self, peer):
        assert await peer.holds(PARTIAL.content) == Holding(complete=False, ranges=RANGES)

    async def test_nothing(self, source):
        assert await source.holds(UNKNOWN) is None


class TestASha256:
    async def test_names_the_file_that_was_hashed_whole(self, peer):
        assert await peer.content_of(sha256(LARGE.data)) == LARGE.content

    async def test_of_no_file(self, source):
        assert await source.content_of(bytes(32)) is None


class TestDocuments:
    async def test_come_as_they_are(self, source):
        assert await source.document(sha256(PAGE), len(PAGE)) == PAGE

    async def test_that_are_not_there(self, source):
        with pytest.raises(NotFoundError):
            await source.document(bytes(32), 100)

    async def test_beyond_the_limit_are_garbage(self, source):
        with pytest.raises(GarbageError):
            await source.document(sha256(PAGE), len(PAGE) - 1)
        assert await source.document(sha256(PAGE), len(PAGE)) == PAGE


class TestFetch:
    @pytest.mark.parametrize("sample", [LARGE, SMALL, EMPTY], ids=["large", "small", "empty"])
    async def test_brings_every_piece_in_order(self, source, sample):
        sink = MemorySink(sample.table)
        await source.fetch(sample.content, sample.table, sample.all, sink)
        assert sink.order == list(range(sample.table.count))
        assert sink.data == sample.data

    @pytest.mark.parametrize("run", [Run(0, 1), Run(3, 20), Run(29, 1), Run(5, 0)])
    async def test_brings_no_other_piece(self, source, run):
        sink = MemorySink(LARGE.table)
        await source.fetch(LARGE.content, LARGE.table, run, sink)
        assert sink.order == list(range(run.first, run.first + run.count))

    async def test_takes_several_runs_at_once(self, source):
        sink, inside, most = MemorySink(LARGE.table), 0, 0

        async def bring(run: Run) -> None:
            nonlocal inside, most
            async with source.place():
                inside += 1
                most = max(most, inside)
                await source.fetch(LARGE.content, LARGE.table, run, sink)
                inside -= 1

        async with trio.open_nursery() as nursery:
            for first in range(0, 30, 5):
                nursery.start_soon(bring, Run(first, 5))
        assert sink.data == LARGE.data
        assert most == source.connections

    async def test_brings_the_parts_that_are_held(self, peer):
        sink = MemorySink(PARTIAL.table)
        await peer.fetch(PARTIAL.content, PARTIAL.table, Run(0, 1), sink)
        await peer.fetch(PARTIAL.content, PARTIAL.table, Run(2, 2), sink)
        assert sink.order == [0, 2, 3]

    @pytest.mark.parametrize("run", [Run(0, 4), Run(1, 1), Run(0, 2)])
    async def test_of_parts_that_are_not_held(self, source, run):
        sink = MemorySink(PARTIAL.table)
        with pytest.raises(NotFoundError):
            await source.fetch(PARTIAL.content, PARTIAL.table, run, sink)
        assert sink.order == []

    async def test_of_a_file_that_is_not_there(self, source):
        unknown = make_sample(77)
        with pytest.raises(NotFoundError):
            await source.fetch(unknown.content, unknown.table, unknown.all, FullSink(unknown.table))

    async def test_of_a_copy_that_turns_out_damaged(self, peer):
        sink = MemorySink(ROTTEN.table)
        with pytest.raises(WrongBytesError, match="its own copy is damaged"):
            await peer.fetch(ROTTEN.content, ROTTEN.table, ROTTEN.all, sink)
        assert sink.order == []

    async def test_of_a_copy_that_is_damaged_brings_nothing(self, source):
        sink = MemorySink(ROTTEN.table)
        with pytest.raises(WrongBytesError):
            await source.fetch(ROTTEN.content, ROTTEN.table, ROTTEN.all, sink)
        assert sink.order == []

    async def test_ends_with_the_error_of_the_sink(self, source):
        sink = FullSink(LARGE.table, room=3)
        with pytest.raises(NoSpaceError):
            await source.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
        assert sink.order == [0, 1, 2]

    async def test_works_after_one_that_failed(self, source):
        with pytest.raises(NoSpaceError):
            await source.fetch(LARGE.content, LARGE.table, LARGE.all, FullSink(LARGE.table))
        sink = MemorySink(SMALL.table)
        await source.fetch(SMALL.content, SMALL.table, SMALL.all, sink)
        assert sink.data == SMALL.data


class TestCancelling:
    async def test_lets_go_of_the_sink(self, source):
        with trio.CancelScope() as scope:

            class Cancelling(MemorySink):
                def accept(self, index, data):
                    super().accept(index, data)
                    if index == 2:
                        stop()

            def stop():
                try:
                    trio.from_thread.run_sync(scope.cancel)
                except RuntimeError:
                    scope.cancel()  # a source that has no threads

            sink = Cancelling(LARGE.table)
            await source.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
        assert scope.cancelled_caught
        came = list(sink.order)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sink.order == came, "a piece came after the fetch had ended"
        again = MemorySink(LARGE.table)
        await source.fetch(LARGE.content, LARGE.table, LARGE.all, again)
        assert again.data == LARGE.data

    async def test_before_it_began(self, source):
        with trio.CancelScope() as scope:
            scope.cancel()
            await source.fetch(SMALL.content, SMALL.table, SMALL.all, MemorySink(SMALL.table))
        assert scope.cancelled_caught
        assert await source.holds(SMALL.content) == Holding(complete=True)


async def test_closing_twice(source):
    await source.holds(SMALL.content)
    await source.close()
    await source.close()


class Basket:
    """Keeps whole files, each once it was checked; the disk has room for `room` of them."""

    def __init__(self, room=99):
        self.files, self.room, self._lock = {}, room, threading.Lock()

    def accept(self, content, data):
        if ContentId(len(data), sha256(data)) != content:
            raise WrongBytesError(f"{content} is wrong")
        with self._lock:
            if len(self.files) >= self.room:
                raise NoSpaceError("the disk is full")
            self.files[content] = bytes(data)


class TestManyFiles:
    async def test_come_whole_and_what_is_missing_does_not_spoil_the_rest(self, source):
        basket = Basket()
        asked = [MANY[0].content, UNKNOWN, *(each.content for each in MANY[1:]), EMPTY.content]
        assert list(await source.fetch_many(asked, basket.accept)) == [UNKNOWN]
        kept = {sample.content: sample.data for sample in (*MANY, EMPTY)}
        assert basket.files == kept

    async def test_none_at_all(self, source):
        assert list(await source.fetch_many([], Basket().accept)) == []

    async def test_more_than_one_request_may_ask_for(self, source):
        basket, asked = Basket(), [MANY[0].content] * (MAX_BATCH_FILES + 1)
        assert list(await source.fetch_many(asked, basket.accept)) == []
        assert basket.files == {MANY[0].content: MANY[0].data}

    async def test_end_with_the_error_of_who_accepts_and_what_came_stays(self, source):
        basket = Basket(room=2)
        with pytest.raises(NoSpaceError):
            await source.fetch_many([sample.content for sample in MANY], basket.accept)
        assert len(basket.files) == 2
        assert basket.files.items() <= {sample.content: sample.data for sample in MANY}.items()
        again = Basket()
        assert not await source.fetch_many([SMALL.content], again.accept)
        assert again.files == {SMALL.content: SMALL.data}
