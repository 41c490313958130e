"""The data port: what it serves, whom it knows, and what strangers cannot do to it."""

import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest

from p2phub.errors import ConfigError, PortInUseError
from p2phub.formats.limits import MIB
from p2phub.network.data_client import client_context
from p2phub.network.data_server import DataServer
from p2phub.network.libp2p_certificate import make_certificate, peer_of_certificate
from p2phub.network.limits import Patience
from p2phub.network.throttle import Throttle
from p2phub.network.tickets import Tickets, steady_time
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import SEED, ServedPeer
from p2phub.testing.samples import make_sample

SAMPLE = make_sample(3 * MIB)
SMALL = make_sample(10)
QUICK = Patience(handshake=0.2, request=0.2, progress=0.2, idle=0.2)


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SAMPLE)
    library.add(SMALL)
    return library


@pytest.fixture
def peer(library):
    with ServedPeer(library) as peer:
        yield peer
    assert library.open_now == 0


class Connection:
    """TLS to a served peer, with the bytes in the hands of the test."""

    def __init__(self, peer, context=None):
        raw = socket.create_connection(("127.0.0.1", peer.server.port), timeout=10)
        self.tls = (context or client_context()).wrap_socket(raw)
        self.file = self.tls.makefile("rb")

    def ask(self, content=SMALL.content, *headers, method="GET", version="1.1"):
        lines = [f"{method} /v1/files/{content} HTTP/{version}", "Host: x", *headers, "", ""]
        self.tls.sendall("\r\n".join(lines).encode())
        return self.answer(method)

    def start(self, content):
        """Ask, and wait until the first bytes are here."""
        self.tls.sendall(f"GET /v1/files/{content} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert self.tls.recv(1)

    def answer(self, method="GET"):
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        length = 0 if method == "HEAD" else int(headers["content-length"])
        return status, headers, self.file.read(length)

    def is_ended(self):
        """Wait for the other side to end it; whether it did without another word."""
        return self.file.read() == b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.tls.close()


def wait_until_gone(server):
    """The threads of ended connections may take a moment to notice."""
    for thread in threading.enumerate():
        if thread.name == "data":
            thread.join(5)
    assert server.connections == 0


def wait_until_idle(server):
    """A session notices that it is idle a moment after the other side has its answer."""
    while any(session.idle_since is None for session in list(server._sessions)):
        threading.Event().wait(0.001)


class TestServes:
    def test_several_requests_on_one_connection(self, peer):
        with Connection(peer) as connection:
            assert connection.ask()[::2] == (200, SMALL.data)
            status, headers, body = connection.ask(SAMPLE.content, "Range: bytes=5-104")
            assert (status, body) == (206, SAMPLE.data[5:105])
            assert headers["content-range"] == f"bytes 5-104/{3 * MIB}"
            assert connection.ask(method="HEAD")[::2] == (200, b"")
            assert connection.ask(SAMPLE.content)[2] == SAMPLE.data
        assert peer.server.bytes_sent == 10 + 100 + 3 * MIB

    def test_requests_that_came_together(self, peer):
        with Connection(peer) as connection:
            line = f"GET /v1/files/{SMALL.content} HTTP/1.1\r\nHost: x\r\n\r\n"
            connection.tls.sendall(2 * line.encode())
            assert connection.answer()[2] == SMALL.data
            assert connection.answer()[2] == SMALL.data

    def test_many_connections_at_once(self, peer):
        connections = [Connection(peer) for _ in range(10)]
        for connection in connections:
            assert connection.ask()[2] == SMALL.data
        assert peer.server.connections == 10
        for connection in connections:
            connection.__exit__()

    def test_a_client_that_wants_to_close(self, peer):
        with Connection(peer) as connection:
            assert connection.ask(SMALL.content, "Connection: close")[2] == SMALL.data
            assert connection.is_ended()

    def test_a_client_of_http_1_0(self, peer):
        with Connection(peer) as connection:
            assert connection.ask(version="1.0")[2] == SMALL.data
            assert connection.is_ended()

    def test_a_refusal_and_then_the_next_request(self, peer):
        with Connection(peer) as connection:
            assert connection.ask("0-" + "1" * 64)[0] == 404
            assert connection.ask()[0] == 200

    def test_with_the_certificate_of_its_peer_id_over_tls_1_3(self, peer):
        with Connection(peer) as connection:
            assert peer_of_certificate(connection.tls.getpeercert(binary_form=True)) == peer.peer_id
            assert connection.tls.version() == "TLSv1.3"

    def test_nothing_over_older_tls(self, peer):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            Connection(peer, context)

    def test_a_file_that_became_shorter_ends_the_connection_in_the_middle(self, peer):
        peer.library.replace(SAMPLE.content, SAMPLE.data[:MIB])
        with Connection(peer) as connection:
            assert len(connection.ask(SAMPLE.content)[2]) == MIB
        wait_until_gone(peer.server)
        assert peer.server.faults == 1


class TestTickets:
    @pytest.fixture
    def secret(self, library):
        secret = make_sample(20)
        library.add(secret, private_to=["friend"])
        return secret

    def ask(self, peer, content, ticket):
        with Connection(peer) as connection:
            return connection.ask(content, f"Authorization: Bearer {ticket.hex()}")[0]

    def test_say_who_asks(self, peer, secret):
        assert self.ask(peer, secret.content, peer.tickets.issue("friend", now=0)) == 401
        now = 2_000_000_000_000
        assert self.ask(peer, secret.content, peer.tickets.issue("friend", now)) == 200
        assert self.ask(peer, secret.content, peer.tickets.issue("stranger", now)) == 404

    @pytest.mark.parametrize("days", [-2, 2])
    def test_live_on_when_the_clock_of_the_machine_is_set(self, peer, secret, days, monkeypatch):
        ticket = peer.tickets.issue("friend", steady_time())
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + days * 86400)
        assert self.ask(peer, secret.content, ticket) == 200
        late = peer.tickets.issue("friend", steady_time() - peer.tickets.seconds)
        assert self.ask(peer, secret.content, late) == 401

    def test_that_are_unknown_are_refused_even_for_public_files(self, peer):
        assert self.ask(peer, SMALL.content, bytes(32)) == 401

    def test_are_not_needed_for_public_files_and_nobody_sees_private_ones(self, peer, secret):
        with Connection(peer) as connection:
            assert connection.ask(SMALL.content)[0] == 200
            assert connection.ask(secret.content)[0] == 404


GARBAGE = {
    "random": b"\x00\x01\x02\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a body": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "a chunked body": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\n\x00: b\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "a long line": b"GET /" + b"x" * 20_000,
}


class TestStrangers:
    @pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
    def test_who_send_garbage_are_told_so_and_sent_away(self, peer, data):
        with Connection(peer) as connection:
            connection.tls.sendall(data)
            status, headers, _ = connection.answer()
            assert status == 400
            assert headers["p2phub-error"].startswith("3; ")
            assert connection.is_ended()
        with Connection(peer) as connection:
            assert connection.ask()[0] == 200

    def test_who_speak_no_tls_are_sent_away(self, peer):
        with socket.create_connection(("127.0.0.1", peer.server.port), timeout=10) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with suppress(ConnectionError):
                while raw.recv(1000):
                    pass

    def test_who_hang_up_at_any_moment_leave_nothing_behind(self, peer):
        for cut in range(4):
            raw = socket.create_connection(("127.0.0.1", peer.server.port), timeout=10)
            if cut:
                raw = client_context().wrap_socket(raw)
            if cut > 1:
                raw.sendall(f"GET /v1/files/{SAMPLE.content} HTTP/1.1\r\nHost: x\r\n".encode())
            if cut > 2:
                raw.sendall(b"\r\n")
                raw.recv(100)
            raw.close()
        with Connection(peer) as connection:
            assert connection.ask()[0] == 200
        wait_until_gone(peer.server)
        assert peer.library.open_now == 0


class TestPatience:
    @pytest.fixture
    def peer(self, library):
        with ServedPeer(library, patience=QUICK) as peer:
            yield peer

    def ended(self, connection):
        connection.settimeout(10)
        with suppress(ConnectionError):
            while connection.recv(1 << 20):
                pass
        return True

    def test_ends_when_nobody_shakes_hands(self, peer):
        with socket.create_connection(("127.0.0.1", peer.server.port)) as raw:
            assert self.ended(raw)

    def test_ends_when_nobody_asks(self, peer):
        with Connection(peer) as connection:
            assert connection.ask()[0] == 200
            assert connection.is_ended()
        assert peer.server.faults == 0

    def test_ends_when_a_request_comes_drop_by_drop(self, peer):
        with Connection(peer) as connection:
            connection.tls.settimeout(0.05)
            for letter in b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000:
                connection.tls.sendall(bytes([letter]))
                with suppress(TimeoutError):
                    assert connection.tls.recv(1) == b""
                    return  # it was ended, long before the request was
        pytest.fail("the server took a request that came drop by drop")

    def test_ends_when_the_reader_does_not_read(self, peer):
        peer.library.add(large := make_sample(48 * MIB, piece=MIB))
        with Connection(peer) as connection:
            line = f"GET /v1/files/{large.content} HTTP/1.1\r\nHost: x\r\n\r\n"
            connection.tls.sendall(line.encode())
            wait_until_gone(peer.server)
        assert peer.server.faults == 1
        assert peer.library.open_now == 0


class TestLimits:
    def test_the_connection_that_was_idle_longest_makes_room(self, library):
        with ServedPeer(library, connections=2) as peer:
            first, second = Connection(peer), Connection(peer)
            for connection in (first, second, first):
                assert connection.ask()[0] == 200
                wait_until_idle(peer.server)
            with Connection(peer) as third:
                assert third.ask()[0] == 200
                assert second.is_ended()
                assert first.ask()[0] == 200
            first.__exit__()
            second.__exit__()

    def test_a_newcomer_is_turned_away_when_everybody_is_busy(self, library):
        library.add(large := make_sample(48 * MIB, piece=MIB))
        with ServedPeer(library, connections=1) as peer, Connection(peer) as busy:
            busy.start(large.content)
            with pytest.raises(OSError):  # noqa: PT011
                Connection(peer)
            assert peer.server.turned_away == 1

    def test_up_holds_for_all_connections_together(self, library):
        clock = [0.0]

        def wait(bell, seconds):
            clock[0] += seconds or 0

        up = Throttle(MIB, clock=lambda: clock[0], wait=wait)
        with ServedPeer(library, up=up) as peer, Connection(peer) as connection:
            assert connection.ask(SAMPLE.content)[2] == SAMPLE.data
        assert clock[0] == pytest.approx(3, abs=0.15)  # seconds for 3 MiB, but for the burst


class TestStartAndStop:
    def make(self, host="127.0.0.1", port=0):
        return DataServer(host, port, make_certificate(SEED), MemoryLibrary(), Tickets())

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = self.make(port=taken.getsockname()[1])
            with pytest.raises(PortInUseError, match="somebody else listens at") as caught:
                server.start()
        assert "data_listen" in caught.value.remedy
        server.stop()

    def test_an_address_that_is_not_ours(self):
        with pytest.raises(ConfigError, match=r"cannot listen at 192\.0\.2\.1:0"):
            self.make("192.0.2.1").start()

    def test_ipv6(self):
        if not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        server = self.make("::1")
        try:
            server.start()
        except ConfigError:
            pytest.skip("no IPv6 here")
        assert server.port
        server.stop()

    def test_stop_ends_connections_in_every_state_and_every_thread(self, library):
        before = set(threading.enumerate())
        library.add(large := make_sample(48 * MIB, piece=MIB))
        peer = ServedPeer(library)
        with peer:
            raw = socket.create_connection(("127.0.0.1", peer.server.port))
            idle, busy = Connection(peer), Connection(peer)
            idle.ask()
            busy.tls.sendall(f"GET /v1/files/{large.content} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            busy.tls.recv(1)
        assert not set(threading.enumerate()) - before
        assert idle.is_ended()
        assert library.open_now == 0
        for each in (idle, busy):
            each.__exit__()
        raw.close()

    def test_stop_twice_and_before_start(self):
        server = self.make()
        server.stop()
        server.start()
        assert server.port
        server.stop()
        server.stop()
        assert not server.connections

    def test_a_stop_while_somebody_connects(self, library):
        """Who accepts may see the stop before it is woken, and be gone by then."""
        peer = ServedPeer(library)
        with peer:
            waker, acceptor, port = peer.server._waker, peer.server._acceptor, peer.server.port

            class Late:
                def send(self, data):
                    with suppress(OSError):  # it may be gone already
                        socket.create_connection(("127.0.0.1", port)).close()
                    acceptor.join(5)
                    return waker.send(data)

                def close(self):
                    waker.close()

            peer.server._waker = Late()
        assert not acceptor.is_alive()

    def test_the_port_is_free_again_after_stop(self, peer):
        port = peer.server.port
        with Connection(peer) as connection:
            connection.ask()
        peer.server.stop()
        again = self.make(port=port)
        again.start()
        again.stop()


def test_a_bug_in_what_is_held_costs_one_connection_and_is_heard_of():
    class Buggy(MemoryLibrary):
        def document(self, digest, peer):
            return {}[digest]

    peer = ServedPeer(Buggy())
    peer.server.start()
    for _ in range(2):
        with Connection(peer) as connection:
            request = f"GET /v1/documents/{'0' * 64} HTTP/1.1\r\nHost: x\r\n\r\n"
            connection.tls.sendall(request.encode())
            assert connection.is_ended()
    peer.server.stop()
    assert peer.server.faults == 2
    assert [type(bug) for bug in peer.bugs] == [KeyError, KeyError]
