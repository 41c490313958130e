"""One served connection, with its thread in the hands of the test: cut, smuggled to, run dry."""

import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from p2phub.errors import DamagedBlobError, GarbageError
from p2phub.formats.limits import MIB
from p2phub.network.data_client import client_context
from p2phub.network.data_server import server_context
from p2phub.network.data_session import DataSession, House
from p2phub.network.libp2p_certificate import make_certificate
from p2phub.network.limits import SEND_CHUNK, Patience
from p2phub.network.throttle import Throttle
from p2phub.network.tickets import Tickets
from p2phub.network.upload_slots import UploadSlots
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import SEED
from p2phub.testing.samples import make_sample

SAMPLE = make_sample(48 * MIB, piece=MIB)
SMALL = make_sample(10)
PARTIAL = make_sample(4 * MIB, seed="partial", piece=MIB)
RANGES = ((0, MIB), (2 * MIB, 3 * MIB))
CONTEXT = server_context(make_certificate(SEED))


class Served:
    """A session at one end of a TCP connection on loopback, and its thread."""

    def __init__(self, library, before=lambda raw: None):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.raw = socket.create_connection(listener.getsockname(), timeout=10)
            theirs, _ = listener.accept()
        before(self.raw)
        self.tickets, self.now, self.sent = Tickets(seconds=60), 1000, 0
        self.session = DataSession(
            theirs,
            House(
                context=CONTEXT,
                held=library,
                tickets=self.tickets,
                patience=Patience(),
                up=Throttle(),
                slots=UploadSlots(1),
                now=lambda: self.now,
                count=self.count,
                is_crowded=lambda session, party: False,
            ),
        )
        self.threads = ThreadPoolExecutor(1)
        self.outcome = self.threads.submit(self.serve)
        self.tls = None

    def serve(self):
        try:
            self.session.run()
        finally:
            self.session.close()

    def count(self, size):
        self.sent += size

    def shake_hands(self):
        self.tls = client_context().wrap_socket(self.raw, do_handshake_on_connect=False)
        self.tls.do_handshake()
        return self.tls

    def ask(self, *headers, content=SMALL.content):
        lines = [f"GET /v1/files/{content} HTTP/1.1", "Host: x", *headers, "", ""]
        self.tls.sendall("\r\n".join(lines).encode())

    def heads(self):
        """Ask nothing more; the heads of all answers until the connection ends."""
        socket.socket.shutdown(self.tls, socket.SHUT_WR)
        said = bytearray()
        with suppress(OSError):
            while part := self.tls.recv(1 << 16):
                said += part
        return [b"HTTP/1.1 " + each for each in bytes(said).split(b"HTTP/1.1 ")[1:]]

    def close(self):
        self.session.abort()
        (self.tls or self.raw).close()
        self.threads.shutdown()


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SAMPLE)
    library.add(SMALL)
    library.add(PARTIAL, ranges=RANGES)
    return library


@pytest.fixture
def serve(library):
    served = []

    def serve(**settings):
        served.append(Served(library, **settings))
        return served[-1]

    yield serve
    for each in served:
        each.close()
    assert library.open_now == 0, "a file was left open"


def reset(connection):
    """End a TCP connection with a reset instead of a farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class TestCut:
    """Whatever the moment: the thread ends, the file is closed, no bug shows."""

    def ends(self, served):
        """It ended, and if with an error, then with one of the connection. Which one is chance."""
        error = served.outcome.exception(10)
        assert error is None or isinstance(error, OSError | GarbageError), error
        return error

    def test_by_a_reset_before_the_handshake(self, serve):
        assert isinstance(self.ends(serve(before=reset)), OSError)

    def test_by_a_reset_in_the_handshake(self, serve):
        served = serve()
        served.raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        reset(served.raw)
        self.ends(served)

    def test_by_a_reset_in_a_request(self, serve):
        served = serve()
        served.shake_hands().sendall(b"GET /v1/fi")
        reset(served.tls)
        self.ends(served)

    def test_by_a_reset_in_an_answer(self, serve):
        served = serve()
        served.shake_hands()
        served.ask(content=SAMPLE.content)
        with served.tls.makefile("rb") as file:
            assert len(file.read(MIB)) == MIB
        reset(served.tls)
        assert isinstance(self.ends(served), OSError)
        assert 0 < served.sent < SAMPLE.content.size

    def test_by_a_farewell_before_the_answer_was_read(self, serve):
        served = serve()
        served.shake_hands()
        served.ask(content=SAMPLE.content)
        served.tls.close()
        assert isinstance(self.ends(served), OSError)

    def test_by_ourselves_before_it_began(self, serve):
        served = serve()
        served.session.abort()
        with pytest.raises(OSError):  # noqa: PT011
            served.shake_hands()
        self.ends(served)

    def test_by_ourselves_while_it_waits(self, serve):
        served = serve()
        served.shake_hands()
        served.session.abort()
        self.ends(served)

    def test_by_ourselves_while_nobody_reads(self, serve):
        served = serve()
        served.shake_hands()
        served.ask(content=SAMPLE.content)
        assert served.tls.recv(1)
        served.session.abort()
        assert isinstance(self.ends(served), OSError)

    def test_twice_and_after_the_end(self, serve):
        served = serve()
        served.shake_hands()
        served.session.abort()
        self.ends(served)
        served.session.abort()
        served.session.close()


SMUGGLED = f"GET /v1/files/{SMALL.content} HTTP/1.1\r\nHost: x\r\n\r\n"
ATTEMPTS = {
    "a length and chunks": f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: chunked\r\n",
    "a length": f"Content-Length: {len(SMUGGLED)}\r\n",
    "chunks": "Transfer-Encoding: chunked\r\n",
    "chunks in disguise": "Transfer-Encoding: xchunked\r\n",
    "chunks twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "a space before the colon": f"Content-Length : {len(SMUGGLED)}\r\n",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n",
    "a length with a sign": f"Content-Length: +{len(SMUGGLED)}\r\n",
    "a length in hexadecimal": "Content-Length: 0x55\r\n",
    "a negative length": "Content-Length: -1\r\n",
    "a folded header": f"X: y\r\n Content-Length: {len(SMUGGLED)}\r\n",
    "a lone carriage return": f"X: y\rContent-Length: {len(SMUGGLED)}\r\n",
    "a zero": f"X: \x00\r\nContent-Length: {len(SMUGGLED)}\r\n",
    "another protocol": "Connection: Upgrade\r\nUpgrade: h2c\r\n",
}


class TestSmuggling:
    """What hides in one request is never answered as another; nobody stands between us to fool."""

    @pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
    def test_in_a_request_is_answered_once_or_refused(self, serve, attempt):
        served = serve()
        served.shake_hands()
        start = f"GET /v1/sha256/{'0' * 64} HTTP/1.1\r\nHost: x\r\n{attempt}\r\n"
        served.tls.sendall(f"{start}{SMUGGLED}".encode())
        answers = served.heads()
        assert answers, "it was not even refused"
        if b"HTTP/1.1 400" in answers[0]:
            assert len(answers) == 1
            with pytest.raises(GarbageError):
                served.outcome.result(10)
        else:  # read as two requests, one after the other, as they came
            assert [head.split()[1] for head in answers] == [b"404", b"200"]

    @pytest.mark.parametrize(
        "line",
        ["CONNECT example.org:443", "GET http://example.org/", "OPTIONS *", "DELETE /v1/files/1-2"],
    )
    def test_a_proxy_is_not_to_be_had(self, serve, line):
        served = serve()
        served.shake_hands().sendall(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        (head,) = served.heads()
        assert head.split()[1] in (b"400", b"404")
        assert served.sent == 0


class TestAnswers:
    def test_what_is_not_held_yet_is_named(self, serve):
        served = serve()
        served.shake_hands()
        served.ask(f"Range: bytes={MIB}-{2 * MIB - 1}", content=PARTIAL.content)
        (head,) = served.heads()
        assert head.startswith(b"HTTP/1.1 416")
        assert f"P2PHub-Have: bytes=0-{MIB - 1},{2 * MIB}-{3 * MIB - 1}\r\n".encode() in head
        assert served.sent == 0

    def test_a_ticket_ends_while_the_connection_is_open(self, serve):
        served = serve()
        ticket = served.tickets.issue("bob", now=served.now)
        served.shake_hands()
        served.ask(f"Authorization: Bearer {ticket.hex()}")
        assert served.tls.recv(1000).startswith(b"HTTP/1.1 200")
        served.now += 60
        served.ask(f"Authorization: Bearer {ticket.hex()}")
        assert served.heads()[-1].startswith(b"HTTP/1.1 401")

    def test_nothing_is_said_after_half_an_answer(self, serve, library):
        library.replace(SAMPLE.content, SAMPLE.data[: 2 * MIB])
        served = serve()
        served.shake_hands()
        served.ask(content=SAMPLE.content)
        served.ask()
        (head,) = served.heads()
        assert head.startswith(b"HTTP/1.1 200")
        with pytest.raises(DamagedBlobError):
            served.outcome.result(10)
        assert served.sent == 2 * MIB

    def test_a_large_file_takes_no_more_memory_than_a_small_one(self, serve, library):
        asked = set()
        opened = library.open

        def watched(content):
            reader = opened(content)
            read_into = reader.read_into

            def noted(offset, buffer):
                asked.add((len(buffer), id(buffer.obj)))
                return read_into(offset, buffer)

            reader.read_into = noted
            return reader

        library.open = watched
        served = serve()
        served.shake_hands()
        served.ask(content=SAMPLE.content)
        served.ask(content=PARTIAL.content)
        served.heads()
        assert served.sent == SAMPLE.content.size
        assert max(size for size, _ in asked) == SEND_CHUNK
        assert len({buffer for _, buffer in asked}) == 1


def test_it_says_when_it_is_idle_and_only_then(serve, library):
    served, going_on = serve(), threading.Event()
    served.shake_hands()
    holding = library.holding

    def slow(content, peer):
        assert served.session.idle_since is None
        assert going_on.wait(10)
        return holding(content, peer)

    library.holding = slow
    served.ask()
    going_on.set()
    assert served.tls.recv(1000).startswith(b"HTTP/1.1 200")
    while served.session.idle_since is None:
        threading.Event().wait(0.001)
