"""Reading a file of a release so that every byte is checked where it will be used.

`VerifiedFile.read` puts pieces into a buffer and checks each of them there: who uses the buffer
afterwards uses what was checked, whatever happens to the disk. Nothing is mapped, and no byte is
read a second time to be used. `Arrivals` lets the same reader follow a file that is still fetched.

Rules it keeps:
 * a buffer is used only after `read` returned: on an error it may hold anything;
 * an error names the file and the piece, and says what to do;
 * memory is the caller's: a chunk ends at the bounds of pieces, within `CHUNK` bytes;
 * a reader that waits for bytes is woken by `fail`, so that nobody waits for what will never come.

`read` may be called from several threads at once: reading and BLAKE3 hold no lock of Python.

>>> table = PieceTable.build([1 << 20, 1 << 20, 5], [bytes(32)] * 3)
>>> [(each.start, each.stop) for each in chunks(table, 0, table.size, most=2 << 20)]
[(0, 2097152), (2097152, 2097157)]
>>> arrivals = Arrivals()
>>> arrivals.ready("a", 5, 9), arrivals.ready("a", 0, 5), arrivals.has("a", 0, 9)
(None, None, True)
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Condition, Event, Lock
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from p2phub.errors import DamagedBlobError, EngineError, P2PHubError, WrongBytesError
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import PieceTable
from p2phub.inference.spec import ModelFile

CHUNK: Final = 16 * MIB
"""Bytes of one chunk at most, and so of one buffer."""
_STEP: Final = 1 * MIB
"""Bytes of one call of the system: they are hashed while the processor still has them at hand."""
MOST_READERS: Final = 4
"""Threads that read and check; more of them gain nothing on the disks we know."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring pieces that are read at once: the bytes [start, stop) of the file."""

    first: int
    count: int
    start: int
    stop: int


def chunks(table: PieceTable, start: int, stop: int, most: int = CHUNK) -> Iterator[Chunk]:
    """The pieces that hold [start, stop), in order, in chunks of at most `most` bytes."""
    first, count = table.pieces_covering(start, stop)
    end = first + count
    while first < end:
        last = first + 1
        while last < end and table.offset(last + 1) - table.offset(first) <= most:
            last += 1
        yield Chunk(first, last - first, table.offset(first), table.offset(last))
        first = last


class Arrivals:
    """What has come of files that are still fetched. The main loop tells it, readers wait."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        self._places: dict[str, str] = {}
        self._tables: dict[str, bytes] = {}
        self._error: P2PHubError | None = None

    def ready(self, name: str, start: int, stop: int) -> None:
        """The bytes [start, stop) of a file are there."""
        with self._changed:
            ranges = self._ranges.setdefault(name, [])
            apart = [each for each in ranges if each[1] < start or each[0] > stop]
            joined = [each for each in ranges if not (each[1] < start or each[0] > stop)]
            start, stop = (
                min([start, *(a for a, _ in joined)]),
                max([stop, *(b for _, b in joined)]),
            )
            self._ranges[name] = sorted([*apart, (start, stop)])
            self._changed.notify_all()

    def moved(self, name: str, where: str) -> None:
        """A file lies at another path now."""
        with self._changed:
            self._places[name] = where
            self._changed.notify_all()

    def tabled(self, name: str, packed: bytes) -> None:
        """The piece table of a file is there."""
        with self._changed:
            self._tables[name] = packed
            self._changed.notify_all()

    def fail(self, error: P2PHubError) -> None:
        """No more will come: whoever waits, now or later, gets `error`."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def has(self, name: str, start: int, stop: int) -> bool:
        """Whether all of [start, stop) is there."""
        ranges = self._ranges.get(name, ())
        return start == stop or any(a <= start and stop <= b for a, b in ranges)

    def wait(self, name: str, start: int, stop: int) -> None:
        """Return once the bytes [start, stop) are there. Raises what `fail` was given."""
        self.wait_until(lambda: self.has(name, start, stop))

    def wait_for_table(self, name: str) -> bytes:
        """The piece table of a file once it is there. Raises what `fail` was given."""
        self.wait_until(lambda: name in self._tables)
        return self._tables[name]

    def look_again(self) -> None:
        """Whoever waits looks whether that holds now."""
        with self._changed:
            self._changed.notify_all()

    def where(self, name: str, otherwise: str) -> str:
        """Where a file lies now."""
        with self._changed:
            return self._places.get(name, otherwise)

    def wait_for_move(self, name: str, away_from: str) -> str:
        """Where a file lies once that is no longer `away_from`. Raises what `fail` was given."""
        self.wait_until(lambda: self._places.get(name, away_from) != away_from)
        return self.where(name, away_from)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return once that is so; it is asked again whenever something came. Raises likewise."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or holds())
            if self._error is not None and not holds():
                raise self._error


class VerifiedFile:
    """A file that is open to be read piece by piece.

    Raises `DamagedBlobError` if it is not there or has another size, `UntrustedError` for a wrong
    piece table, and what `Arrivals.fail` was given.
    """

    def __init__(self, file: ModelFile, arrivals: Arrivals | None = None) -> None:
        self.file = file
        self._arrivals = None if file.complete else arrivals
        if not file.complete and arrivals is None:
            raise EngineError(
                f"{file.name} is not complete yet", remedy="load it once it has been fetched"
            )
        self.table = self._table()
        self._descriptor = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, chunk: Chunk, buffer: memoryview) -> None:
        """Put the bytes of `chunk` into `buffer`, which has just that length, and check them there.

        Waits for bytes that have not come yet. Raises `DamagedBlobError` if what lies on the disk
        is not what was verified; for a file that is still fetched, `WrongBytesError`.
        """
        at, stop = chunk.first, chunk.first + chunk.count
        while at < stop:
            last = at + 1
            start = self.table.offset(at)
            while last < stop and self.table.offset(last + 1) - start <= _STEP:
                last += 1
            end = self.table.offset(last)
            if self._arrivals is not None:
                self._arrivals.wait(self.file.name, start, end)
            part = buffer[start - chunk.start : end - chunk.start]
            self._fill(part, start)
            self._check(at, last, part)
            at = last

    def prefix(self, length: int) -> memoryview:
        """The first bytes of the file, checked: at least `length`, up to the end of a piece."""
        first, count = self.table.pieces_covering(0, min(length, self.table.size))
        stop = self.table.offset(first + count)
        view = memoryview(bytearray(stop))
        self.read(Chunk(0, count, 0, stop), view)
        return view

    def _table(self) -> PieceTable:
        late = self.file.content.has_table and not self.file.packed_table
        if not late or self._arrivals is None:
            return self.file.table()
        packed = self._arrivals.wait_for_table(self.file.name)
        return PieceTable.unpack(packed, self.file.content)

    def _open(self) -> int:
        while True:
            place = self.file.where
            if self._arrivals is not None:
                place = self._arrivals.where(self.file.name, place)
            try:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if self._arrivals is None or not isinstance(error, FileNotFoundError):
                    raise _damaged(self.file, f"cannot be read: {error.strerror}") from error
                self._arrivals.wait_for_move(self.file.name, place)
                continue
            if self._arrivals is None:
                self._check_size(descriptor)
            return descriptor

    def _check_size(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size != self.table.size:
            os.close(descriptor)
            raise _damaged(self.file, f"has {size} bytes instead of {self.table.size}")

    def _fill(self, part: memoryview, start: int) -> None:
        done = 0
        while done < len(part):
            try:
                count = os.preadv(self._descriptor, [part[done:]], start + done)
            except OSError as error:
                raise _damaged(self.file, f"cannot be read: {error.strerror}") from error
            if count == 0:
                raise self._wrong(f"ends at byte {start + done} of {self.table.size}")
            done += count

    def _check(self, first: int, last: int, part: memoryview) -> None:
        base = self.table.offset(first)
        for piece in range(first, last):
            start = self.table.offset(piece) - base
            if not self.table.check(piece, part[start : start + self.table.length(piece)]):
                raise self._wrong(f"is not what was published: piece {piece} is wrong")

    def _wrong(self, what: str) -> WrongBytesError:
        if self._arrivals is None:
            return _damaged(self.file, what)
        return WrongBytesError(f"{self.file.name} {what}", remedy="fetch it again")


def _damaged(file: ModelFile, what: str) -> DamagedBlobError:
    return DamagedBlobError(
        f"{file.name} {what}", remedy="run `p2phub verify` to find and fetch what is damaged"
    )


def readers() -> int:
    """How many threads are to read and check."""
    return min(MOST_READERS, len(os.sched_getaffinity(0)))


def in_threads(items: Sequence[Item], work: Callable[[Item], Any], threads: int) -> None:
    """Do `work` for every item, in order, in several threads; the first error ends all of it.

    When it returns or raises, no thread is at work any more.
    """
    pending, stopped, taking = deque(items), Event(), Lock()

    def run() -> None:
        try:
            while not stopped.is_set():
                with taking:
                    if not pending:
                        return
                    item = pending.popleft()
                work(item)
        finally:
            stopped.set()

    if threads <= 1:
        run()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        running = [pool.submit(run) for _ in range(threads)]
        try:
            wait(running)
        finally:
            stopped.set()
    for each in running:
        each.result()
