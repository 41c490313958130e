"""One data connection, served: the TLS handshake, then requests and answers until one side ends it.

Runs in a thread of its own and blocks. `ssl` releases the GIL while it encrypts and while it waits,
so many sessions share a process well.

Rules it keeps: every wait has an end (handshake, next request, head of a request, a reader that
does not read); one buffer a session, whatever the size of the file; an open file is closed whatever
happens; after half an answer nothing else is said on the connection; a file is sent while there is
an upload slot for it, at the pace of the node, and a peer for which there is no place is told when
to come again (503).

It leaves what to answer to `p2phub.protocol.serve`, and what to do with faults to the server.
"""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from p2phub.errors import DamagedBlobError, GarbageError, RefusedError, TooSlowError
from p2phub.network.http_head import RequestReader
from p2phub.network.limits import COME_AGAIN, MAX_HTTP_HEAD, SEND_CHUNK, Patience
from p2phub.network.throttle import Throttle
from p2phub.network.tickets import Tickets
from p2phub.network.upload_slots import Turn, UploadSlots
from p2phub.protocol.ask import NO_TICKET, ticket_of
from p2phub.protocol.batch import FileBatch
from p2phub.protocol.serve import Answer, FileRange, Held, Request, answer, busy, refusal


@dataclass(frozen=True, slots=True)
class House:
    """What the sessions of one server share. `now`: unix seconds, for tickets."""

    context: ssl.SSLContext
    held: Held
    tickets: Tickets
    patience: Patience
    up: Throttle
    slots: UploadSlots
    now: Callable[[], int]
    count: Callable[[int], None]
    """Called with the bytes of every part of a body that was sent."""
    is_crowded: Callable[["DataSession", str], bool]
    """Whether that party has as many connections as it may, without this one."""


class DataSession:
    """`house`: what the sessions of a server share. `address`: the party of whoever connects, until
    it shows a ticket. `number`: the how-manieth session of its server it is."""

    def __init__(
        self,
        connection: socket.socket,
        house: "House",
        *,
        address: str = "",
        number: int = 0,
    ) -> None:
        self._connection, self._house, self._address = connection, house, address
        self._patience = house.patience
        self._reader, self._turn = RequestReader(), Turn(address)
        self._buffer = memoryview(b"")
        self.number = number
        self.party = address
        """The peer whose ticket was shown last, or where it connects from."""
        self.idle_since: float | None = time.monotonic()
        """When it began to wait for a request, by the monotonic clock; None while it is busy. A
        handshake is idle time too: nobody has asked for anything yet."""
        self.aborted = False

    def run(self) -> None:
        """Serve until the end. Raises `OSError` or one of ours when the peer misbehaves."""
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.settimeout(self._patience.handshake)
        self._connection.getpeername()  # wrapping one whose peer has left would lose the socket
        tls = self._house.context.wrap_socket(
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
        house, ticket = self._house, ticket_of(request)
        peer = None if ticket is None else house.tickets.peer_of(ticket, house.now())
        if ticket is not None and peer is None:
            error = RefusedError("this ticket is unknown here or has expired; say hello again")
            return refusal(error, status=NO_TICKET)
        party = peer or self._address
        if house.is_crowded(self, party):
            return busy(f"{party} has too many connections here", COME_AGAIN, closes=True)
        self.party = self._turn.peer = party
        return self._with_a_slot(answer(request, house.held, peer))

    def _with_a_slot(self, found: Answer) -> Answer:
        """`found`, once there is an upload slot for it; if none comes free, the news of that."""
        needs_one = isinstance(found.body, FileRange | FileBatch)
        if not needs_one or self._house.slots.take(self._turn, self._patience.turn):
            return found
        found.close()
        return busy("every upload slot is taken", COME_AGAIN)

    def _send(self, found: Answer) -> bool:
        """Send an answer and close its file; whether another request may follow."""
        self._connection.settimeout(self._patience.progress)
        try:
            head = self._reader.head(found)
            if isinstance(found.body, FileRange):
                self._connection.sendall(head)
                sent = self._send_file(found.body)
            elif isinstance(found.body, FileBatch):
                self._connection.sendall(head)
                sent = self._send_batch(found.body)
            else:
                self._house.up.take(len(found.body), self.party)
                self._connection.sendall(head + found.body)
                sent = len(found.body)
                self._house.count(sent)
        finally:
            self._house.slots.leave(self._turn)
            found.close()
        self._reader.sent(sent)
        return self._reader.finish()

    def _send_file(self, body: FileRange) -> int:
        offset, buffer = body.start, self._send_buffer()
        while offset < body.stop:
            part = buffer[: min(self._house.up.portion, body.stop - offset)]
            if body.reader.read_into(offset, part) != len(part):
                raise DamagedBlobError("a file became shorter while it was sent")
            self._wait_for_turn(len(part))
            self._connection.sendall(part)
            self._house.count(len(part))
            offset += len(part)
        return body.stop - body.start

    def _send_batch(self, body: FileBatch) -> int:
        buffer, sent = self._send_buffer(), 0
        while count := body.read_into(buffer[: self._house.up.portion]):
            self._wait_for_turn(count)
            self._connection.sendall(buffer[:count])
            self._house.count(count)
            sent += count
        return sent

    def _wait_for_turn(self, size: int) -> None:
        if not self._house.slots.go_on(self._turn, self._patience.progress):
            raise TooSlowError("no upload slot came free in the middle of an answer")
        self._house.up.take(size, self.party)

    def _send_buffer(self) -> memoryview:
        if not self._buffer:
            self._buffer = memoryview(bytearray(SEND_CHUNK))
        return self._buffer
