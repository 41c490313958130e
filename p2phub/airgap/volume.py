"""Where the files of a bundle lie: a place with names, whatever it is made of.

A folder on a stick is one, a single file that holds the same files is another; what is sealed to
somebody's keys is opened above either. `medium` reads through the one port, `writer` writes through
the other, and neither knows which it is.

Rules that an implementation keeps:
 * names are those below the folder `p2phub`; whoever asks filters and counts them;
 * only plain bytes are read: no link is followed, no device or pipe is opened;
 * a file that is written is whole when `finish` returns: synchronised, and read back from the
   medium.

>>> gone(Path("/media/stick"), OSError(5, "Input/output error")).message
'/media/stick cannot be read: Input/output error'
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from p2phub.errors import NoSourceError
from p2phub.store.disk import Progress, no_progress

FOLDER: Final = "p2phub"
"""The folder that all files of a bundle are in."""
NAME: Final = re.compile(r"(pieces|documents|contents)-([0-9]{4})\.(pack|index|list)")
"""What files of a bundle are called."""
README: Final = "README.txt"
"""What a person finds who looks into the folder."""


class StoredFile(Protocol):
    """A file of a bundle, open for reading; by several threads at once."""

    @property
    def size(self) -> int:
        """Bytes of it."""

    def pread(self, length: int, offset: int) -> bytes:
        """At most `length` bytes from `offset` on. Raises `NoSourceError` if they cannot be had."""

    def is_there(self) -> bool:
        """Whether it can still be read. The page cache is not asked: it outlives a stick."""

    def close(self) -> None: ...


class Volume(Protocol):
    """The files of a bundle."""

    @property
    def path(self) -> Path:
        """What a person named."""

    def names(self) -> Iterable[str]:
        """What is there, one by one. Raises `NoSourceError`."""

    def open(self, name: str) -> StoredFile:
        """Raises `NoSourceError` for what is gone, or is no plain file."""

    def close(self) -> None:
        """Let it go; who still reads it is told that it is gone."""


class NewFile(Protocol):
    """A file of a bundle that is being written."""

    def append(self, data: bytes | memoryview, progress: Progress = no_progress) -> None:
        """What was appended until now may be read back meanwhile, which `progress` is told."""

    def finish(self, progress: Progress) -> None:
        """Make it whole. Raises `WrongBytesError` if other bytes are read back."""

    def close(self) -> None:
        """Done with, finished or not."""


class NewVolume(Protocol):
    """A bundle that is being written."""

    one_at_a_time: bool
    """Whether a file has to be finished before the next is created."""

    @property
    def path(self) -> Path:
        """What a person named."""

    def look(self) -> Volume:
        """What is there so far."""

    def create(self, name: str) -> NewFile:
        """A file, in the place of whatever had its name."""

    def write(self, name: str, data: bytes) -> None:
        """A small file, whole or not at all."""

    def complete(self) -> None:
        """All of it is there. Raises `WrongBytesError` if the medium does not hold it."""

    def close(self) -> None:
        """Done with, complete or not."""


def gone(path: Path, error: OSError) -> NoSourceError:
    """What a stick that is gone or broken is told as."""
    return NoSourceError(
        f"{path} cannot be read: {error.strerror or error}",
        remedy="put it back in, and run the command again: what came is kept",
    )


def let_go(fd: int) -> None:
    """Close a file of a stick that may be gone: what had to be there was synchronised before."""
    with suppress(OSError):
        os.close(fd)
