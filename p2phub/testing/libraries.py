"""What a node has to offer, in memory: the fake behind the data server and the control server.

>>> library = MemoryLibrary()
>>> sample = make_sample(10)
>>> library.add(sample)
>>> library.holding(sample.content, None).complete
True
"""

import threading
from collections.abc import Iterable, Sequence
from functools import partial

from p2phub.errors import DamagedBlobError, NotFoundError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.protocol.batch import Opener
from p2phub.protocol.ports import Holding
from p2phub.testing.samples import Sample, make_sample

__all__ = ["BytesReader", "MemoryLibrary", "make_sample"]


class BytesReader:
    """An open file of bytes in memory; `open_now` counts those that were not closed."""

    def __init__(self, data: bytes, library: "MemoryLibrary") -> None:
        self._data, self._library = data, library

    def read_into(self, offset: int, buffer: memoryview) -> int:
        part = self._data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._library.count_open(-1)


class MemoryLibrary:
    """Files, documents and heads, for everybody unless `private_to` names peers."""

    def __init__(self) -> None:
        self.documents: dict[bytes, bytes] = {}
        self.heads: dict[bytes, bytes] = {}
        self.damaged: set[ContentId] = set()
        self.open_now = 0
        self._files: dict[ContentId, bytes] = {}
        self._ranges: dict[ContentId, tuple[tuple[int, int], ...]] = {}
        self._sha256: dict[bytes, ContentId] = {}
        self._private: dict[ContentId, frozenset[str]] = {}
        self._lock = threading.Lock()

    def add(
        self,
        sample: Sample,
        *,
        ranges: tuple[tuple[int, int], ...] | None = None,
        hashed_whole: bool = False,
        private_to: Iterable[str] | None = None,
    ) -> None:
        """Have `sample`, or the byte ranges of it that were verified."""
        content = sample.content
        self._files[content] = sample.data
        if ranges is not None:
            self._ranges[content] = ranges
        if hashed_whole:
            self._sha256[sha256(sample.data)] = content
        if private_to is not None:
            self._private[content] = frozenset(private_to)
        if content.has_table:
            self.documents[content.digest] = sample.table.pack()

    def has_got(self, content: ContentId, ranges: tuple[tuple[int, int], ...] | None) -> None:
        """Hold these byte ranges from now on; None: the whole file."""
        if ranges is None:
            self._ranges.pop(content, None)
        else:
            self._ranges[content] = ranges

    def replace(self, content: ContentId, data: bytes) -> None:
        """Let other bytes stand where the verified ones stood, as a liar or a bad disk does."""
        self._files[content] = data

    def holding(self, content: ContentId, peer: str | None) -> Holding | None:
        if content not in self._files:
            return None
        if content in self._private and peer not in self._private[content]:
            return None
        ranges = self._ranges.get(content)
        return Holding(complete=True) if ranges is None else Holding(False, ranges)

    def document(self, digest: bytes, peer: str | None) -> bytes | None:
        return self.documents.get(digest)

    def head(self, publisher: bytes, peer: str | None) -> bytes | None:
        return self.heads.get(publisher)

    def content_of_sha256(self, digest: bytes, peer: str | None) -> ContentId | None:
        return self._sha256.get(digest)

    def open(self, content: ContentId) -> BytesReader:
        if content in self.damaged:
            raise DamagedBlobError(f"{content} does not match its digest any more")
        if content not in self._files:
            raise NotFoundError(f"there is no {content}")
        self.count_open(1)
        return BytesReader(self._files[content], self)

    def openers(self, contents: Sequence[ContentId], peer: str | None) -> Sequence[Opener | None]:
        return [self._opener(content, self.holding(content, peer)) for content in contents]

    def _opener(self, content: ContentId, holding: Holding | None) -> Opener | None:
        if holding is None or not (holding.complete or (0, content.size) in holding.ranges):
            return None
        return partial(self.open, content)

    def count_open(self, change: int) -> None:
        """Called by readers as they open and close, from any thread."""
        with self._lock:
            self.open_now += change
