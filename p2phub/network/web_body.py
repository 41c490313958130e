"""The body of one answer over HTTP/1.1 or 1.0: counted, in chunks, or until the server hangs up.

Bytes go from the connection into the buffer of whoever reads; of a body in chunks only what comes
together with the length of a chunk is copied once more.

Rules it keeps: never a byte more is read than the body has, where its length is known; a line of a
chunk and what stands behind the last one have limits; what is no chunk is a `GarbageError`.

>>> wire = [b"4;x=y\\r\\nwi", b"ki", b"\\r\\n0\\r\\n\\r\\n"]
>>> def read(view):
...     data = wire.pop(0)
...     view[: len(data)] = data
...     return len(data)
>>> body = Body(Head(200, (("transfer-encoding", "chunked"),)), b"", read)
>>> buffer = memoryview(bytearray(10))
>>> [(bytes(buffer[: body.read_into(buffer)]), body.is_over) for _ in range(3)]
[(b'wi', False), (b'ki', False), (b'', True)]
"""

import re
from collections.abc import Callable
from typing import Final

from p2phub.errors import GarbageError
from p2phub.formats.limits import KIB
from p2phub.protocol.ask import Head

_LINE: Final = 1 * KIB
_TRAILER: Final = 16 * KIB
"""Bytes of the line before a chunk, and of all that stands behind the last one."""
_AT_ONCE: Final = 16 * KIB
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,14})[ \t]*(?:;.*)?", re.DOTALL)


class Body:
    """`rest`: what has come of it together with the head. `read(view)` waits for more of it, and
    returns how many bytes came; 0 when the server has hung up.

    Raises `GarbageError` for an encoding that is not known.
    """

    def __init__(self, head: Head, rest: bytes, read: Callable[[memoryview], int]) -> None:
        self._rest, self._read = memoryview(rest), read
        encoding, length = head.header("transfer-encoding"), head.header("content-length")
        self._is_chunked = encoding is not None
        if encoding is not None and encoding.lower() != "chunked":
            raise GarbageError("an answer comes in an encoding that nobody asked for")
        self._left: int | None = 0 if self._is_chunked else _number(length)
        """Bytes of the body, or of this chunk, that have not been read; None: nobody knows."""
        self._is_last = not self._is_chunked
        self._in_chunk = False

    @property
    def is_over(self) -> bool:
        """Whether it was read to its end, and nothing came behind it."""
        return self._is_last and self._left == 0 and not self._rest

    def drop_what_came(self) -> None:
        """Leave out what came together with the head, if it is of this body."""
        if self._left is not None and len(self._rest) <= self._left:
            self._left -= len(self._rest)
            self._rest = memoryview(b"")

    def read_into(self, view: memoryview) -> int:
        """Fill `view` as far as what has come goes; 0 at the end, or if the server has hung up."""
        if self._left == 0 and not self._is_last:
            self._begin_chunk()
        wanted = view if self._left is None else view[: self._left]
        if not wanted:
            return 0
        count = self._take(wanted)
        if self._left is not None:
            self._left -= count
        return count

    def _take(self, view: memoryview) -> int:
        if not self._rest:
            return self._read(view)
        early = self._rest[: len(view)]
        view[: len(early)] = early
        self._rest = self._rest[len(early) :]
        return len(early)

    def _begin_chunk(self) -> None:
        if self._in_chunk and self._line():
            raise GarbageError("a chunk of an answer is longer than it says")
        found = _SIZE.fullmatch(self._line())
        if found is None:
            raise GarbageError("an answer in chunks has one without a length")
        self._left, self._in_chunk = int(found[1], 16), True
        if self._left == 0:
            self._end_chunks()

    def _end_chunks(self) -> None:
        limit = _TRAILER
        while line := self._line():
            limit -= len(line)
            if limit < 0:
                raise GarbageError("what stands behind an answer does not end")
        self._is_last = True

    def _line(self) -> bytes:
        """What stands before the next end of a line."""
        line = bytearray()
        while b"\n" not in line:
            if len(line) > _LINE:
                raise GarbageError("a chunk of an answer begins with a line that does not end")
            if not self._rest:
                fresh = memoryview(bytearray(_AT_ONCE))
                count = self._read(fresh)
                if not count:
                    raise GarbageError("an answer ends in the middle of a chunk")
                self._rest = fresh[:count]
            data = bytes(self._rest)
            end = data.find(b"\n") + 1 or len(data)
            line += data[:end]
            self._rest = self._rest[end:]
        return bytes(line).rstrip(b"\r\n")


def _number(length: str | None) -> int | None:
    return None if length is None else int(length)
