"""Whole files by other digests than ours: what a model signature of somebody else says of them.

A file is read once from its beginning, in one reused buffer, and each of its stretches gets a
digest. A plain file only: a pipe would never end, and a folder has no bytes.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import Algorithm, streaming
from p2phub.store.disk import READ_BLOCK, Progress, disk_errors, no_progress, read_into


@dataclass(frozen=True, slots=True)
class Digests:
    """What was read of a file."""

    size: int
    """Bytes that it has, read or not."""
    digests: tuple[bytes, ...]
    """Of each stretch that was asked for; one that lies behind the end is that of no bytes."""


@contextmanager
def opened_plain(path: Path) -> Iterator[int]:
    """A file that may be a link, open for reading.

    Raises `NotFoundError` if it is not there, `UsageError` if it is no plain file, `RefusedError`.
    """
    with disk_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"there is no file {path}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{path} is no plain file")
        yield fd
    finally:
        os.close(fd)


def digests_of(
    fd: int,
    ends: Sequence[int | None],
    algorithm: Algorithm,
    path: Path,
    progress: Progress = no_progress,
) -> Digests:
    """The digest of each stretch of an open file: from where the last one ended to the next of
    `ends`, which ascend. None means: to the end of the file. `path` is for error messages.
    """
    block = memoryview(bytearray(min(READ_BLOCK, os.fstat(fd).st_size + 1)))
    made, offset = [], 0
    for end in ends:
        state = streaming(algorithm)
        while end is None or offset < end:
            room = block if end is None else block[: end - offset]
            count = read_into(fd, room, offset, path)
            state.update(room[:count])
            offset += count
            progress(count)
            if count < len(room):
                break
        made.append(state.digest())
    return Digests(os.fstat(fd).st_size, tuple(made))


def git_blob_sha1_of(fd: int, path: Path, progress: Progress = no_progress) -> bytes:
    """The id that git gives an open file (20 bytes), of any size. `path` is for error messages."""
    size, offset = os.fstat(fd).st_size, 0
    state = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    block = memoryview(bytearray(min(READ_BLOCK, size + 1)))
    while count := read_into(fd, block, offset, path):
        state.update(block[:count])
        offset += count
        progress(count)
    return state.digest()


def read_small(fd: int, limit: int, path: Path) -> bytes | None:
    """All of an open file; None if it has more than `limit` bytes."""
    if os.fstat(fd).st_size > limit:
        return None
    buffer = memoryview(bytearray(os.fstat(fd).st_size))
    return bytes(buffer[: read_into(fd, buffer, 0, path)])
