"""Where a publisher cuts a file into pieces. Only the content decides, never the name.

    the file is             it is cut
    at most 1 MiB           not at all: one piece, none if it is empty
    safetensors or GGUF,    the header by content; then every tensor of 64 KiB or more starts a
    well-formed             piece and is cut each 1 MiB from there; smaller tensors in a row share
                            a piece, which ends at the first tensor bound after 64 KiB; what lies
                            between tensors is a piece of its own
    anything else           by content (`cuts`)

So the same tensors in other shards, in another order or beside a changed one are the same pieces.
Padding of under 64 KiB between small tensors stays in the piece they share: else a file of many
tiny tensors would have more pieces than a reader allows.

Rules it keeps:
 * the same bytes give the same pieces, in however many parts they arrive: two publishers of one
   file get one content id. A changed rule is a new `PLANNER` and needs new golden vectors;
 * it holds the header of a weights file while that is incomplete, else less than 1 MiB;
 * after the header of a weights file it looks at no byte: the cost is that of counting pieces.

It answers with lengths; to keep and to hash the bytes is the caller's business. Who keeps them, and
finds that the file is cut by content, goes on with `cuts.certain_cuts`, which costs less.

>>> planner = PiecePlanner(2_000_000)
>>> planner.feed(bytes(1_500_000)), planner.feed(bytes(500_000)), planner.finish()
([1048576], [], [951424])
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from p2phub.errors import FileChangedError, MalformedError
from p2phub.formats.cuts import ContentCuts, cut_all
from p2phub.formats.digest import Data
from p2phub.formats.limits import MAX_PIECE, MIN_CUT
from p2phub.formats.weights import SNIFF, Header, More, parse

PLANNER: Final = 1
"""The version of the rules above."""


class PiecePlanner:
    """Plans the pieces of one file of `size` bytes, which is fed to it from start to end."""

    def __init__(self, size: int) -> None:
        self._size, self._fed = size, 0
        self._begun, self._wanted = bytearray(), SNIFF
        self._cuts: ContentCuts | _KnownCuts | None = None
        if size <= MAX_PIECE:
            self._cuts = _KnownCuts([size] if size else [])

    def feed(self, data: Data) -> list[int]:
        """The lengths of the pieces that are certain now and end in what was fed so far.

        Raises `FileChangedError` when the file turns out longer than it was said to be.
        """
        self._fed += len(data)
        if self._fed > self._size:
            raise FileChangedError(f"the file had {self._size} bytes and has more now")
        if self._cuts is not None:
            return self._cuts.feed(data)
        return self._begin(data)

    @property
    def undecided(self) -> bool:
        """Whether it has not seen enough to know what the file is."""
        return self._cuts is None

    @property
    def by_content(self) -> bool:
        """Whether the rest of the file is cut by content. Else, once it has decided, what was fed
        since the last cut belongs to one piece, wherever that ends.
        """
        return isinstance(self._cuts, ContentCuts)

    def finish(self) -> list[int]:
        """The lengths of the pieces that were waiting for the end of the file.

        Raises `FileChangedError` when the file turns out shorter than it was said to be.
        """
        if self._fed < self._size:
            raise FileChangedError(f"the file had {self._size} bytes and has {self._fed} now")
        return self._cuts.finish() if self._cuts is not None else []

    def _begin(self, data: Data) -> list[int]:
        """Keep the first bytes until they tell what the file is; then cut them."""
        if self._begun or len(data) < self._wanted:
            self._begun += data
            data = self._begun
        if len(data) < self._wanted:
            return []
        try:
            found = parse(data, self._size)
        except MalformedError:
            self._cuts = ContentCuts()
        else:
            if isinstance(found, More):
                self._wanted = found.total
                self._begun = bytearray(data) if data is not self._begun else self._begun
                return []
            header = memoryview(data)[: found.length]
            self._cuts = _KnownCuts(chain(cut_all(header), tensor_cuts(found, self._size)))
        self._begun = bytearray()
        return self._cuts.feed(data)


class _KnownCuts:
    """Lengths that are known beforehand, each given once its last byte was fed."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._lengths = iter(lengths)
        self._next = next(self._lengths, None)
        self._fed = 0
        """Bytes since the last cut."""

    def feed(self, data: Data) -> list[int]:
        self._fed += len(data)
        ended = []
        while self._next is not None and self._fed >= self._next:
            ended.append(self._next)
            self._fed -= self._next
            self._next = next(self._lengths, None)
        return ended

    def finish(self) -> list[int]:
        return []


def tensor_cuts(header: Header, size: int) -> Iterator[int]:
    """The lengths of the pieces after the header of a weights file of `size` bytes."""
    cut = end = header.length  # the last cut, and the end of the last tensor: a run is between
    for tensor in header.tensors:
        length, gap = tensor.stop - tensor.start, tensor.start - end
        if not length:
            continue
        if length >= MIN_CUT or gap >= MIN_CUT or cut == end:
            yield from _pieces(end - cut)
            yield from _pieces(gap)
            cut = tensor.start
        end = tensor.stop
        if end - cut >= MIN_CUT:
            yield from _pieces(end - cut)
            cut = end
    yield from _pieces(end - cut)
    yield from _pieces(size - end)


def _pieces(length: int) -> Iterator[int]:
    """`length` bytes in pieces of 1 MiB and a rest."""
    for _ in range(length // MAX_PIECE):
        yield MAX_PIECE
    if length % MAX_PIECE:
        yield length % MAX_PIECE
