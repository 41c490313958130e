"""A connection whose client has left is closed at once.

Hypercorn 0.18 notices that it has left, and then keeps the socket for as long as it keeps an idle
connection: its timer runs in the same task group, which waits for it. A thousand clients that come
and go within that time would take every file the process may open.
"""

from hypercorn.events import Event, Updated
from hypercorn.trio import run
from hypercorn.trio.tcp_server import TCPServer


class Connection(TCPServer):
    """One connection; the timer of idle ones ends with its client."""

    _left = False

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            self._left = True
            await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if not (self._left and isinstance(event, Updated)):  # it would begin the timer again
            await super().protocol_send(event)


def install() -> None:
    """Let hypercorn make such connections."""
    run.TCPServer = Connection  # type: ignore[attr-defined]
