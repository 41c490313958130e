"""One data connection, served: the TLS handshake, then requests and answers until one side ends it.

Runs in a thread of its own and blocks. `ssl` releases the GIL while it encrypts and while it waits,
so many sessions share a process well.

Rules it keeps: every wait has an end (handshake, next request, head of a request, a reader that
does not read); one buffer a session, whatever the size of the file; an open file is closed whatever
happens; after half an answer nothing else is said on the connection.

It leaves what to answer to `p2phub.protocol.serve`, and what to do with faults to the server.
"""

import socket
import ssl
import time
from collections.abc import Callable

from p2phub.errors import DamagedBlobError, GarbageError, RefusedError, TooSlowError
from p2phub.network.http_head import RequestReader
from p2phub.network.limits import MAX_HTTP_HEAD, SEND_CHUNK, Patience
from p2phub.network.tickets import Tickets
from p2phub.protocol.ask import NO_TICKET, ticket_of
from p2phub.protocol.batch import FileBatch
from p2phub.protocol.serve import Answer, FileRange, Held, Request, answer, refusal


class DataSession:
    """`send_turn(bytes)` is called before every part of a body and waits until it may be sent,
    `count(bytes)` after it was sent."""

    def __init__(
        self,
        connection: socket.socket,
        context: ssl.SSLContext,
        held: Held,
        tickets: Tickets,
        *,
        patience: Patience,
        send_turn: Callable[[int], None],
        now: Callable[[], int],
        count: Callable[[int], None],
    ) -> None:
        self._connection, self._context = connection, context
        self._held, self._tickets = held, tickets
        self._patience, self._send_turn = patience, send_turn
        self._now, self._count = now, count
        self._reader = RequestReader()
        self._buffer = memoryview(b"")
        self.idle_since: float | None = None
        """When it began to wait for a request, by the monotonic clock; None while it is busy."""
        self.aborted = False

    def run(self) -> None:
        """Serve until the end. Raises `OSError` or one of ours when the peer misbehaves."""
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.settimeout(self._patience.handshake)
        self._connection.getpeername()  # wrapping one whose peer has left would lose the socket
        tls = self._context.wrap_socket(
            self._connection, server_side=True, do_handshake_on_connect=False
        )
        self._connection = tls
        if self.aborted:
            return
        tls.do_handshake()
        while True:
            request = self._next_request()
            if request is None:
                return
            if not self._send(self._answer(request)):
                return

    def abort(self) -> None:
        """End it from another thread: whatever it waits for fails at once."""
        self.aborted = True
        try:
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already

    def close(self) -> None:
        """Give the socket back; for the thread that runs the session."""
        self._connection.close()

    def _next_request(self) -> Request | None:
        """The next request; None when the peer is done. A slow or garbage one is an error."""
        try:
            return self._read_request()
        except GarbageError as error:
            self._send(refusal(error, status=400))
            raise

    def _read_request(self) -> Request | None:
        deadline = None
        while (request := self._reader.next()) is None:
            if self._reader.ended:
                return None
            if deadline is None:
                data = self._wait_for_bytes()
                deadline = time.monotonic() + self._patience.request
            else:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TooSlowError("a peer sends its request too slowly")
                self._connection.settimeout(left)
                data = self._connection.recv(MAX_HTTP_HEAD)
            self._reader.receive(data)
        return request

    def _wait_for_bytes(self) -> bytes:
        """The first bytes of a request; empty if none come for a long time."""
        self._connection.settimeout(self._patience.idle)
        self.idle_since = time.monotonic()
        try:
            return self._connection.recv(MAX_HTTP_HEAD)
        except TimeoutError:
            return b""
        finally:
            self.idle_since = None

    def _answer(self, request: Request) -> Answer:
        ticket = ticket_of(request)
        peer = None if ticket is None else self._tickets.peer_of(ticket, self._now())
        if ticket is not None and peer is None:
            error = RefusedError("this ticket is unknown here or has expired; say hello again")
            return refusal(error, status=NO_TICKET)
        return answer(request, self._held, peer)

    def _send(self, found: Answer) -> bool:
        """Send an answer and close its file; whether another request may follow."""
        self._connection.settimeout(self._patience.progress)
        try:
            head = self._reader.head(found)
            if isinstance(found.body, FileRange):
                self._connection.sendall(head)
                self._send_file(found.body)
            elif isinstance(found.body, FileBatch):
                self._connection.sendall(head)
                self._send_batch(found.body)
            else:
                self._send_turn(len(found.body))
                self._connection.sendall(head + found.body)
                self._sent(found.body)
        finally:
            found.close()
        return self._reader.finish()

    def _send_file(self, body: FileRange) -> None:
        offset, buffer = body.start, self._send_buffer()
        while offset < body.stop:
            part = buffer[: min(SEND_CHUNK, body.stop - offset)]
            if body.reader.read_into(offset, part) != len(part):
                raise DamagedBlobError("a file became shorter while it was sent")
            self._send_turn(len(part))
            self._connection.sendall(part)
            self._sent(part)
            offset += len(part)

    def _send_batch(self, body: FileBatch) -> None:
        buffer = self._send_buffer()
        while count := body.read_into(buffer):
            self._send_turn(count)
            self._connection.sendall(buffer[:count])
            self._sent(buffer[:count])

    def _send_buffer(self) -> memoryview:
        if not self._buffer:
            self._buffer = memoryview(bytearray(SEND_CHUNK))
        return self._buffer

    def _sent(self, part: bytes | memoryview) -> None:
        self._reader.sent(part)
        self._count(len(part))
