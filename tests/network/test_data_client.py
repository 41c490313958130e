"""The asking side of a data connection, against peers that answer badly in every way."""

import socket
import struct
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from p2phub.config import Endpoint
from p2phub.errors import (
    GarbageError,
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RemoteError,
    TooSlowError,
    WrongBytesError,
)
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network.data_client import DataClient
from p2phub.network.limits import MAX_TRIED, Patience
from p2phub.protocol.ask import UnknownTicketError
from p2phub.protocol.ports import Holding
from p2phub.testing.files import random_bytes
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import (
    GarbagePeer,
    ServedPeer,
    answer_garbage,
    answer_nothing,
    claim_a_gigabyte,
    endless_body,
    endless_head,
    truncated_body,
)
from p2phub.testing.samples import MemorySink, make_sample

SAMPLE = make_sample(3 * MIB, piece=500_000)
QUICK = Patience(connect=0.3, handshake=0.3, request=0.3, progress=0.3)
DIGEST = bytes(32)


def plain_one():
    """A certificate as web servers have them, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub.example")])
    day = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day.replace(year=2099))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def connect():
    """Clients that are closed after the test."""
    clients = []

    def connect(peer, **settings):
        client = DataClient(peer.peer_id, b"", name="bob", patience=QUICK, **settings)
        clients.append(client)
        client.connect([peer.endpoint])
        return client

    yield connect
    for client in clients:
        client.close()


def resets_after(count):
    """A peer that takes a connection, sends the first `count` parts of an answer, and resets it."""
    parts = [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 10\r\n\r\n", b"01234", b"5678"]

    def script(request):
        yield from parts[:count]
        raise ConnectionResetError

    return script


class TestResets:
    """A reset is an error of the peer at whatever stage, and the connection is not used again."""

    def test_before_the_handshake(self):
        with ResettingPort() as endpoint:
            client = DataClient("12D3KooWnobody", b"", name="bob", patience=QUICK)
            with pytest.raises(NoSourceError, match="the data port of bob cannot be reached"):
                client.connect([endpoint])
            client.close()

    @pytest.mark.parametrize("parts", range(5))
    def test_in_an_answer(self, connect, parts):
        with GarbagePeer(resets_after(parts)) as peer:
            client = connect(peer)
            with pytest.raises(RemoteError):
                client.document(DIGEST, 10)
            assert not client.reusable
            with pytest.raises(RemoteError):
                client.document(DIGEST, 10)


class ResettingPort:
    """Accepts connections and resets each at once."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return Endpoint("127.0.0.1", self.listener.getsockname()[1])

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.close()


class TestGarbageAnswers:
    @pytest.mark.parametrize(
        ("script", "problem"),
        [
            (answer_garbage, "not HTTP/1.1"),
            (claim_a_gigabyte, "bob claims a document of 1000000000 bytes; at most 10"),
            (endless_head, "head of more than"),
        ],
    )
    def test_are_refused_before_memory_is_spent(self, connect, script, problem):
        with GarbagePeer(script) as peer:
            client = connect(peer)
            with pytest.raises(GarbageError, match=problem):
                client.document(DIGEST, 10)
            assert not client.reusable

    def test_too_long_ones_are_never_read_beyond_what_was_asked(self, connect):
        with GarbagePeer(endless_body) as peer:
            client = connect(peer)
            assert client.document(DIGEST, 10) == b"0123456789"

    def test_one_that_has_more_in_the_same_packet_ends_the_connection(self, connect):
        def chatty(request):
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more"

        with GarbagePeer(chatty) as peer:
            client = connect(peer)
            assert client.document(DIGEST, 10) == b"hi"
            assert not client.reusable

    def test_truncated_ones(self, connect):
        with GarbagePeer(truncated_body) as peer:
            first = connect(peer)
            with pytest.raises((TooSlowError, RemoteError)):
                first.document(DIGEST, 10)
            assert not first.reusable

    def test_none_at_all(self, connect):
        with GarbagePeer(answer_nothing, hangs=True) as peer:
            with pytest.raises(TooSlowError, match="bob did not answer in time"):
                connect(peer).document(DIGEST, 10)
            assert peer.requests

    def test_a_head_drop_by_drop(self, connect):
        def drip(request):
            for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
                yield bytes([letter])
                peer.stopping.wait(0.05)

        with GarbagePeer(drip) as peer, pytest.raises(TooSlowError):
            connect(peer).document(DIGEST, 10)

    def test_a_body_drop_by_drop(self, connect):
        def drip(request):
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
            for _ in range(1000):
                yield b"x"
                peer.stopping.wait(0.05)

        with GarbagePeer(drip) as peer:
            client = connect(peer)
            with pytest.raises(TooSlowError, match="next to nothing"):
                client.document(DIGEST, 1000)

    def test_to_a_hold_question(self, connect):
        with GarbagePeer(answer_garbage) as peer:
            client = connect(peer)
            with pytest.raises(GarbageError):
                client.holds(SAMPLE.content)

    @pytest.mark.parametrize("wrong", [0, 3, 6])
    def test_lies_in_any_piece(self, connect, wrong):
        library = MemoryLibrary()
        library.add(SAMPLE)
        data = bytearray(SAMPLE.data)
        data[SAMPLE.table.offset(wrong) + 5] ^= 1
        library.replace(SAMPLE.content, bytes(data))
        with ServedPeer(library) as peer:
            client, sink = connect(peer), MemorySink(SAMPLE.table)
            with pytest.raises(WrongBytesError):
                client.fetch(SAMPLE.content, SAMPLE.table, SAMPLE.all, sink)
            assert sink.order == list(range(wrong))
            assert not client.reusable
            client.close()


class TestWhoIsThere:
    def try_to_connect(self, peer_id, *endpoints):
        client = DataClient(peer_id, b"", name="bob", patience=QUICK)
        try:
            with pytest.raises(NoSourceError) as caught:
                client.connect(endpoints)
        finally:
            client.close()
        return caught.value.message

    def test_another_peer_is_not_asked_anything(self):
        with GarbagePeer(answer_garbage, seed=bytes(32)) as other, ServedPeer() as bob:
            said = self.try_to_connect(bob.peer_id, other.endpoint)
            assert f"another peer answers there: {other.peer_id}" in said
            assert other.requests in ([], [b""])

    def test_the_next_address_is_tried(self):
        with GarbagePeer(answer_garbage, seed=bytes(32)) as other, ServedPeer() as bob:
            client = DataClient(bob.peer_id, b"", patience=QUICK)
            client.connect([other.endpoint, bob.endpoint])
            assert client.reusable
            client.close()

    def test_a_port_where_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        said = self.try_to_connect("bob's id", Endpoint("127.0.0.1", port))
        assert f"127.0.0.1:{port}: the connection to bob failed" in said

    @pytest.mark.parametrize("hangs", [True, False])
    def test_a_port_where_somebody_speaks_no_tls(self, hangs):
        with GarbagePeer(lambda request: [random_bytes(1, 500)], plain=True, hangs=hangs) as peer:
            assert "TLS" in self.try_to_connect(peer.peer_id, peer.endpoint)

    def test_a_port_where_somebody_says_nothing(self):
        with GarbagePeer(answer_nothing, plain=True, hangs=True) as peer:
            assert "did not answer in time" in self.try_to_connect(peer.peer_id, peer.endpoint)

    def test_a_port_where_everybody_is_turned_away(self):
        with GarbagePeer(answer_nothing, plain=True) as peer:
            assert "bob" in self.try_to_connect(peer.peer_id, peer.endpoint)

    def test_a_certificate_that_proves_nothing(self, monkeypatch):
        monkeypatch.setattr("p2phub.testing.peers.make_certificate", lambda seed: plain_one())
        with ServedPeer() as peer:
            said = self.try_to_connect(peer.peer_id, peer.endpoint)
            assert "lacks the libp2p extension" in said

    def test_no_address_at_all(self):
        assert "it names no address" in self.try_to_connect("bob's id")

    def test_a_peer_that_names_a_hundred_addresses_costs_a_few_tries(self):
        with GarbagePeer(answer_nothing, plain=True) as peer:
            self.try_to_connect("bob's id", *[peer.endpoint] * 100)
            assert len(peer.requests) <= MAX_TRIED


class TestOneConnection:
    @pytest.fixture
    def peer(self):
        library = MemoryLibrary()
        library.add(SAMPLE)
        library.documents[DIGEST] = b"a page"
        with ServedPeer(library) as peer:
            yield peer

    def test_serves_one_question_after_the_other(self, peer, connect):
        client, sink = connect(peer), MemorySink(SAMPLE.table)
        assert client.holds(SAMPLE.content) == Holding(complete=True)
        with pytest.raises(NotFoundError):
            client.document(bytes(31) + b"1", 10)
        assert client.reusable
        client.fetch(SAMPLE.content, SAMPLE.table, Run(0, 3), sink)
        client.fetch(SAMPLE.content, SAMPLE.table, Run(3, 4), sink)
        assert client.document(DIGEST, 10) == b"a page"
        assert sink.data == SAMPLE.data
        assert client.reusable
        assert peer.server.connections == 1
        client.close()

    def test_shows_its_ticket(self, peer):
        for ticket, known in ((peer.tickets.issue("me", 1 << 50), True), (bytes(32), False)):
            client = DataClient(peer.peer_id, ticket, name="bob")
            client.connect([peer.endpoint])
            if known:
                assert client.document(DIGEST, 10) == b"a page"
            else:
                with pytest.raises(UnknownTicketError):
                    client.document(DIGEST, 10)
            client.close()

    def test_is_not_usable_before_it_is_open_nor_after(self, peer, connect):
        with pytest.raises(RemoteError, match="is closed"):
            DataClient(peer.peer_id, b"").document(DIGEST, 10)
        client = connect(peer)
        client.close()
        with pytest.raises(RemoteError, match="is closed"):
            client.document(DIGEST, 10)

    def test_notices_that_the_peer_went_away(self, peer, connect):
        client = connect(peer)
        client.document(DIGEST, 10)
        peer.server.stop()
        with pytest.raises(RemoteError):
            client.document(DIGEST, 10)
        assert not client.answered
        assert not client.reusable

    def test_can_be_aborted_from_another_thread(self):
        with GarbagePeer(answer_nothing, hangs=True) as peer:
            client = DataClient(peer.peer_id, b"", patience=Patience(request=100))
            client.connect([peer.endpoint])
            errors = []

            def ask():
                try:
                    client.document(DIGEST, 10)
                except P2PHubError as error:
                    errors.append(error)

            thread = threading.Thread(target=ask)
            thread.start()
            while not peer.requests:
                peer.stopping.wait(0.001)
            client.abort()
            thread.join(5)
            assert not thread.is_alive()
            assert isinstance(errors[0], RemoteError)
            assert not client.reusable
            client.close()

    def test_cannot_be_opened_once_aborted(self, peer):
        client = DataClient(peer.peer_id, b"")
        client.abort()
        with pytest.raises(RemoteError, match="from this side"):
            client.connect([peer.endpoint])
        client.close()
