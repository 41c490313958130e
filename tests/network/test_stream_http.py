"""The data protocol over a stream: small answers, no pauses, few streams, no endless wait."""

import math
import threading

import pytest
import trio
import trio.testing

from p2phub.errors import (
    DamagedBlobError,
    GarbageError,
    NoSpaceError,
    RemoteError,
    TooSlowError,
    WrongBytesError,
)
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network.http_head import HeadReader, request_bytes
from p2phub.network.limits import MAX_STREAM_RANGE, MAX_STREAMS_PER_PEER
from p2phub.network.stream_http import HTTP, StreamClient, StreamServer, parts_of
from p2phub.protocol.ask import document_request, file_request, holding_request
from p2phub.protocol.ports import Holding
from p2phub.protocol.serve import Request
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.samples import FullSink, MemorySink, make_sample
from p2phub.testing.streams import StreamNetwork, stream_pair

SAMPLE = make_sample(20 * MIB, piece=MIB)
SMALL = make_sample(100)
DIGEST = bytes(32)


async def until(happened):
    """Wait for what a thread does."""
    while not happened():  # noqa: ASYNC110
        await trio.sleep(0.001)


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SAMPLE)
    library.add(SMALL)
    library.documents[DIGEST] = b"x" * (9 * MIB)
    yield library
    assert library.open_now == 0


@pytest.fixture
def server(library):
    return StreamServer(library)


@pytest.fixture
def network(nursery, server):
    network = StreamNetwork(nursery)
    server.register(network)
    return network


async def ask(stream, request):
    """The head of the answer, and what came with it."""
    reader, head = HeadReader(), None
    await stream.write(request_bytes(request))
    while head is None:
        head = reader.feed(await stream.read(10_000))
    return head, reader.rest


class TestTheServer:
    async def test_refuses_more_than_a_reader_can_hold(self, network):
        stream = await network.open_stream("bob", HTTP)
        request = file_request(SAMPLE.content, 0, MAX_STREAM_RANGE + 1, ticket=b"")
        head, rest = await ask(stream, request)
        assert (head.status, rest) == (403, b"")
        assert "at most 8388608 bytes" in head.header("p2phub-error")
        head, _ = await ask(stream, holding_request(SAMPLE.content, ticket=b""))
        assert head.status == 200

    async def test_shows_private_files_to_the_peer_at_the_other_end(self, network, library):
        mine, theirs = make_sample(10, seed=1), make_sample(10, seed=2)
        library.add(mine, private_to=["me"])
        library.add(theirs, private_to=["somebody else"])
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        assert await client.holds(mine.content) == Holding(complete=True)
        assert await client.holds(theirs.content) is None

    async def test_gives_one_peer_a_few_streams_and_others_theirs(self, network, server):
        streams = [await network.open_stream("bob", HTTP) for _ in range(MAX_STREAMS_PER_PEER + 1)]
        clients = [StreamClient(stream, "bob") for stream in streams]
        for client in clients[:-1]:
            assert await client.holds(SMALL.content) == Holding(complete=True)
        with pytest.raises(RemoteError, match="more than 8 streams"):
            await clients[-1].holds(SMALL.content)
        network.peer_id = "somebody else"
        other = StreamClient(await network.open_stream("bob", HTTP), "bob")
        assert await other.holds(SMALL.content) == Holding(complete=True)
        for stream in streams:
            await stream.close()
        await trio.testing.wait_all_tasks_blocked()
        assert server._open == {"somebody else": 1}
        network.peer_id = "me"
        again = StreamClient(await network.open_stream("bob", HTTP), "bob")
        assert await again.holds(SMALL.content) == Holding(complete=True)

    async def test_forgets_a_peer_that_says_nothing(self, network, server, autojump_clock):
        stream = await network.open_stream("bob", HTTP)
        assert await stream.read(100) == b""
        assert trio.current_time() == pytest.approx(30, abs=1)
        await trio.testing.wait_all_tasks_blocked()
        assert not server._open

    async def test_resets_a_stream_that_brings_garbage(self, network, server):
        stream = await network.open_stream("bob", HTTP)
        await stream.write(b"\x00" * 100 + b"\r\n\r\n")
        with pytest.raises(RemoteError):
            await stream.read(100)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(network.errors[0], GarbageError)
        assert not server._open

    async def test_gives_up_on_a_reader_that_does_not_read(self, server, autojump_clock):
        ours, theirs = stream_pair()

        async def stuck(data):
            await trio.sleep_forever()

        theirs.write = stuck
        await ours.write(request_bytes(document_request(DIGEST, ticket=b"")))
        with pytest.raises(TooSlowError, match="does not read"):
            await server.serve("me", theirs)
        assert theirs.is_reset

    async def test_resets_the_stream_when_a_file_became_shorter(self, server, library, nursery):
        library.replace(SMALL.content, SMALL.data[:50])
        ours, theirs = stream_pair()
        await ours.write(request_bytes(file_request(SMALL.content, 0, 100, ticket=b"")))
        with pytest.raises(DamagedBlobError):
            await server.serve("me", theirs)
        assert theirs.is_reset

    async def test_ends_politely_when_the_peer_is_done(self, server):
        ours, theirs = stream_pair()
        await ours.close()
        await server.serve("me", theirs)
        assert theirs.is_closed
        assert not theirs.is_reset

    async def test_counts_what_it_sent(self, network, server):
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        await client.fetch(SAMPLE.content, SAMPLE.table, Run(0, 3), MemorySink(SAMPLE.table))
        assert server.bytes_sent == 3 * MIB


class TestTheClient:
    async def test_reads_all_of_an_answer_while_the_disk_hangs(self, network):
        """A writer on yamux gives up when its reader pauses for 5 s."""
        stream = await network.open_stream("bob", HTTP)
        disk = threading.Event()

        class SlowDisk(MemorySink):
            def accept(self, index, data):
                assert disk.wait(20)
                super().accept(index, data)

        sink = SlowDisk(SAMPLE.table)
        async with trio.open_nursery() as nursery:
            client = StreamClient(stream, "bob")
            nursery.start_soon(client.fetch, SAMPLE.content, SAMPLE.table, SAMPLE.all, sink)
            await until(lambda: stream.received > MAX_STREAM_RANGE)
            assert sink.order == []
            disk.set()
        assert sink.data == SAMPLE.data

    async def test_asks_for_no_more_before_the_disk_has_taken_what_came(self, network):
        stream = await network.open_stream("bob", HTTP)
        received = []

        class Watching(MemorySink):
            def accept(self, index, data):
                super().accept(index, data)
                received.append(stream.received - MIB * (index + 1))

        sink = Watching(SAMPLE.table)
        await StreamClient(stream, "bob").fetch(SAMPLE.content, SAMPLE.table, SAMPLE.all, sink)
        assert max(received) < MAX_STREAM_RANGE

    async def test_takes_documents_of_any_length_within_the_limit(self, network):
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        assert await client.document(DIGEST, 9 * MIB) == b"x" * (9 * MIB)
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        with pytest.raises(GarbageError, match="claims a document"):
            await client.document(DIGEST, 9 * MIB - 1)

    async def test_stops_at_the_first_wrong_piece(self, network, library):
        library.replace(SAMPLE.content, SAMPLE.data[: 2 * MIB] + bytes(18 * MIB))
        sink = MemorySink(SAMPLE.table)
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        with pytest.raises(WrongBytesError):
            await client.fetch(SAMPLE.content, SAMPLE.table, SAMPLE.all, sink)
        assert sink.order == [0, 1]

    @pytest.mark.parametrize("many", [False, True])
    async def test_what_comes_just_as_the_disk_fails_changes_nothing(self, network, many):
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        body, began, failed = client._body, threading.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()

        def fail(*args):
            assert began.wait(10)
            token.run_sync_soon(failed.set)
            raise NoSpaceError("the disk is full")

        async def late(length):
            """What came first goes to the disk; what follows is there when that has failed."""
            found = await body(length)
            calls.append(length)
            if len(calls) == (4 if many else 2):
                began.set()
                with trio.CancelScope(shield=True):
                    await failed.wait()
                    await trio.testing.wait_all_tasks_blocked()
            return found

        calls, client._body = [], late
        sink = MemorySink(SAMPLE.table)
        sink.accept = fail
        if many:
            fetching = client.fetch_many([SMALL.content] * 400, fail)
        else:
            fetching = client.fetch(SAMPLE.content, SAMPLE.table, SAMPLE.all, sink)
        with pytest.raises(NoSpaceError):
            await fetching

    async def test_passes_on_that_our_disk_is_full(self, network):
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        with pytest.raises(NoSpaceError):
            await client.fetch(SAMPLE.content, SAMPLE.table, SAMPLE.all, FullSink(SAMPLE.table, 1))

    @pytest.mark.parametrize(
        ("said", "error", "problem"),
        [
            (b"SSH-2.0-x\r\n", GarbageError, "not HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", TooSlowError, "next to nothing"),
            (b"HTTP/1.1 200 OK\r\nContent-Le", TooSlowError, "did not answer in time"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", GarbageError, "claims"),
        ],
    )
    async def test_has_an_end_to_its_patience(self, autojump_clock, said, error, problem):
        ours, theirs = stream_pair()
        await theirs.write(said)
        with pytest.raises(error, match=problem):
            await StreamClient(ours, "bob").document(DIGEST, 10)

    async def test_notices_an_early_end(self):
        ours, theirs = stream_pair()
        await theirs.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        await theirs.close()
        with pytest.raises(RemoteError, match="ended its answer early"):
            await StreamClient(ours, "bob").document(DIGEST, 10)

    async def test_asks_nothing_of_a_peer_that_said_too_much(self):
        ours, theirs = stream_pair()
        await theirs.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz")
        client = StreamClient(ours, "bob")
        assert await client.document(DIGEST, 10) == b"x"
        with pytest.raises(GarbageError, match="more than"):
            await client.document(DIGEST, 10)

    async def test_a_drip_is_no_progress(self, autojump_clock, nursery):
        ours, theirs = stream_pair()

        async def drip():
            await theirs.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            for _ in range(5000):
                await trio.sleep(1)
                await theirs.write(b"x")

        nursery.start_soon(drip)
        with pytest.raises(TooSlowError):
            await StreamClient(ours, "bob").document(DIGEST, 5000)
        assert trio.current_time() < 60
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("piece", [300_000, MIB])
def test_parts_cover_a_run_and_none_is_larger_than_an_answer(piece):
    table = make_sample(20 * MIB, piece=piece).table
    for run in (Run(0, table.count), Run(1, table.count - 1), Run(5, 1), Run(3, 0)):
        parts = list(parts_of(run, table))
        covered = [index for part in parts for index in range(part.first, part.first + part.count)]
        assert covered == list(range(run.first, run.first + run.count))
        for part in parts:
            size = table.offset(part.first + part.count) - table.offset(part.first)
            assert 0 < size <= MAX_STREAM_RANGE
        assert len(parts) <= math.ceil(20 * MIB / (MAX_STREAM_RANGE - MIB))


async def test_a_request_with_a_body_is_refused(network):
    stream = await network.open_stream("bob", HTTP)
    await stream.write(request_bytes(Request("GET", "/", (("content-length", "5"),))) + b"hello")
    with pytest.raises(RemoteError):
        await stream.read(100)
