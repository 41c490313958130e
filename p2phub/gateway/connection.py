"""Connections that end when their client does: it left, or it reads nothing any more.

Hypercorn 0.18 has two faults here. It notices that a client has left, and then keeps the socket for
as long as it keeps an idle connection: its timer runs in the same task group, which waits for it. A
thousand clients that come and go within that time would take every file the process may open. And
it sends behind a shield, for ever: who asks for a stream and reads nothing of it would keep a slot
of the model.

And it copies every byte of a body some times, in the one thread that everything waits for.
`current` is the connection of the request that is being answered: its `send_file` lets the kernel
send a file (`sendfile`), from the threads that read disks.
"""

import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio import run
from hypercorn.trio.tcp_server import TCPServer

from p2phub.errors import FileChangedError

SEND_PATIENCE: Final = 60.0
"""Seconds in which a client must have taken something of its answer."""


SOME: Final = 32 << 20
"""Bytes that a thread sends at most before others have their turn."""
OnDisk = Callable[..., Awaitable[Any]]
_current: ContextVar["Connection | None"] = ContextVar("connection", default=None)


class Connection(TCPServer):
    """One connection; see the module."""

    _left = False

    async def run(self) -> None:
        _current.set(self)  # for the tasks that are started in it, one for each request
        await super().run()

    @property
    def _socket(self) -> trio.socket.SocketType:
        stream: Any = self.stream
        socket: trio.socket.SocketType = stream.socket
        return socket

    async def send_file(self, fd: int, start: int, stop: int, on_disk: OnDisk) -> None:
        """Send the bytes [start, stop) of an open file as the next ones of a body whose length was
        told. `on_disk` runs what blocks in a thread.

        Raises `FileChangedError` if the file is shorter. Who does not take its bytes is left.
        """
        counted: Any = _Counted(stop - start)
        http: Any = self.protocol.protocol.connection  # ours is HTTP/1.1 without TLS
        http.send_with_data_passthrough(h11.Data(data=counted))
        own = os.dup(self._socket.fileno())  # which nobody closes while it is used here
        try:
            async with self.send_lock:
                while start < stop:
                    start = await on_disk(_send_some, own, fd, start, stop)
                    with trio.fail_after(SEND_PATIENCE):
                        await trio.lowlevel.wait_writable(own)
        except (OSError, trio.TooSlowError, trio.ClosedResourceError):
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())
        finally:
            os.close(own)

    async def still_here(self) -> None:
        """Tell a client that waits for an answer, of which nothing was sent yet, that it will
        come: its clock begins anew.

        This status every client has to skip, as often as it comes (RFC 9110, section 15.2); of the
        others Python's own client takes the first for the answer.
        """
        await self._send_all(memoryview(b"HTTP/1.1 100 Continue\r\n\r\n"))

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            self._left = True
            await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send_all(memoryview(event.data))
        elif not (self._left and isinstance(event, Updated)):  # it would begin the timer again
            await super().protocol_send(event)

    async def _send_all(self, data: memoryview) -> None:
        """Send it whole, also if who wants to send it is cancelled; leave who does not take it."""
        try:
            async with self.send_lock:
                while data:
                    with trio.CancelScope(shield=True), trio.fail_after(SEND_PATIENCE):
                        sent = await self._socket.send(data)
                    data = data[sent:]
        except trio.TooSlowError:
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())
        except (OSError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())


class _Counted:
    """Bytes of a body that h11 counts and never sees: it passes on what it is given."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


def _send_some(socket: int, fd: int, start: int, stop: int) -> int:
    """Send what the socket takes now; how far that came."""
    end = min(stop, start + SOME)
    try:
        while start < end:
            sent = os.sendfile(socket, fd, start, end - start)
            if sent == 0:
                raise FileChangedError(f"a file ends at {start}, and {stop} was asked for")
            start += sent
    except BlockingIOError:
        pass
    return start


def current() -> Connection | None:
    """The connection of the request that is being answered; None where no such server runs."""
    return _current.get()


def install() -> None:
    """Let hypercorn make such connections."""
    run.TCPServer = Connection  # type: ignore[attr-defined]
