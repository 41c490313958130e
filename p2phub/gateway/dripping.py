"""A body that is sent as it comes, to clients that give up after ten seconds without a byte.

Hugging Face's clients do (six times, then for good). So the answer begins when it must, even if
nothing is here yet; and while the next bytes have not come, some of the last ones are kept back and
sent now and then, a few at a time.
"""

from collections.abc import AsyncIterable
from typing import Any, Final

import trio
from starlette.types import Send

from p2phub.errors import plain_errors

DRIP_EVERY: Final = 5.0
"""Seconds without new bytes after which a few of those kept back are sent."""
DRIP: Final = 256
"""Bytes that are sent then."""
RESERVE: Final = 16 << 10
"""Bytes that are kept back while the next ones have not come: enough for five minutes."""


async def deliver(
    body: AsyncIterable[bytes], start: dict[str, Any] | None, begin_at: float, send: Send
) -> None:
    """Send a body, and before it `start`, an ASGI message, if there is one.

    The answer begins with the first bytes, or at `begin_at` (by trio's clock) without any; what
    `body` raises before that comes out with nothing sent.
    """
    into, news = trio.open_memory_channel[bytes](1)
    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fill, body, into)
            data: bytes | None = b""
            if start is not None:
                with trio.move_on_at(begin_at):
                    data = await _next(news)
                await send(start)
            await _pour(data, news, send)


async def _fill(body: AsyncIterable[bytes], into: trio.MemorySendChannel[bytes]) -> None:
    async for data in body:
        await into.send(data)
    into.close()  # only now: what fails is no end


async def _pour(data: bytes | None, news: trio.MemoryReceiveChannel[bytes], send: Send) -> None:
    """Send `data`, and what comes after it; None is the end."""
    kept = b""
    while data is not None:
        await _out(kept, send)
        kept = b""
        if not news.statistics().current_buffer_used:
            data, kept = data[:-RESERVE], data[-RESERVE:]
        await _out(data, send)
        with trio.move_on_after(DRIP_EVERY) as waiting:
            data = await _next(news)
        while waiting.cancelled_caught:
            await _out(kept[:DRIP], send)
            kept = kept[DRIP:]
            with trio.move_on_after(DRIP_EVERY) as waiting:
                data = await _next(news)
    await _out(kept, send)


async def _out(data: bytes, send: Send) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _next(news: trio.MemoryReceiveChannel[bytes]) -> bytes | None:
    """What comes next; None: that was all."""
    try:
        return await news.receive()
    except trio.EndOfChannel:
        return None
