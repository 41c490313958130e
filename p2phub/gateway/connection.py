"""Connections that end when their client does: it left, or it reads nothing any more.

Hypercorn 0.18 has two faults here. It notices that a client has left, and then keeps the socket for
as long as it keeps an idle connection: its timer runs in the same task group, which waits for it. A
thousand clients that come and go within that time would take every file the process may open. And
it sends behind a shield, for ever: who asks for a stream and reads nothing of it would keep a slot
of the model.
"""

from typing import Final

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio import run
from hypercorn.trio.tcp_server import TCPServer

SEND_PATIENCE: Final = 60.0
"""Seconds in which a client must have taken `PART` bytes of its answer."""
PART: Final = 1 << 16


class Connection(TCPServer):
    """One connection; see the module."""

    _left = False

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
                for first in range(0, len(data), PART):
                    with trio.CancelScope(shield=True), trio.fail_after(SEND_PATIENCE):
                        await self.stream.send_all(data[first : first + PART])
        except trio.TooSlowError:
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())


def install() -> None:
    """Let hypercorn make such connections."""
    run.TCPServer = Connection  # type: ignore[attr-defined]
