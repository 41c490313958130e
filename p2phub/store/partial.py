"""Files that are not complete yet: every piece is checked before it counts, and what was got stays.

    partial/<content>/data     the file with holes: bytes of pieces at their offsets
    partial/<content>/bitmap   a byte a piece: 1 if it was verified and written

The bitmap is a hint and nothing more. Bytes reach the disk in no promised order, so when a partial
is opened again every piece that the bitmap claims is read and verified before it counts; a torn
write, a power cut or a lost bitmap costs fetching a piece again, never a wrong byte. A file of one
piece needs no bitmap: it is there or not.

Pieces are written by many threads at once, without a common lock around the writing. When all are
there, `commit` makes a blob of the file (`adoption`). Which pieces to fetch next is the fetch
plan's business.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from p2phub.errors import NotFoundError, P2PHubError, WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.store.adoption import Arrival
from p2phub.store.disk import Disk, Progress, disk_errors, read_into
from p2phub.store.stamp import Stamp, stamp_now
from p2phub.store.verification import bad_pieces

Adopt = Callable[[Sequence["Partial"]], None]
Stage = Literal["open", "paused", "closed", "committed"]

LEAST_SHARED = 64 << 10
"""Bytes that are worth sharing instead of copying."""
EARLY = 8 << 20
"""Bytes after which the disk begins to write them: a commit waits only for the last."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Which pieces of a partial this process has verified, and the file that they were in."""

    have: bytes
    stamp: Stamp


class Partial:
    """One file on its way here; a `protocol.ports.Sink`. Thread-safe. Made by `Partials.open`."""

    def __init__(
        self, folder: Path, content: ContentId, table: PieceTable, disk: Disk, adopt: Adopt
    ) -> None:
        self.content, self.table, self.folder = content, table, folder
        self._disk, self._adopt = disk, adopt
        self._have = bytearray(table.count)
        self._pieces_done, self._bytes_done = 0, 0
        self._state = threading.Condition()
        self._sharing = threading.Lock()
        self._fds: tuple[int, int] | None = None
        self._left: Stamp | None = None
        """Of the data file when it was closed last."""
        self._users = self._unwritten = 0
        self._stage: Stage = "open"
        self.committing = threading.Lock()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def bitmap(self) -> Path:
        return self.folder / "bitmap"

    # ------------------------------------------------------------ what is here

    def have(self, index: int) -> bool:
        return bool(self._have[index])

    @property
    def count_done(self) -> int:
        """How many pieces are here."""
        return self._pieces_done

    @property
    def bytes_done(self) -> int:
        return self._bytes_done

    @property
    def complete(self) -> bool:
        return self._pieces_done == self.table.count

    def missing(self) -> list[Run]:
        """The pieces that are not here, as runs."""
        return [Run(first, stop - first) for first, stop in self._runs(0)]

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The verified bytes, as [start, stop): what may be served."""
        offset = self.table.offset
        return tuple((offset(first), offset(stop)) for first, stop in self._runs(1))

    def _runs(self, value: int) -> Iterator[tuple[int, int]]:
        """Where the pieces that are here (1) or missing (0) begin and end."""
        have, other = bytes(self._have), 1 - value
        first = have.find(value)
        while first >= 0:
            stop = have.find(other, first)
            stop = len(have) if stop < 0 else stop
            yield first, stop
            first = have.find(value, stop)

    # ------------------------------------------------------------ reading and writing

    def accept(self, index: int, data: memoryview) -> None:
        """Check piece `index` and keep it.

        Raises `WrongBytesError` if the bytes are not that piece, `NoSpaceError` on a full disk.
        """
        if not (0 <= index < self.table.count and self.table.check(index, data)):
            raise WrongBytesError(f"the bytes for piece {index} of {self.content} are not that")
        if self._have[index]:
            return
        with self._using() as (file, bitmap):
            self._disk.write(file, data, self.table.offset(index), self.data)
            if bitmap >= 0:
                self._disk.write(bitmap, b"\1", index, self.bitmap)
            self._count(index)
            self._write_early(file, len(data))

    def expect(self, run: Run) -> None:
        """These pieces are about to come: let them have blocks that lie together."""
        start, stop = self.table.offset(run.first), self.table.offset(run.first + run.count)
        if stop - start < EARLY or self.complete:
            return
        with self._using() as (file, _):
            self._disk.allocate(file, start, stop - start, self.data)

    def share(self, first: int, count: int, source: int, offset: int) -> bool:
        """Let the data file share the blocks in which `source`, from `offset` on, has these pieces.

        What the first and the last of them have outside of whole blocks is copied. None of them
        counts before `confirm`. False, and nothing is changed, where the file system cannot share
        blocks, or where the bytes are not aligned to them. Raises `NoSpaceError`.
        """
        start, stop = self.table.offset(first), self.table.offset(first + count)
        block = os.fstatvfs(source).f_bsize
        low, high = -(-start // block) * block, stop // block * block
        shift = offset - start
        if shift % block or high - low < LEAST_SHARED:
            return False
        ends = ((start, low), (high, stop))
        edges = [(at, memoryview(bytearray(end - at))) for at, end in ends if at < end]
        for at, data in edges:
            read_into(source, data, at + shift, self.data)
        with self._sharing, self._using() as (file, _), self._state:
            self._state.wait_for(lambda: self._users == 1)  # nobody writes beside us
            if self._have.find(1, first, first + count) >= 0:
                return False
            if not self._disk.clone_range(source, low + shift, high - low, file, low, self.data):
                return False
            for at, data in edges:
                self._disk.write(file, data, at, self.data)
        return True

    def confirm(self, index: int, buffer: memoryview) -> None:
        """Read piece `index`, which was shared, into `buffer` and check it: from now on it counts.

        Raises `WrongBytesError` if the bytes are not that piece.
        """
        with self._using() as (file, bitmap):
            got = read_into(file, buffer, self.table.offset(index), self.data)
            if not self.table.check(index, buffer[:got]):
                raise WrongBytesError(f"the bytes for piece {index} of {self.content} are not that")
            if bitmap >= 0 and not self._have[index]:
                self._disk.write(bitmap, b"\1", index, self.bitmap)
            self._count(index)

    def _write_early(self, file: int, size: int) -> None:
        """Let the disk be busy while the next pieces come, so that `commit` waits for less."""
        with self._state:
            self._unwritten += size
            if self._unwritten < EARLY or self.complete:
                return
            self._unwritten = 0
        self._disk.begin_writing(file)

    def lose(self, index: int) -> None:
        """Piece `index` has rotted: it does not count any more and has to be fetched again."""
        with self._using() as (_, bitmap), self._state:
            if not self._have[index]:
                return
            if bitmap >= 0:
                self._disk.write(bitmap, b"\0", index, self.bitmap)
            self._have[index] = 0
            self._pieces_done -= 1
            self._bytes_done -= self.table.length(index)

    def read(self, offset: int, length: int) -> bytes:
        """Verified bytes. Raises `NotFoundError` if one of them is not here."""
        self.check_here(offset, offset + length)
        buffer = bytearray(length)
        with self._using() as (file, _):
            got = read_into(file, memoryview(buffer), offset, self.data)
        if got < length:
            raise NotFoundError(f"{self.data} is shorter than it was")
        return bytes(buffer)

    def here_from(self, start: int, stop: int) -> int:
        """Until where the bytes from `start` on are verified, at most until `stop`."""
        first, count = self.table.pieces_covering(start, stop)
        missing = self._have.find(0, first, first + count)
        return stop if missing < 0 else max(start, self.table.offset(missing))

    def check_here(self, start: int, stop: int) -> None:
        """Raise `NotFoundError` unless every byte of [start, stop) is verified."""
        if not 0 <= start <= stop <= self.content.size:
            raise NotFoundError(f"{self.content} has no bytes {start} to {stop}")
        first, count = self.table.pieces_covering(start, stop)
        if self._have.find(0, first, first + count) >= 0:
            raise NotFoundError(f"bytes {start} to {stop} of {self.content} are not all here")

    def commit(self) -> None:
        """Make a blob of it. Every piece must be here. Once done, doing it again is nothing."""
        self._adopt([self])

    # ------------------------------------------------------------ for Partials

    def verified(self) -> Verified | None:
        """What is known of a closed partial, for `load`."""
        return Verified(bytes(self._have), self._left) if self._left is not None else None

    def load(self, progress: Progress, known: Verified | None = None) -> None:
        """Verify what an earlier process left here, and count what is right.

        `known`: what this process has verified and closed is not read again while its stamp is the
        same.
        """
        if known is not None and stamp_now(self.data) == known.stamp:
            self._left = known.stamp
            self._have[:] = known.have
            self._pieces_done = known.have.count(1)
            self._bytes_done = sum(stop - start for start, stop in self.ranges())
            return
        claimed = self._claimed()
        if not claimed:
            return
        with disk_errors(self.data):
            fd = os.open(self.data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._left = Stamp.of(os.fstat(fd))
            bad_pieces(
                fd,
                self.table,
                self.data,
                indexes=claimed,
                take=lambda index, data: self._count(index),
                progress=progress,
            )
        finally:
            os.close(fd)
        if self.table.count > 1:
            self._write_bitmap(bytes(self._have))

    def arrival(self) -> Arrival:
        """The complete file, closed to writers, ready to become a blob."""
        if not self.complete:
            left = self.table.count - self._pieces_done
            raise P2PHubError(f"{self.content} cannot be committed: {left} pieces are missing")
        if not self.table.count:
            self._disk.make_folder(self.folder)
            os.close(self._disk.open_file(self.data))
        self._check_file()
        return Arrival(self.data, self.content, self.table)

    def claim_all(self) -> None:
        """Let the bitmap say that every piece is here: the next `load` finds out which are."""
        if self.table.count > 1:
            self._write_bitmap(b"\1" * self.table.count)

    @property
    def stage(self) -> Stage:
        return self._stage

    def enter(self, stage: Stage) -> None:
        """Open, or paused or ended: then wait for who reads or writes now, and close the files."""
        with self._state:
            self._stage = stage
            if stage == "open":
                return
            self._state.wait_for(lambda: self._users == 0)
            self._close_files()

    # ------------------------------------------------------------ files

    @contextmanager
    def _using(self) -> Iterator[tuple[int, int]]:
        """The open data and bitmap files, which stay open for as long as they are used here.

        Those of a complete file are closed between two uses: a thousand small ones may wait to be
        committed together.
        """
        with self._state:
            if self._stage != "open":
                raise NotFoundError(f"the partial file {self.content} is {self._stage}")
            if self._fds is None:
                self._fds = self._open()
            self._users += 1
            fds = self._fds
        try:
            yield fds
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()
                if self.complete and not self._users:
                    self._close_files()

    def _check_file(self) -> None:
        """What was counted is in this file and in no other that has its name."""
        with self._state:
            now = stamp_now(self.data)  # while nobody opens or closes it
            if self._fds is not None:
                same = now is not None and now.is_file_of(Stamp.of(os.fstat(self._fds[0])))
            else:
                same = self._left is None or (now is not None and now.is_renamed(self._left))
        if not same:
            raise P2PHubError(
                f"somebody took away or changed {self.data}",
                remedy="run the command again: what is left is verified first",
            )

    def _open(self) -> tuple[int, int]:
        self._check_file()
        self._disk.make_folder(self.folder)
        data, bitmap = self._disk.open_file(self.data), -1
        with ExitStack() as undo:
            undo.callback(os.close, data)
            if os.fstat(data).st_size != self.content.size:
                self._disk.resize(data, self.content.size, self.data)
            if self.table.count > 1:
                bitmap = self._disk.open_file(self.bitmap)
            undo.pop_all()
        return data, bitmap

    def _close_files(self) -> None:
        fds, self._fds = self._fds or (), None
        if fds:
            self._left = Stamp.of(os.fstat(fds[0]))
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def _claimed(self) -> list[int]:
        if not self.data.exists():
            return []
        if self.table.count == 1:
            return [0]
        try:
            claims = self.bitmap.read_bytes()[: self.table.count]
        except OSError:
            return []
        return [index for index, claim in enumerate(claims) if claim == 1]

    def _write_bitmap(self, data: bytes) -> None:
        fd = self._disk.open_file(self.bitmap)
        try:
            self._disk.write(fd, data, 0, self.bitmap)
        finally:
            os.close(fd)

    def _count(self, index: int) -> None:
        with self._state:
            if not self._have[index]:
                self._have[index] = 1
                self._pieces_done += 1
                self._bytes_done += self.table.length(index)
