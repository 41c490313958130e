"""Many small files for one request: how they are asked for, and how they come.

    POST /v1/files      body: content ids, one a line, each of a file of at most 1 MiB
    200                 body: for each of them, in order, a frame, then so many bytes

A frame is six bytes: a status (u16, little-endian) as HTTP has them, and a length (u32). 200: the
file follows, all of it. 404: it is not here; nothing follows. 500: this copy turned out damaged
after the length of the answer was told; what follows only fills its place. So one file that is
missing does not spoil the others, and `Content-Length` is known before the first file is opened.

Rules it keeps: a request names at most `MAX_BATCH_FILES` files of `MAX_BATCH_BYTES` together; the
serving side has one file open at a time; the asking side never reads more than it asked for.

It leaves to others who may see what (`serve`), and whether the bytes are right (who accepts them).

>>> content = ContentId(2, bytes(32))
>>> reader = BatchReader([content], "bob", FRAME + 2)
>>> reader.take(memoryview(frame(200, 2))), reader.wanted
(None, 2)
>>> found = reader.take(memoryview(b"hi"))
>>> found.content == content, bytes(found.data), reader.wanted
(True, b'hi', 0)
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2phub.errors import DamagedBlobError, GarbageError, NotFoundError, UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE, MIB
from p2phub.formats.pieces import PieceTable, Run
from p2phub.protocol.ports import AcceptFile, FileReader, Source

MAX_BATCH_FILES: Final = 512
MAX_BATCH_BYTES: Final = 4 * MIB
"""Of files; also what a process that is killed fetches again, for each connection."""
MAX_BATCH_BODY: Final = MAX_BATCH_FILES * (len(str(MAX_PIECE)) + 66)
"""Bytes of a request: a size, a dash, 64 digits and the end of the line for each file."""
_FRAME: Final = struct.Struct("<HI")
Opener = Callable[[], FileReader]
"""Opens a file to send. Raises `NotFoundError` or `DamagedBlobError`."""
FRAME: Final = _FRAME.size
"""Bytes in front of each file."""
HERE, MISSING, DAMAGED = 200, 404, 500


def frame(status: int, length: int) -> bytes:
    """What stands in front of a file."""
    return _FRAME.pack(status, length)


def batches_of(contents: Iterable[ContentId]) -> Iterator[tuple[ContentId, ...]]:
    """`contents` in parts that one request may ask for."""
    batch: list[ContentId] = []
    size = 0
    for content in contents:
        if len(batch) == MAX_BATCH_FILES or size + content.size > MAX_BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(content)
        size += content.size
    if batch:
        yield tuple(batch)


def batch_body(contents: Iterable[ContentId]) -> bytes:
    """The body of a request."""
    return "".join(f"{content}\n" for content in contents).encode("ascii")


def parse_batch(body: bytes) -> tuple[ContentId, ...]:
    """What a request asks for. Raises `UsageError` if it is no list of small files, or too long."""
    lines = body.decode("latin-1").splitlines()
    if not 0 < len(lines) <= MAX_BATCH_FILES:
        raise UsageError(f"ask for 1 to {MAX_BATCH_FILES} files at a time, one content id a line")
    contents = tuple(map(ContentId.parse, lines))
    if any(content.has_table for content in contents):
        raise UsageError(f"a file of more than {MAX_PIECE} bytes has pieces; ask for those")
    if sum(content.size for content in contents) > MAX_BATCH_BYTES:
        raise UsageError(f"ask for at most {MAX_BATCH_BYTES} bytes of small files at a time")
    return contents


# ---------------------------------------------------------------- the serving side


class FileBatch:
    """The body of an answer: frames and files, of which one is open at a time.

    `openers`: for each file what opens it, None if it is not here. Used by one thread at a time.
    """

    def __init__(
        self,
        contents: Sequence[ContentId],
        openers: Sequence[Opener | None],
    ) -> None:
        self.contents = tuple(contents)
        todo = tuple(zip(self.contents, openers, strict=True))
        self.length = sum(FRAME + (content.size if opener else 0) for content, opener in todo)
        """Bytes of the whole body."""
        self._todo = iter(todo)
        self._reader: FileReader | None = None
        self._frame = b""
        self._offset = self._left = 0

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` with what comes next, as far as it goes; 0 at the end.

        Raises `DamagedBlobError` if a file cannot be read to the end that was promised.
        """
        filled = 0
        while filled < len(buffer) and (self._frame or self._left or self._begin_next()):
            filled += self._some(buffer[filled:])
        return filled

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _begin_next(self) -> bool:
        """Open the next file and say what it is; whether there was one."""
        self.close()
        following = next(self._todo, None)
        if following is None:
            return False
        content, opener = following
        status, self._offset, self._left = (HERE if opener else MISSING), 0, 0
        if opener:
            self._left = content.size
            try:
                self._reader = opener()
            except (DamagedBlobError, NotFoundError):
                status = DAMAGED
        self._frame = frame(status, self._left)
        return True

    def _some(self, buffer: memoryview) -> int:
        if self._frame:
            part = self._frame[: len(buffer)]
            buffer[: len(part)], self._frame = part, self._frame[len(part) :]
            return len(part)
        part_of_file = buffer[: min(len(buffer), self._left)]
        count = len(part_of_file)
        if self._reader is None:
            part_of_file[:] = bytes(count)
        elif self._reader.read_into(self._offset, part_of_file) != count:
            raise DamagedBlobError("a file became shorter while it was sent")
        self._offset += count
        self._left -= count
        return count


# ---------------------------------------------------------------- the asking side


@dataclass(frozen=True, slots=True)
class Came:
    """A file that came whole, as it came. `data` is the caller's buffer."""

    content: ContentId
    data: memoryview


class BatchReader:
    """Takes the body of the answer to a request for `contents`, `wanted` bytes at a time.

    `name`: whom was asked, for errors. `length`: the bytes that the answer says it has.
    """

    def __init__(self, contents: Sequence[ContentId], name: str, length: int) -> None:
        self._contents, self._name = tuple(contents), name
        least = FRAME * len(contents)
        if not least <= length <= least + sum(content.size for content in contents):
            raise GarbageError(f"{name} sends {length} bytes, which these files cannot have")
        self._unread = length
        self._index, self._status = 0, 0
        self.wanted = FRAME if contents else 0
        """How many bytes are to be taken next: a frame or a file; 0 at the end."""
        self.lacking: list[ContentId] = []
        """What was asked for and is not there, or damaged."""

    def take(self, data: memoryview) -> Came | None:
        """The next `wanted` bytes; the file that they complete. Raises `GarbageError`."""
        self._unread -= len(data)
        if self._status:
            return self._end(data)
        status, length = _FRAME.unpack(data)
        size = self._contents[self._index].size
        fits = length == size if status == HERE else length in (0, size)
        rest = FRAME * (len(self._contents) - self._index - 1)
        if not fits or length + rest > self._unread:
            raise GarbageError(f"{self._name} sends {length} bytes of a file that has {size}")
        self._status, self.wanted = status, length
        return None if length else self._end(data[:0])

    def _end(self, data: memoryview) -> Came | None:
        """A file is over; the next frame comes."""
        content, status = self._contents[self._index], self._status
        self._index, self._status = self._index + 1, 0
        self.wanted = FRAME if self._index < len(self._contents) else 0
        if not self.wanted and self._unread:
            raise GarbageError(f"{self._name} sends more than what it was asked for")
        if status == HERE:
            return Came(content, data)
        self.lacking.append(content)
        return None


# ---------------------------------------------------------------- for sources that know no batches


class _WholeFile:
    """The sink of a file of one piece: whoever accepts it checks it."""

    def __init__(self, content: ContentId, accept: AcceptFile) -> None:
        self._content, self._accept = content, accept

    def accept(self, index: int, data: memoryview) -> None:
        self._accept(self._content, data)


async def one_by_one(
    source: Source, contents: Sequence[ContentId], accept: AcceptFile
) -> tuple[ContentId, ...]:
    """`Source.fetch_many` by one `fetch` for each file: what `source` lacks."""
    lacking = []
    for content in contents:
        table = PieceTable.for_small(content)
        try:
            await source.fetch(content, table, Run(0, table.count), _WholeFile(content, accept))
        except NotFoundError:
            lacking.append(content)
        else:
            if not table.count:
                accept(content, memoryview(b""))
    return tuple(lacking)
