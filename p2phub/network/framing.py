"""Messages on a stream: a length of four bytes, big-endian, and so many bytes.

Rules it keeps: a length is checked against `MAX_MESSAGE` before memory is spent on it, and memory
is spent as the bytes come.

It leaves time limits to whoever speaks, and what a message means to `p2phub.formats.messages`.

>>> framed(b"abc")
b'\\x00\\x00\\x00\\x03abc'
"""

from typing import Final

from p2phub.errors import GarbageError, RemoteError
from p2phub.formats.limits import KIB, MAX_MESSAGE
from p2phub.protocol.ports import Stream

_LENGTH: Final = 4
_CHUNK: Final = 64 * KIB


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(_LENGTH, "big") + message


async def read_message(stream: Stream, who: str) -> bytes:
    """The next message of `who`. Raises `GarbageError` for one too long, `RemoteError` for half."""
    return await _read_after(b"", stream, who)


async def read_next(stream: Stream, who: str) -> bytes | None:
    """The same; None if the stream has ended before it."""
    first = await stream.read(1)
    return await _read_after(first, stream, who) if first else None


async def _read_after(first: bytes, stream: Stream, who: str) -> bytes:
    rest = await _read_exactly(stream, _LENGTH - len(first), who)
    length = int.from_bytes(first + rest, "big")
    if length > MAX_MESSAGE:
        raise GarbageError(
            f"{who} claims a message of {length} bytes; at most {MAX_MESSAGE} can be"
        )
    return await _read_exactly(stream, length, who)


async def _read_exactly(stream: Stream, length: int, who: str) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = await stream.read(min(_CHUNK, length - len(data)))
        if not part:
            raise RemoteError(f"{who} ended the stream in the middle of a message")
        data += part
    return bytes(data)
