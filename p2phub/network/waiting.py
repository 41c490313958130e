"""Waiting for peers in trio: time limits that are our errors, streams that end properly, what to
raise when several things end at once, and a bell that other threads may ring.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from p2phub.errors import P2PHubError, TooSlowError, plain_errors
from p2phub.protocol.ports import Stream

FAREWELL: Final = 2.0
"""Seconds that resetting a stream may take."""


class TaskBell:
    """What wakes a task of trio, set from any thread; for where threads wait for a
    `threading.Event`.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.rung = trio.Event()

    def set(self) -> None:
        self._token.run_sync_soon(lambda: self.rung.set())

    def clear(self) -> None:
        self.rung = trio.Event()


@contextmanager
def time_limit(seconds: float, said: str) -> Iterator[None]:
    """Raise `TooSlowError` with the sentence `said` if the block takes longer."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError as error:
        raise TooSlowError(said) from error


@asynccontextmanager
async def ended(stream: Stream) -> AsyncIterator[None]:
    """Close the stream after the block; reset it if the block failed or was cancelled."""
    whole = False
    try:
        yield
        whole = True
    finally:
        if not whole:
            deadline = trio.current_time() + FAREWELL
            with trio.CancelScope(deadline=deadline, shield=True):
                await stream.reset()
    await stream.close()


@asynccontextmanager
async def one_error() -> AsyncIterator[None]:
    """Let one of our errors out of a nursery as itself; if we are being cancelled too, only that.

    Otherwise the error of a task that was stopped in the middle would outlive the cancellation.
    """
    try:
        with plain_errors():
            yield
    except (P2PHubError, BaseExceptionGroup):
        await trio.lowlevel.checkpoint_if_cancelled()
        raise
