"""Peers with a data port on this machine: an honest one, and one for each way to answer badly.

`ServedPeer` is a real data server before a library in memory. `GarbagePeer` speaks TLS with the
right certificate, reads a request, and answers what its script says, which is any bytes at all.

>>> seed = bytes(31) + b"1"
>>> with GarbagePeer(claim_a_gigabyte, seed=seed) as peer:
...     peer.endpoint.host
'127.0.0.1'
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from p2phub.config import Endpoint
from p2phub.network.data_server import DataServer, server_context
from p2phub.network.libp2p_certificate import make_certificate
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.network.tickets import Tickets
from p2phub.testing.files import random_bytes
from p2phub.testing.libraries import MemoryLibrary

Script = Callable[[bytes], Iterable[bytes]]
"""What is answered to a request. It may raise `ResetError`, which cuts the connection with a RST.
"""
SEED = bytes(range(32))


class ResetError(Exception):
    """Ends a `Script`, and its connection in the hard way."""


class ServedPeer:
    """An honest peer; `settings` go to its `DataServer`. A bug in the server fails the test."""

    def __init__(
        self, library: MemoryLibrary | None = None, *, seed: bytes = SEED, **settings: Any
    ) -> None:
        self.library = library or MemoryLibrary()
        self.peer_id = peer_id_of_seed(seed)
        self.tickets = Tickets()
        self.bugs: list[Exception] = []
        self.server = DataServer(
            "127.0.0.1",
            0,
            make_certificate(seed),
            self.library,
            self.tickets,
            on_fault=self.bugs.append,
            **settings,
        )

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.server.port)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        assert self.server.connections == 0, "a connection outlived the server"
        if self.bugs:
            raise self.bugs[0]


class GarbagePeer:
    """Answers each request with what `script(request)` yields, then hangs or closes.

    Without TLS (`plain`), it does not wait for a request. `requests` is what it was asked.
    """

    def __init__(
        self, script: Script, *, seed: bytes = SEED, plain: bool = False, hangs: bool = False
    ) -> None:
        self.peer_id = peer_id_of_seed(seed)
        self.requests: list[bytes] = []
        self.stopping = threading.Event()
        self._script, self._hangs = script, hangs
        self._context = None if plain else server_context(make_certificate(seed))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept_all)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for each in [self._listener, *self._open]:
            _cut(each)
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._open]:
            each.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept_all(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # stopped
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._talk(connection)
        except OSError:
            return  # the other side has had enough

    def _talk(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
            self._open.append(connection)
        while not self.stopping.is_set():
            request = b"" if self._context is None else _read_request(connection)
            self.requests.append(request)
            try:
                for part in self._script(request):
                    connection.sendall(part)
            except ResetError:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return
            if self._hangs:
                self.stopping.wait()
            if self._context is None or not request:
                break
        _cut(connection)


def answer_garbage(request: bytes) -> Iterator[bytes]:
    """Random bytes."""
    yield random_bytes("garbage", 5000)


def answer_nothing(request: bytes) -> Iterator[bytes]:
    """Silence."""
    yield from ()


def claim_a_gigabyte(request: bytes) -> Iterator[bytes]:
    """1 GB claimed for a document of ten bytes."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n0123456789"


def endless_head(request: bytes) -> Iterator[bytes]:
    """A head that never ends."""
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-Filler: " + b"x" * 1000 + b"\r\n"


def endless_body(request: bytes) -> Iterator[bytes]:
    """Ten bytes were asked for and announced; more and more come."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
    while True:
        yield bytes(65536)


def truncated_body(request: bytes) -> Iterator[bytes]:
    """Ten bytes are announced, five come."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    return data


def _cut(connection: socket.socket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
