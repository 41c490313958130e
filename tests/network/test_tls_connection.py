"""TLS read in large strides: what comes is whole and in order, or it is an error."""

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from p2phub.formats.limits import MIB
from p2phub.network.data_client import client_context
from p2phub.network.data_server import server_context
from p2phub.network.libp2p_certificate import make_certificate, peer_of_certificate
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.network.tls_connection import READ_AHEAD, TlsConnection
from p2phub.testing.files import random_bytes
from p2phub.testing.peers import SEED


@pytest.fixture
def threads():
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def raw():
    """Two ends of a plain connection."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def ends(raw, threads):
    """Two ends that have shaken hands: what is tested, and Python's own."""
    ours, theirs = raw
    context = server_context(make_certificate(SEED))
    agreed = threads.submit(context.wrap_socket, theirs, server_side=True)
    connection = TlsConnection(ours, client_context())
    connection.handshake(10)
    connection.set_patience(10)
    with agreed.result() as peer:
        yield connection, peer


def cut(peer):
    """End a connection as a crash does."""
    socket.socket.shutdown(peer, socket.SHUT_RDWR)


def read(connection, size):
    """`size` bytes, or as many as come before the end."""
    view, done = memoryview(bytearray(size)), 0
    while done < size:
        count = connection.read_into(view[done:])
        if not count:
            break
        done += count
    return bytes(view[:done])


class TestReading:
    def test_gives_everything_in_order(self, ends, threads):
        connection, peer = ends
        data = random_bytes("tls", 5 * MIB + 17)
        sending = threads.submit(peer.sendall, data)
        assert read(connection, len(data)) == data
        sending.result()
        assert connection.is_drained

    def test_does_not_wait_for_more_than_what_has_come(self, ends):
        connection, peer = ends
        peer.sendall(b"0123456789")
        assert connection.read_into(memoryview(bytearray(100))) == 10

    def test_takes_no_more_than_it_is_given_room_for(self, ends):
        connection, peer = ends
        peer.sendall(b"0123456789")
        assert read(connection, 4) == b"0123"
        assert not connection.is_drained
        assert read(connection, 6) == b"456789"
        assert connection.is_drained

    def test_of_nothing_is_nothing(self, ends):
        assert ends[0].read_into(memoryview(b"")) == 0

    def test_holds_little_of_what_a_peer_sends_on_and_on(self, ends, threads):
        connection, peer = ends
        sending = threads.submit(peer.sendall, bytes(64 * MIB))
        assert read(connection, MIB) == bytes(MIB)
        assert connection._incoming.pending <= READ_AHEAD
        cut(peer)
        with pytest.raises(OSError):  # noqa: PT011  # in whatever state it was cut
            sending.result()


class TestTheEnd:
    def test_said_properly_is_no_bytes(self, ends, threads):
        connection, peer = ends
        peer.sendall(b"all")
        leaving = threads.submit(peer.unwrap)
        assert read(connection, 100) == b"all"
        assert connection.read_into(memoryview(bytearray(1))) == 0
        cut(peer)
        with pytest.raises(OSError):  # noqa: PT011  # it waits for a farewell that we do not say
            leaving.result()

    def test_without_a_farewell_is_an_error(self, ends):
        connection, peer = ends
        peer.sendall(b"half")
        cut(peer)
        with pytest.raises(ssl.SSLEOFError):
            read(connection, 5)

    def test_in_the_middle_of_a_record_is_an_error(self, ends):
        connection, peer = ends
        peer.sendall(bytes(1000))
        connection._incoming.write(connection._connection.recv(500))
        assert len(connection._connection.recv(4096)) > 500
        cut(peer)
        with pytest.raises(ssl.SSLEOFError):
            read(connection, 1000)

    def test_of_patience_is_a_time_out(self, ends):
        connection, _ = ends
        connection.set_patience(0.05)
        with pytest.raises(TimeoutError):
            connection.read_into(memoryview(bytearray(1)))

    def test_a_flipped_bit_is_an_error_and_no_bytes(self, ends):
        connection, peer = ends
        peer.sendall(b"x" * 100)
        record = bytearray(connection._connection.recv(4096))
        record[50] ^= 1
        connection._incoming.write(record)
        with pytest.raises(ssl.SSLError, match=r"BAD_RECORD_MAC|bad record mac"):
            connection.read_into(memoryview(bytearray(100)))


class TestSending:
    def test_everything_in_order(self, ends, threads):
        connection, peer = ends
        data = random_bytes("send", 3 * MIB + 5)
        came = threads.submit(lambda: peer.makefile("rb").read(len(data)))
        connection.send(data)
        assert came.result() == data


class TestTheHandshake:
    def test_tells_who_the_peer_is(self, ends):
        assert peer_of_certificate(ends[0].certificate) == peer_id_of_seed(SEED)

    def test_with_a_silent_peer_ends(self, raw):
        with pytest.raises(TimeoutError):
            TlsConnection(raw[0], client_context()).handshake(0.05)

    def test_drop_by_drop_ends_all_the_same(self, raw, threads):
        ours, theirs = raw
        stopping = threading.Event()

        def drip():
            theirs.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB is to come
            while not stopping.wait(0.01):
                theirs.sendall(b"\x00")

        dripping = threads.submit(drip)
        try:
            with pytest.raises(TimeoutError):
                TlsConnection(ours, client_context()).handshake(0.2)
        finally:
            stopping.set()
            dripping.result()

    def test_with_a_peer_that_hangs_up_is_an_error(self, raw):
        ours, theirs = raw
        cut(theirs)
        with pytest.raises(OSError):  # noqa: PT011  # at the first or the second system call
            TlsConnection(ours, client_context()).handshake(5)

    def test_with_something_else_is_an_error(self, raw):
        ours, theirs = raw
        theirs.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        with pytest.raises(ssl.SSLError):
            TlsConnection(ours, client_context()).handshake(5)
