"""Clients that give up after ten seconds without a byte, while the first one is still to come.

Hugging Face's clients do. As long as an answer has not begun they are told now and then that it
will (`Connection.still_here`); so it can begin when there is something to send, or be an error.
Other clients may know less of HTTP and have more patience: they are told nothing.

>>> wants_word("huggingface_hub/2.4.0; hf_hub/2.4.0; python/3.11.7"), wants_word("node")
(True, False)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from starlette.types import Message, Scope, Send

from p2phub.errors import plain_errors
from p2phub.gateway.connection import Connection, current

EVERY: Final = 4.0
"""Seconds between two words."""
_AGENTS: Final = ("hf_hub/", "huggingface_hub/")


def wants_word(agent: str) -> bool:
    """Whether who calls itself so gives up soon, and skips what it is told meanwhile."""
    return any(each in agent for each in _AGENTS)


@asynccontextmanager
async def kept_waiting(scope: Scope, send: Send) -> AsyncIterator[tuple[Send, bool]]:
    """`send` for the length of the block; and whether the client is told to wait until an answer
    begins with it.
    """
    agents = [value for name, value in scope["headers"] if name == b"user-agent"]
    told = any(wants_word(each.decode("latin-1")) for each in agents)
    connection = current()
    if connection is None or not told or scope.get("http_version") != "1.1":
        yield send, False
        return
    wait = _Wait(connection, send)
    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait.tell)
            yield wait.send, True
            nursery.cancel_scope.cancel()


class _Wait:
    def __init__(self, connection: Connection, send: Send) -> None:
        self._connection, self._send = connection, send
        self._lock, self._begun = trio.Lock(), False

    async def send(self, message: Message) -> None:
        if not self._begun:
            async with self._lock:
                self._begun = True
        await self._send(message)

    async def tell(self) -> None:
        while not self._begun:
            await trio.sleep(EVERY)
            async with self._lock:
                if not self._begun:
                    await self._connection.still_here()
