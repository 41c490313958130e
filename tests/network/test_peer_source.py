"""A peer as a source: connections that are reused and cut, and the way round a closed port."""

import socket
import threading

import pytest
import trio
import trio.testing

from p2phub.config import Endpoint
from p2phub.errors import NoSourceError, RefusedError, RemoteError, TooSlowError, WrongBytesError
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network.limits import Patience
from p2phub.network.peer_source import PeerSource
from p2phub.network.stream_http import StreamServer
from p2phub.protocol.ports import Holding
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import GarbagePeer, ServedPeer, answer_garbage, answer_nothing
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.streams import StreamNetwork

SAMPLE = make_sample(3 * MIB, piece=500_000)
LONG = Patience(request=100, progress=100)


async def until(happened):
    """Wait for what a thread does."""
    while not happened():  # noqa: ASYNC110
        await trio.sleep(0.001)


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SAMPLE)
    return library


@pytest.fixture
def peer(library):
    with ServedPeer(library) as peer:
        yield peer


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class WaitingSink(MemorySink):
    """Waits with the first piece in its hand until it may go on."""

    def __init__(self, table):
        super().__init__(table)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def accept(self, index, data):
        self.reached.set()
        assert self.go_on.wait(10)
        super().accept(index, data)


async def fetch(source, run=None):
    sink = MemorySink(SAMPLE.table)
    await into(source, sink, run)
    return sink


async def into(source, sink, run=None):
    async with source.place():
        await source.fetch(SAMPLE.content, SAMPLE.table, run or SAMPLE.all, sink)


class TestConnections:
    async def test_are_used_again(self, peer):
        source = PeerSource(peer.peer_id, [peer.endpoint])
        for _ in range(5):
            assert await source.holds(SAMPLE.content) == Holding(complete=True)
            assert (await fetch(source)).data == SAMPLE.data
        assert peer.server.connections == 1
        assert source.via == "tls"
        await source.close()

    async def test_are_as_many_as_asked_for_and_one_for_questions(self, peer):
        source = PeerSource(peer.peer_id, [peer.endpoint], connections=2)
        assert source.connections == 2
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(fetch, source)
        assert peer.server.connections <= 3
        await source.close()

    async def test_bring_no_more_runs_at_once_than_were_offered(self, peer):
        source = PeerSource(peer.peer_id, [peer.endpoint], connections=2)
        sinks = [WaitingSink(SAMPLE.table) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for sink in sinks:
                nursery.start_soon(into, source, sink)
            await until(lambda: sum(sink.reached.is_set() for sink in sinks) == 2)
            # A question needs no place among the runs, and this one is answered before they end.
            assert await source.holds(SAMPLE.content) == Holding(complete=True)
            assert sum(sink.reached.is_set() for sink in sinks) == 2
            for sink in sinks:
                sink.go_on.set()
        assert [sink.data for sink in sinks] == [SAMPLE.data] * 3
        await source.close()

    async def test_that_the_peer_closed_while_they_were_idle_are_replaced(self, library):
        with ServedPeer(library, patience=Patience(idle=0.05)) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, source)
                nursery.start_soon(fetch, source)
            await until(lambda: not peer.server.connections)
            assert (await fetch(source)).data == SAMPLE.data
            await source.close()

    async def test_after_a_lie_are_not_used_again(self, peer, library):
        source = PeerSource(peer.peer_id, [peer.endpoint])
        library.replace(SAMPLE.content, bytes(3 * MIB))
        for _ in range(3):
            with pytest.raises(WrongBytesError):
                await fetch(source)
        library.replace(SAMPLE.content, SAMPLE.data)
        assert (await fetch(source)).data == SAMPLE.data
        await source.close()

    async def test_end_when_the_source_is_closed_under_a_fetch(self):
        with GarbagePeer(answer_nothing, hangs=True) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint], patience=LONG)
            async with trio.open_nursery() as nursery:

                async def fail():
                    with pytest.raises(RemoteError):
                        await fetch(source)

                nursery.start_soon(fail)
                await until(lambda: peer.requests)
                await source.close()
            with pytest.raises(RemoteError, match="was closed"):
                await fetch(source)


class TestFaults:
    async def test_a_cancelled_fetch_from_a_hanging_peer_ends_at_once(self):
        with GarbagePeer(answer_nothing, hangs=True) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint], patience=LONG)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fetch, source)
                    await until(lambda: peer.requests)
                    scope.cancel()
            assert scope.cancelled_caught
            await source.close()

    async def test_a_cancelled_fetch_in_the_middle_closes_its_socket_and_ends_its_thread(self):
        library = MemoryLibrary()
        library.add(large := make_sample(48 * MIB, piece=MIB))
        with ServedPeer(library) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint])
            sink, threads = MemorySink(large.table), threading.active_count()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.fetch, large.content, large.table, large.all, sink)
                await until(lambda: sink.order)
                nursery.cancel_scope.cancel()
            await until(lambda: not peer.server.connections)
            assert threading.active_count() <= threads + 1  # trio keeps one idle thread for later
            came = len(sink.order)
            assert came < large.table.count
            await source.fetch(large.content, large.table, large.all, sink)
            assert sink.data == large.data
            await source.close()

    async def test_a_server_that_stops_in_the_middle_is_an_error_at_once(self):
        library = MemoryLibrary()
        library.add(large := make_sample(48 * MIB, piece=MIB))
        with ServedPeer(library) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint], patience=LONG)
            sink = WaitingSink(large.table)

            async def stop():
                await until(sink.reached.is_set)
                await trio.to_thread.run_sync(peer.server.stop)
                sink.go_on.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
                with pytest.raises(RemoteError):
                    await source.fetch(large.content, large.table, large.all, sink)
            assert all(large.table.check(index, data) for index, data in sink.pieces.items())
            await source.close()

    async def test_a_peer_that_hangs_is_too_slow_and_not_asked_twice(self):
        with GarbagePeer(answer_nothing, hangs=True) as peer:
            source = PeerSource(peer.peer_id, [peer.endpoint], patience=Patience(request=0.2))
            with pytest.raises(TooSlowError):
                await source.holds(SAMPLE.content)
            assert len(peer.requests) == 1
            await source.close()

    async def test_a_port_that_nobody_answers_is_no_source(self, peer):
        source = PeerSource(peer.peer_id, [Endpoint("127.0.0.1", free_port())], name="bob")
        with pytest.raises(NoSourceError, match="the data port of bob cannot be reached"):
            await fetch(source)

    async def test_an_error_of_our_own_disk_is_not_the_peers(self, peer):
        class ReadOnly(MemorySink):
            def accept(self, index, data):
                raise RefusedError("the store is open for reading only")

        renewed = []

        async def renew():
            renewed.append(1)
            await trio.lowlevel.checkpoint()
            return b""

        source = PeerSource(peer.peer_id, [peer.endpoint], renew=renew)
        with pytest.raises(RefusedError, match="reading only"):
            await source.fetch(SAMPLE.content, SAMPLE.table, Run(0, 1), ReadOnly(SAMPLE.table))
        assert renewed == []
        await source.close()


class TestTickets:
    def source(self, peer, tickets):
        async def renew():
            await trio.lowlevel.checkpoint()
            return tickets.pop(0)

        return PeerSource(peer.peer_id, [peer.endpoint], b"old" * 10, renew=renew)

    async def test_that_ended_are_renewed_once(self, peer):
        tickets = [peer.tickets.issue("me", 1 << 50), b"never asked for"]
        source = self.source(peer, tickets)
        assert await source.holds(SAMPLE.content) == Holding(complete=True)
        assert (await fetch(source)).data == SAMPLE.data
        assert tickets == [b"never asked for"]
        await source.close()

    async def test_that_are_refused_again_are_an_error_of_the_peer(self, peer):
        tickets = [b"bad", b"never asked for"]
        source = self.source(peer, tickets)
        with pytest.raises(RemoteError, match="does not know our ticket"):
            await source.holds(SAMPLE.content)
        assert tickets == [b"never asked for"]
        await source.close()


class TestFallBack:
    """When the data port cannot be reached, the same questions go over a libp2p stream."""

    @pytest.fixture
    def network(self, nursery, library):
        network = StreamNetwork(nursery)
        StreamServer(library).register(network)
        return network

    @pytest.fixture
    def told(self):
        return []

    def source(self, peer, network, told, endpoint=None, **settings):
        return PeerSource(
            peer.peer_id,
            [endpoint or Endpoint("127.0.0.1", free_port())],
            name="bob",
            network=network,
            tell=told.append,
            **settings,
        )

    async def test_brings_the_bytes_and_says_so_once(self, peer, network, told):
        source = self.source(peer, network, told)
        for _ in range(3):
            assert (await fetch(source)).data == SAMPLE.data
        assert source.via == "stream"
        assert len(told) == 1
        assert told[0].startswith("the data port of bob cannot be reached (127.0.0.1:")
        assert told[0].endswith("its files come over a libp2p stream, which is slower")
        assert all(stream.is_closed and not stream.is_reset for stream in network.streams)

    async def test_goes_round_another_peer_at_that_address(self, peer, network, told):
        with GarbagePeer(answer_garbage, seed=bytes(32)) as other:
            source = self.source(peer, network, told, other.endpoint)
            assert (await fetch(source)).data == SAMPLE.data
        assert "another peer answers there" in told[0]

    async def test_ends_when_the_port_answers_again(self, peer, network, told):
        source = self.source(peer, network, told, patience=Patience(retry_direct=0))
        await fetch(source)
        source._addresses = (peer.endpoint,)
        await fetch(source)
        assert source.via == "tls"
        await source.close()

    async def test_is_not_needed_when_the_port_answers(self, peer, network, told):
        source = self.source(peer, network, told, peer.endpoint)
        await fetch(source)
        assert (source.via, told, network.streams) == ("tls", [], [])
        await source.close()

    async def test_does_not_hide_a_peer_that_is_gone(self, peer, nursery, told):
        source = self.source(peer, StreamNetwork(nursery), told)
        for _ in range(2):
            with pytest.raises(RemoteError, match="does not speak"):
                await fetch(source)
        assert told == []

    async def test_does_not_hide_garbage_on_the_data_port(self, network, told):
        with GarbagePeer(answer_garbage) as peer:
            source = self.source(peer, network, told, peer.endpoint)
            with pytest.raises(RemoteError, match="not HTTP"):
                await fetch(source)
            assert told == []
            await source.close()

    async def test_that_is_cancelled_resets_its_stream(self, peer, told, nursery):
        async def hang(peer, stream):
            await trio.sleep_forever()

        network = StreamNetwork(nursery, {"/http/1.1": hang})
        source = self.source(peer, network, told)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(fetch, source)
                await until(lambda: network.streams)
                scope.cancel()
        assert network.streams[0].is_reset
