"""A data port with many guests: hogs, slow readers, and peers that must wait for their turn."""

import resource
import socket
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress

import pytest
import trio

from p2phub.formats.limits import KIB, MIB
from p2phub.formats.pieces import Run
from p2phub.network.data_client import DataClient, client_context
from p2phub.network.http_head import request_bytes
from p2phub.network.limits import Patience
from p2phub.network.peer_source import PeerSource
from p2phub.network.stream_http import HTTP, StreamClient, StreamServer
from p2phub.network.throttle import Throttle
from p2phub.network.upload_slots import Turn
from p2phub.protocol.ask import BusyError, file_request
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import ServedPeer
from p2phub.testing.samples import make_sample
from p2phub.testing.streams import StreamNetwork, stream_pair

MB = 1_000_000
LARGE = make_sample(48 * MIB, piece=MIB)


class Discard:
    """A sink that keeps nothing."""

    def __init__(self):
        self.size = 0

    def accept(self, index, piece):
        self.size += len(piece)


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(LARGE)
    return library


def client_of(peer, who="", **settings):
    ticket = peer.tickets.issue(who, int(time.time())) if who else b""
    client = DataClient(peer.peer_id, ticket, **settings)
    client.connect([peer.endpoint])
    return client


class Readers:
    """Peers that fetch the large file again and again, each connection in a thread."""

    def __init__(self, peer):
        self.peer, self.sent = peer, Counter()
        self.clients, self.threads = [], []

    def add(self, who, connections):
        for _ in range(connections):
            client = client_of(self.peer, who)
            self.clients.append(client)
            thread = threading.Thread(target=self._read, args=(client, who), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _read(self, client, who):
        readers = self

        class Count:
            def accept(self, index, piece):
                readers.sent[who] += len(piece)

        with suppress(Exception):  # it is aborted in the end
            while True:
                client.fetch(LARGE.content, LARGE.table, LARGE.all, Count())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.abort()
        for thread in self.threads:
            thread.join(10)
        for client in self.clients:
            client.close()


class TestUpCap:
    def test_holds_over_sockets_and_peers_share_it_whatever_connections_they_have(self, library):
        with ServedPeer(library, up=Throttle(16 * MB)) as peer, Readers(peer) as readers:
            readers.add("greedy", 16)
            readers.add("modest", 2)
            time.sleep(0.5)
            before, start = peer.server.bytes_sent, time.monotonic()
            counts = Counter(readers.sent)
            time.sleep(3)
            rate = (peer.server.bytes_sent - before) / (time.monotonic() - start)
            counts = readers.sent - counts
        assert rate == pytest.approx(16 * MB, rel=0.1)
        assert counts["greedy"] <= 1.5 * counts["modest"] + 4 * MIB

    def test_holds_for_each_peer(self, library):
        with ServedPeer(library, up=Throttle(0, 4 * MB)) as peer, Readers(peer) as readers:
            readers.add("one", 4)
            readers.add("two", 1)
            time.sleep(0.5)
            before, start = peer.server.bytes_sent, time.monotonic()
            time.sleep(2)
            rate = (peer.server.bytes_sent - before) / (time.monotonic() - start)
        assert rate == pytest.approx(8 * MB, rel=0.1)


class TestDownCap:
    @pytest.mark.parametrize("limits", [(8 * MB, 0), (0, 8 * MB)])
    def test_holds_and_the_sender_feels_it(self, library, limits):
        down = Throttle(*limits)
        with ServedPeer(library) as peer:
            client = client_of(peer, down=down)
            start, sink = time.monotonic(), Discard()
            with suppress_at(2, client):
                client.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
            took = time.monotonic() - start
            assert peer.server.bytes_sent < sink.size + 16 * MIB  # what fits in two sockets
            client.close()
        assert sink.size == pytest.approx(8 * MB * took, rel=0.1, abs=MIB)


@contextmanager
def suppress_at(seconds, client):
    """Abort the client after so many seconds, and take what it raises then."""
    timer = threading.Timer(seconds, client.abort)
    timer.start()
    with suppress(Exception):
        yield
    timer.join()


class TestFallBack:
    """A peer whose data port cannot be reached, over a stream; beside it, one that can."""

    async def test_streams_and_sockets_keep_to_one_up_cap(self, nursery, library):
        up = Throttle(8 * MB)
        network, server = StreamNetwork(nursery), StreamServer(library, up=up)
        server.register(network)

        async def fetch_for_ever():
            client = StreamClient(await network.open_stream("bob", HTTP), "bob")
            while True:
                await client.fetch(LARGE.content, LARGE.table, LARGE.all, Discard())

        with ServedPeer(library, up=up) as peer, Readers(peer) as readers:
            readers.add("direct", 2)
            nursery.start_soon(fetch_for_ever)
            await trio.sleep(0.5)
            before, start = (peer.server.bytes_sent, server.bytes_sent), trio.current_time()
            await trio.sleep(2.5)
            took = trio.current_time() - start
            direct, stream = peer.server.bytes_sent - before[0], server.bytes_sent - before[1]
            nursery.cancel_scope.cancel()
        assert direct + stream == pytest.approx(8 * MB * took, rel=0.1)
        assert stream == pytest.approx(direct, rel=0.25)

    async def test_a_stream_and_a_socket_share_the_upload_slots(self, nursery, library):
        with ServedPeer(library, uploads=1, patience=Patience(turn=0.1)) as peer:
            network = StreamNetwork(nursery)
            patience = Patience(turn=0.1)
            StreamServer(library, patience=patience, slots=peer.server.slots).register(network)
            turn, sink = Holder(peer.server.slots), Discard()
            source = PeerSource(peer.peer_id, [], name="bob", network=network)
            async with trio.open_nursery() as fetching:
                fetching.start_soon(source.fetch, LARGE.content, LARGE.table, LARGE.all, sink)
                await trio.sleep(0.5)
                assert sink.size == 0
                await trio.to_thread.run_sync(turn.let_go)
            assert sink.size == LARGE.content.size
            assert peer.server.slots.held == 0
            await source.close()
            nursery.cancel_scope.cancel()

    async def test_a_stream_that_nobody_reads_does_not_keep_the_only_slot(self, nursery, library):
        with ServedPeer(library, uploads=1) as peer:
            ours, theirs = stream_pair()
            began = trio.Event()

            async def write(data):
                if len(data) > KIB:  # the head goes out
                    began.set()
                    await trio.sleep_forever()

            theirs.write = write
            await ours.write(request_bytes(file_request(LARGE.content, 0, 8 * MIB, ticket=b"")))
            server = StreamServer(library, slots=peer.server.slots)
            nursery.start_soon(server.serve, "stuck", theirs)
            await began.wait()
            assert peer.server.slots.held == 1
            sink, client = Discard(), client_of(peer, "fast")
            await trio.to_thread.run_sync(client.fetch, LARGE.content, LARGE.table, LARGE.all, sink)
            assert sink.size == LARGE.content.size
            client.close()
            nursery.cancel_scope.cancel()

    async def test_a_stream_keeps_to_the_down_cap(self, nursery, library):
        network, sink = StreamNetwork(nursery), Discard()
        StreamServer(library).register(network)
        stream = await network.open_stream("bob", HTTP)
        client = StreamClient(stream, "bob", down=Throttle(8 * MB))
        start = trio.current_time()
        await client.fetch(LARGE.content, LARGE.table, Run(0, 16), sink)
        assert sink.size == pytest.approx(8 * MB * (trio.current_time() - start), rel=0.1)
        nursery.cancel_scope.cancel()


class TestSlowReaders:
    def fetch_rate(self, peer):
        client, sink, start = client_of(peer, "fast"), Discard(), time.monotonic()
        client.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
        client.close()
        return sink.size / (time.monotonic() - start)

    def test_one_at_10_kb_a_second_takes_nothing_from_others(self, library):
        with ServedPeer(library, up=Throttle(40 * MB)) as peer:
            alone = self.fetch_rate(peer)
            with self.slow_reader(peer):
                beside = max(self.fetch_rate(peer) for _ in range(2))
        assert beside >= 0.9 * alone

    def test_one_cannot_keep_the_only_upload_slot(self, library):
        with ServedPeer(library, uploads=1) as peer, self.slow_reader(peer):
            client, sink = client_of(peer, "fast"), Discard()
            start = time.monotonic()
            client.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
            assert time.monotonic() - start < 5
            client.close()

    @contextmanager
    def slow_reader(self, peer):
        stop = threading.Event()
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        raw.connect(("127.0.0.1", peer.server.port))
        tls = client_context().wrap_socket(raw)
        tls.sendall(f"GET /v1/files/{LARGE.content} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        def drip():
            while not stop.wait(0.1):
                tls.recv(1000)

        thread = threading.Thread(target=drip)
        thread.start()
        time.sleep(0.2)
        try:
            yield
        finally:
            stop.set()
            thread.join()
            tls.close()


class TestMemory:
    """One file of 48 MiB, and what both ends together hold of it at any moment."""

    @pytest.fixture
    def peak(self):
        tracemalloc.start()
        yield lambda: tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    def test_is_flat_with_a_fast_source_and_a_slow_disk(self, library, peak):
        class SlowDisk(Discard):
            def accept(self, index, piece):
                time.sleep(0.01)
                super().accept(index, piece)

        with ServedPeer(library) as peer:
            client, sink = client_of(peer), SlowDisk()
            client.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
            client.close()
        assert sink.size == LARGE.content.size
        assert peak() < 8 * MIB

    def test_is_flat_with_readers_that_hardly_read(self, library, peak):
        with ServedPeer(library) as peer, ExitStack() as stack:
            for _ in range(16):
                raw = stack.enter_context(socket.socket())
                raw.connect(("127.0.0.1", peer.server.port))
                tls = stack.enter_context(client_context().wrap_socket(raw))
                line = f"GET /v1/files/{LARGE.content} HTTP/1.1\r\nHost: x\r\n\r\n"
                tls.sendall(line.encode())
                tls.recv(1)
            time.sleep(0.3)
            assert peer.server.connections == 16
        assert peak() < 16 * MIB

    async def test_is_flat_over_a_stream_with_a_slow_disk(self, nursery, library, peak):
        class SlowDisk(Discard):
            def accept(self, index, piece):
                time.sleep(0.01)
                super().accept(index, piece)

        network, sink = StreamNetwork(nursery), SlowDisk()
        StreamServer(library).register(network)
        client = StreamClient(await network.open_stream("bob", HTTP), "bob")
        await client.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
        assert sink.size == LARGE.content.size
        assert peak() < 32 * MIB  # an answer of 8 MiB, in the stream of the test and behind it
        nursery.cancel_scope.cancel()


class TestHogs:
    @pytest.fixture(autouse=True)
    def files(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def ask(self, peer, who):
        client = client_of(peer, who)
        try:
            assert client.holds(LARGE.content).complete
        finally:
            client.close()

    @pytest.mark.slow
    def test_a_thousand_silent_connections_keep_nobody_out(self, library):
        with ServedPeer(library, connections=32) as peer, ExitStack() as stack:
            where = ("127.0.0.1", peer.server.port)
            for _ in range(1000):
                stack.enter_context(socket.create_connection(where, timeout=10))
            for _ in range(5):
                self.ask(peer, "honest")
            assert peer.server.connections <= 33
            assert threading.active_count() < 100

    def test_connections_that_are_always_busy_keep_nobody_out(self, library):
        patience = Patience(turn=0.2)
        with (
            ServedPeer(library, connections=8, per_peer=4, patience=patience) as peer,
            ExitStack() as stack,
        ):
            for _ in range(20):
                with suppress(OSError):
                    raw = socket.create_connection(("127.0.0.1", peer.server.port), timeout=10)
                    tls = stack.enter_context(client_context().wrap_socket(raw))
                    line = f"GET /v1/files/{LARGE.content} HTTP/1.1\r\nHost: x\r\n\r\n"
                    tls.sendall(line.encode())
                    tls.recv(1)
            with pytest.raises(BusyError):  # from the hog's address, without a ticket
                self.ask(peer, "")
            self.ask(peer, "honest")

    def test_more_connections_than_a_peer_may_have_are_told_to_come_again(self, library):
        with ServedPeer(library, per_peer=2) as peer:
            first, second, third = (client_of(peer, "same") for _ in range(3))
            assert first.holds(LARGE.content)
            assert second.holds(LARGE.content)
            with pytest.raises(BusyError, match="same has too many connections here") as caught:
                third.holds(LARGE.content)
            assert caught.value.seconds == 1
            assert not third.reusable
            self.ask(peer, "other")
            for client in (first, second, third):
                client.close()


class TestWaiting:
    async def test_a_busy_peer_is_asked_again_when_it_says_and_that_is_no_fault(self, library):
        patience = Patience(turn=0.1)
        with ServedPeer(library, uploads=1, patience=patience) as peer:
            hold = peer.server._slots
            turn = Holder(hold)
            source = PeerSource(peer.peer_id, [peer.endpoint], name="bob")
            sink = Discard()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.fetch, LARGE.content, LARGE.table, LARGE.all, sink)
                await trio.sleep(0.5)
                assert sink.size == 0
                turn.let_go()
            assert sink.size == LARGE.content.size
            await source.close()

    async def test_a_peer_that_stays_busy_is_given_up_after_a_while(self, library):
        with ServedPeer(library, uploads=1, patience=Patience(turn=0.05)) as peer:
            turn = Holder(peer.server._slots)
            source = PeerSource(
                peer.peer_id, [peer.endpoint], name="bob", patience=Patience(busy=0.5)
            )
            with pytest.raises(BusyError, match="bob is busy: every upload slot is taken"):
                await source.fetch(LARGE.content, LARGE.table, LARGE.all, Discard())
            turn.let_go()
            await source.close()


class Holder:
    """Holds the only slot, and is never slow about it."""

    def __init__(self, slots):
        self.slots, self.turn, self.stop = slots, Turn("holder"), threading.Event()
        assert slots.take(self.turn, 1)
        self.thread = threading.Thread(target=self._hold)
        self.thread.start()

    def _hold(self):
        while not self.stop.wait(0.01):
            self.turn.moved = self.turn.since = time.monotonic()

    def let_go(self):
        self.stop.set()
        self.thread.join()
        self.slots.leave(self.turn)
