"""A bundle as one file: a tar archive, for what takes files and no folders: diodes, tapes, discs.

The archive is plain ustar (POSIX.1-1988) with the files of a bundle, `p2phub/pieces-0001.pack` and
so on, one after another; any tar unpacks it to a bundle that is a folder. Nothing is unpacked here:
a member is read where it lies. Size limits of FAT hold for it as for any file: `--size-limit`
makes several, each a bundle of its own.

Rules it keeps:
 * an archive is begun beside its name (`.part`) and gets it when all of it was read back; one that
   was not finished counts for nothing and is begun anew;
 * of an archive from anywhere only plain files of a bundle are looked at: links, devices and other
   names are passed over, and a member that is not all there ends it;
 * a header is checked by its checksum, sizes are octal, and at most `MOST_MEMBERS` are looked at.

>>> is_one_file(Path("lab.tar")), is_one_file(Path("/media/stick"))
(True, False)
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.airgap.folder import OpenFile
from p2phub.airgap.turns import lock
from p2phub.airgap.volume import FOLDER, NAME, README, NewFile, StoredFile, Volume, gone, let_go
from p2phub.airgap.written import Written
from p2phub.errors import GarbageError, NoSourceError, P2PHubError, RefusedError, WrongBytesError
from p2phub.store.disk import Disk, Progress, no_progress

BLOCK: Final = 512
RECORD: Final = 20 * BLOCK
"""Bytes that an archive is a multiple of."""
MOST_MEMBERS: Final = 100_000
_PLAIN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_MAGIC: Final = b"ustar"
_CHECKSUM: Final = slice(148, 156)
_FILE, _OLD_FILE = b"0", b"\0"
_MOST: Final = (1 << 33) - 1  # eleven octal digits


def is_one_file(path: Path) -> bool:
    """Whether a bundle there is one file, or will be."""
    return path.is_file() or (path.suffix == ".tar" and not path.is_dir())


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in an archive."""

    start: int
    size: int


class Archive:
    """The files in an archive, open for reading. Made by `open_archive`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._closing = threading.Lock()
        self._members: dict[str, Member] | None = None

    def names(self) -> Iterator[str]:
        """See `Volume.names`."""
        yield from tuple(self.members())

    def members(self) -> dict[str, Member]:
        """Where its files lie, by their names; of two with one name the later."""
        if self._members is None:
            try:
                self._members = dict(self._scan())
            except OSError as error:
                raise gone(self.path, error) from None
        return self._members

    def open(self, name: str) -> StoredFile:
        """See `Volume.open`."""
        member = self.members().get(name)
        if member is None:
            raise NoSourceError(f"{self.path} has no {name}")
        try:
            with self._closing:
                fd = os.dup(self._fd)
        except OSError as error:
            raise gone(self.path, error) from None
        return OpenFile(self.path, fd, member.size, member.start)

    def close(self) -> None:
        """See `Volume.close`."""
        with self._closing:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            let_go(fd)

    def _scan(self) -> Iterator[tuple[str, Member]]:
        """Every plain file that is all there, until the end or something that is no header."""
        at, size = 0, os.fstat(self._fd).st_size
        for _ in range(MOST_MEMBERS):
            header = os.pread(self._fd, BLOCK, at)
            try:
                name, kind, length = read_header(header)
            except GarbageError:
                return
            at += BLOCK
            if at + length > size:
                return
            if kind in (_FILE, _OLD_FILE) and _is_ours(name):
                yield name.rpartition("/")[2], Member(at, length)
            at += -(-length // BLOCK) * BLOCK
        raise NoSourceError(f"{self.path} has more files in it than any bundle")


def open_archive(path: Path) -> Volume:
    """The bundle in a file. Raises `NoSourceError` for what is no plain file."""
    try:
        fd = os.open(path, _PLAIN)
    except OSError as error:
        raise gone(path, error) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        let_go(fd)
        raise NoSourceError(f"{path} is no plain file")
    return Archive(path, fd)


def read_header(block: bytes) -> tuple[str, bytes, int]:
    """The name, the kind and the size of a member. Raises `GarbageError`, at the end too.

    >>> read_header(write_header("p2phub/README.txt", 7))
    ('p2phub/README.txt', b'0', 7)
    """
    if len(block) != BLOCK or block[257:262] != _MAGIC:
        raise GarbageError("this is no header of ustar")
    blank = block[:148] + b" " * 8 + block[156:]
    if _octal(block[_CHECKSUM]) != sum(blank):
        raise GarbageError("this header was changed")
    name = block[:100].rstrip(b"\0").decode("utf-8", "replace")
    prefix = (
        block[345:500].rstrip(b"\0").decode("utf-8", "replace") if block[262:263] == b"\0" else ""
    )
    return f"{prefix}/{name}" if prefix else name, block[156:157], _octal(block[124:136])


def write_header(name: str, size: int) -> bytes:
    """The header of a plain file, the same for the same name and size. No time is noted."""
    if size > _MOST:
        raise RefusedError(f"{name} is too large for an archive")
    fields = (
        (name.encode(), 100),
        (b"0000644\0", 8),
        (b"0000000\0" * 2, 16),
        (b"%011o\0" % size, 12),
        (b"00000000000\0", 12),
        (b" " * 8, 8),
        (_FILE, 1),
        (b"", 100),
        (b"ustar\00000", 8),
        (b"", 64),
        (b"0000000\0" * 2, 16),
        (b"", 167),
    )
    header = b"".join(data.ljust(length, b"\0") for data, length in fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _octal(field: bytes) -> int:
    """A number. Raises `GarbageError` for one that is not octal."""
    digits = field.strip(b" \0")
    if not digits.isdigit() or set(digits) & set(b"89"):
        raise GarbageError("a number in this header is not octal")
    return int(digits, 8)


def _is_ours(name: str) -> bool:
    parts = name.removeprefix("./").split("/")
    sealed = parts[-1].removesuffix(".age")
    return (
        len(parts) == 2
        and parts[0] == FOLDER
        and (sealed == README or bool(NAME.fullmatch(sealed)))
    )


class NewArchive:
    """A bundle that is written into one file, one member after another."""

    one_at_a_time = True

    def __init__(self, path: Path, disk: Disk) -> None:
        if path.exists() or path.is_symlink():
            raise RefusedError(
                f"there is a file {path} already", remedy="name another, or remove that one"
            )
        self.path = path
        self._disk, self._part = disk, path.with_name(path.name + ".part")
        disk.make_folder(path.parent)
        _refuse_if_written(self._part)
        disk.remove(self._part)
        self._fd = disk.create(self._part, 0o644)
        lock(self._fd, path)
        self._end = 0
        self._written: dict[str, Member] = {}

    def look(self) -> Volume:
        """See `NewVolume.look`."""
        return Archive(self._part, os.dup(self._fd))

    def create(self, name: str) -> NewFile:
        """See `NewVolume.create`. One is finished before the next is begun."""
        return _NewMember(self, name, self._end + BLOCK)

    def write(self, name: str, data: bytes) -> None:
        """See `NewVolume.write`."""
        file = self.create(name)
        try:
            file.append(data)
            file.finish(no_progress)
        finally:
            file.close()

    def complete(self) -> None:
        """See `NewVolume.complete`: it gets its name. Raises `WrongBytesError`."""
        fill = -(self._end + 2 * BLOCK) % RECORD
        self._disk.write(self._fd, bytes(2 * BLOCK + fill), self._end, self._part)
        self._disk.sync(self._fd, self._part)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = Archive(self._part, os.dup(self._fd))
        try:
            is_whole = found.members() == self._written
        finally:
            found.close()
        if not is_whole:
            raise WrongBytesError(
                f"{self._part} does not hold what was written to it",
                remedy="the medium is broken: use another one",
            )
        self._disk.rename(self._part, self.path)
        self._disk.sync_path(self.path.parent)

    def close(self) -> None:
        """See `NewVolume.close`. What was not finished is removed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            let_go(fd)
            with suppress(P2PHubError):
                self._disk.remove(self._part)

    def begin(self, start: int) -> Written:
        """A member's bytes, from `start` on."""
        return Written(self._part, self._disk, os.dup(self._fd), start)

    def end(self, name: str, start: int, size: int) -> None:
        """A member is all there: what it is called."""
        header = write_header(f"{FOLDER}/{name}", size)
        self._disk.write(self._fd, header, start - BLOCK, self._part)
        fill = -size % BLOCK
        self._disk.write(self._fd, bytes(fill), start + size, self._part)
        self._end = start + size + fill
        self._written[name] = Member(start, size)


def _refuse_if_written(part: Path) -> None:
    """Raises `BusyError` if somebody writes there now, and did not just die."""
    try:
        fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        lock(fd, part)
    finally:
        let_go(fd)


class _NewMember:
    def __init__(self, into: NewArchive, name: str, start: int) -> None:
        self._into, self._name, self._start = into, name, start
        self._data = into.begin(start)

    def append(self, data: bytes | memoryview, progress: Progress = no_progress) -> None:
        self._data.append(data, progress)

    def finish(self, progress: Progress) -> None:
        self._data.finish(progress)
        self._into.end(self._name, self._start, self._data.size)

    def close(self) -> None:
        self._data.close()
