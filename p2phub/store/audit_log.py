"""The audit log of this node: a file that is only added to, and proof that nobody took from it.

`audit.log` in the home folder has a line for everything that crossed the gate
(`p2phub.formats.audit`). The store's database keeps the newest line too. So a line that was taken
from the middle, changed or moved breaks the chain of digests; one that was taken from the end, a
file put back from an older copy, and a file that is gone do not end where the database says.

Order of a write, which tells a power cut from a hand:

    database: the whole new line, not written · file: the line · fsync · database: written

 * a line that the database calls written and that is not whole in the file was taken away;
 * one that is not called so may be torn: the next write finishes it from the database, byte for
   byte, and adds a line that says so (`audit.mended`). Nothing is lost and nothing is hidden;
 * where the file does not end as it should, writing goes on behind `audit.broken`: the lines that
   are gone stay gone for `check`, and what happens from now on is told all the same;
 * a database that knows nothing of a log that is there (made anew after damage) takes its last line
   as it is, behind `audit.adopted`: what was taken from the end before that, only a number and a
   digest that somebody wrote down elsewhere can prove.

Whoever has the node's key and the database can write another history; against that, too, helps
what is written down elsewhere: `check(…, anchor)`.

>>> Problem(3, "it was changed").line
3
"""

import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from p2phub.errors import MalformedError, RefusedError
from p2phub.formats.audit import FIRST, MAX_LINE, Line, Value
from p2phub.formats.digest import sha256
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.index import Index
from p2phub.store.layout import Layout
from p2phub.trust.keys import SigningKey, verify

MAX_PROBLEMS: Final = 20
"""Problems that are told of; the first one is what matters."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a log which nobody touched does not have."""

    line: int
    """The number of the line; what is missing at the end has that of its first line."""
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look through the whole log found."""

    lines: int
    seq: int
    """Of the last line; 0 for an empty log."""
    digest: bytes
    """Of the last line."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """What is no fault, but worth knowing."""


@dataclass(frozen=True, slots=True)
class _Head:
    seq: int
    line: bytes
    written: bool

    @property
    def digest(self) -> bytes:
        return sha256(self.line)


class AuditLog:
    """The log of one home folder. Thread-safe; `key` is the node's."""

    def __init__(
        self, layout: Layout, disk: Disk, index: Index, key: SigningKey, now: Callable[[], int]
    ) -> None:
        self._path, self._disk, self._index = layout.audit, disk, index
        self._key, self._now, self._lock = key, now, threading.Lock()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def append(self, event: str, fields: dict[str, Value]) -> Line:
        """Note that something happened: it is on the disk when this returns.

        Raises `NoSpaceError`, `RefusedError`; then it is not noted, or noted as the next thing.
        """
        with self._lock, self._open() as fd:
            self._make_ready(fd)
            return self._add(fd, event, fields)

    def mend(self) -> None:
        """Make good, at a start, what a power cut tore; what a hand took is noted."""
        if self._path.exists() or _head(self._index) is not None:
            with self._lock, self._open() as fd:
                self._make_ready(fd)

    def _make_ready(self, fd: int) -> None:
        """Finish, adopt or continue behind what is there."""
        head, end = _head(self._index), _end(fd, self._path)
        if head is None:
            self._adopt(fd, end)
        elif not head.written:
            self._finish(fd, head, end)
        elif end.rest or end.last != head.line:
            what = f"the file does not end with line {head.seq}, which was written"
            self._end_torn_line(fd, end)
            self._add(fd, "audit.broken", {"what": what})

    def _adopt(self, fd: int, end: "_End") -> None:
        if end.size == 0:
            return
        try:
            last = Line.from_bytes(end.last)
        except MalformedError:
            last = None
        self._end_torn_line(fd, end)
        seq, line = (last.seq, end.last) if last is not None else (1, end.last)
        with self._index.write() as statements:
            statements.run("audit.adopt", seq, line)
        what = "the store knew nothing of the lines before: it was made anew, or exchanged"
        self._add(fd, "audit.adopted", {"what": what, "line": seq})

    def _finish(self, fd: int, head: _Head, end: "_End") -> None:
        """Write what is missing of a line that a power cut or a full disk kept from the file."""
        if end.last == head.line and not end.rest:
            self._note_written(head.seq)
            return
        full, torn = head.line + b"\n", end.rest.rstrip(b"\0")
        previous = Line.from_bytes(head.line).previous
        if full.startswith(torn) and end.digest == previous:
            start = end.size - len(end.rest)
            self._disk.resize(fd, start, self._path)
            self._disk.write(fd, full, start, self._path)
            self._disk.sync(fd, self._path)
            self._note_written(head.seq)
            self._add(fd, "audit.mended", {"line": head.seq, "had": len(torn)})
            return
        self._end_torn_line(fd, end)
        self._write(fd, full)
        self._note_written(head.seq)
        what = f"the file did not end before line {head.seq}, which was about to be written"
        self._add(fd, "audit.broken", {"what": what})

    def _end_torn_line(self, fd: int, end: "_End") -> None:
        if end.rest:
            self._write(fd, b"\n")

    def _add(self, fd: int, event: str, fields: dict[str, Value]) -> Line:
        head = _head(self._index)
        seq, previous = (head.seq + 1, head.digest) if head is not None else (1, FIRST)
        line = Line(seq, self._now(), event, fields, previous).signed(self._key.sign)
        with self._index.write() as statements:
            statements.run("audit.put", seq, line.to_bytes())
        self._write(fd, line.to_bytes() + b"\n")
        self._note_written(seq)
        return line

    def _write(self, fd: int, data: bytes) -> None:
        size = os.fstat(fd).st_size
        self._disk.write(fd, data, size, self._path)
        self._disk.sync(fd, self._path)
        if size == 0:
            self._disk.sync_path(self._path.parent)

    def _note_written(self, seq: int) -> None:
        with self._index.write() as statements:
            statements.run("audit.written", seq)

    @contextmanager
    def _open(self) -> Iterator[int]:
        _refuse_what_is_no_file(self._path)
        fd = self._disk.open_file(self._path)
        try:
            with disk_errors(self._path):
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class _End:
    """How a file ends."""

    size: int
    last: bytes
    """The last whole line, without its newline; empty if there is none, or it is too long."""
    rest: bytes
    """What stands behind it, without a newline."""

    @property
    def digest(self) -> bytes:
        """What the next line has for `previous`."""
        return sha256(self.last) if self.last else FIRST


def _end(fd: int, path: Path) -> _End:
    with disk_errors(path):
        size = os.fstat(fd).st_size
        tail = os.pread(fd, 2 * MAX_LINE, max(0, size - 2 * MAX_LINE))
    before, newline, rest = tail.rpartition(b"\n")
    last = before.rpartition(b"\n")[2] if newline else b""
    return _End(size, last, rest)


def _head(index: Index) -> _Head | None:
    with index.read() as statements:
        row = statements.one("audit.head")
    return _Head(row[0], row[1], row[2] == 1) if row else None


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of a log that can be read as one, as it stands there; nothing is checked."""
    for _, data in _raw_lines(path):
        try:
            yield Line.from_bytes(data)
        except MalformedError:
            continue


def check(path: Path, index: Index, key: bytes, anchor: tuple[int, bytes] | None = None) -> Checked:
    """Look through the whole log, also while a node writes it. `key`: the node's public key;
    `anchor`: the number and the digest of a line, as somebody wrote them down.

    Raises `RefusedError` if the file cannot be read.
    """
    with _held_still(path):
        head, walk = _head(index), _Walk(key, anchor)
        for at, data in _raw_lines(path):
            walk.see(at, data)
    return walk.ended(head)


class _Walk:
    """From line to line, with what is wrong on the way."""

    def __init__(self, key: bytes, anchor: tuple[int, bytes] | None) -> None:
        self._key, self._anchor = key, anchor
        self._seq, self._digest, self._lines = 0, FIRST, 0
        self._torn = b""
        self._problems: list[Problem] = []
        self._notes: list[str] = []

    def see(self, at: int, data: bytes) -> None:
        """The line `at` of the file; the last one may lack its newline (`at` is 0 then)."""
        if at == 0:
            self._torn = data
            return
        self._lines = at
        try:
            line = Line.from_bytes(data)
        except MalformedError as error:
            self._say(self._seq + 1, f"line {at} of the file is damaged: {error.message}")
            self._seq, self._digest = self._seq + 1, sha256(data)
            return
        if line.seq != self._seq + 1:
            self._say(self._seq + 1, _gap(self._seq + 1, line.seq, at))
        elif line.previous != self._digest:
            self._say(line.seq, "the line before it is not the one that it followed")
        if not verify(self._key, line.to_sign, line.signature):
            self._say(line.seq, "it is not signed by this node's key")
        written_down = self._anchor or (0, b"")
        if line.seq == written_down[0] and line.digest != written_down[1]:
            self._say(line.seq, "it is another line than the one that was written down")
        if line.event in ("audit.mended", "audit.broken", "audit.adopted"):
            self._notes.append(f"line {line.seq} says {line.event}: {_told(line)}")
        self._seq, self._digest = line.seq, line.digest

    def ended(self, head: _Head | None) -> Checked:
        if head is None and (self._lines or self._torn):
            self._say(self._seq + 1, "the store knows nothing of this log: it was exchanged")
        elif head is not None:
            self._compare(head)
        if self._anchor is not None and self._anchor[0] > self._seq:
            self._say(self._seq + 1, f"line {self._anchor[0]}, which was written down, is missing")
        found = tuple(self._problems[:MAX_PROBLEMS])
        return Checked(self._lines, self._seq, self._digest, found, tuple(self._notes))

    def _compare(self, head: _Head) -> None:
        """Whether the file ends where the database says."""
        if self._digest == head.digest and not self._torn:
            return
        before = Line.from_bytes(head.line).previous
        is_prefix = (head.line + b"\n").startswith(self._torn.rstrip(b"\0"))
        if not head.written and self._digest == before and is_prefix:
            self._notes.append(
                f"line {head.seq} is not whole in the file yet: the node finishes it at its next"
                " start"
            )
        elif self._seq < head.seq:
            self._say(self._seq + 1, _missing(self._seq + 1, head.seq))
        elif self._torn:
            self._say(self._seq + 1, "something that is no line stands at the end")
        else:
            self._say(head.seq, f"the store knows another line {head.seq} as the last one")

    def _say(self, line: int, what: str) -> None:
        self._problems.append(Problem(line, what))


def _told(line: Line) -> str:
    return ", ".join(f"{name} {value}" for name, value in line.fields.items())


def _gap(expected: int, found: int, at: int) -> str:
    if found > expected:
        return f"{_missing(expected, found - 1)} before line {at} of the file"
    return f"line {found} stands again or out of order, as line {at} of the file"


def _missing(first: int, last: int) -> str:
    return f"line {first} is missing" if first == last else f"lines {first} to {last} are missing"


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line and its number in the file; 0 for what has no newline. One that is too long comes
    in parts.
    """
    _refuse_what_is_no_file(path)
    with disk_errors(path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for at in count(1):
                data = file.readline(MAX_LINE)
                if not data:
                    return
                whole = data.endswith(b"\n") or len(data) == MAX_LINE
                yield (at, data.removesuffix(b"\n")) if whole else (0, data)


def _refuse_what_is_no_file(path: Path) -> None:
    """Raises `RefusedError` for a link, a pipe, a folder: somebody put it there."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # whoever opens it says why
        return
    if not stat.S_ISREG(mode):
        raise RefusedError(
            f"{path} is no plain file: nothing is read from it, and nothing is done that cannot be"
            " noted there",
            remedy="find out who put it there and take it away; `p2phub audit verify` then tells"
            " what is missing",
        )


@contextmanager
def _held_still(path: Path) -> Iterator[None]:
    """Nobody adds to the file inside of the block."""
    _refuse_what_is_no_file(path)
    with disk_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)
