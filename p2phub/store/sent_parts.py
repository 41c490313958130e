"""Files that a client sends here in parts, in any order and over as many requests as it likes.

All parts of a file are written to their places in one file in `temp/`, for which room is claimed
with the first of them. A part counts once its last byte is here, and has a tag then; one that is
sent again takes the place of the first. When the client names every part with its tag, nothing more
is written: the file is read whole, and becomes a blob if it is what was promised (`uploads`).

A file that nobody went on with for `IDLE` seconds is dropped, and all are when the store opens
again. Who sends the same file a second time goes on in its place.

>>> [InParts(bytes(32), 25, 10).span(number) for number in (1, 2, 3)]
[(0, 10), (10, 20), (20, 25)]
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from p2phub.errors import BusyError, NotFoundError, UsageError, WrongBytesError
from p2phub.formats.digest import Blake3
from p2phub.store.uploads import Kept, Upload, Uploads

IDLE: Final = 900.0
"""Seconds after which a file that nobody goes on with is dropped."""
MOST: Final = 64
"""Files that may be on their way in parts at once."""


@dataclass(frozen=True, slots=True)
class InParts:
    """A file of `size` bytes, each of whose parts has `part` bytes, and the last one the rest."""

    sha256: bytes
    size: int
    part: int

    @property
    def count(self) -> int:
        """How many parts it has."""
        return -(-self.size // self.part)

    def span(self, number: int) -> tuple[int, int]:
        """The bytes [start, end) of a part; the first is 1. Raises `UsageError`."""
        if not 1 <= number <= self.count:
            raise UsageError(f"this file has {self.count} parts, and no part {number}")
        return (number - 1) * self.part, min(number * self.part, self.size)


class _File:
    """A file on its way here, for as long as it is written to."""

    def __init__(self, upload: Upload, now: float) -> None:
        self.upload, self.used = upload, now
        self.tags: dict[int, str] = {}
        """Of the parts that are here."""
        self.closed = False
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold it. Raises `NotFoundError` if nothing more is written to it."""
        with self._lock:
            if self.closed:
                raise NotFoundError("nothing more of this file is taken", remedy="upload it again")
            yield

    def close(self) -> bool:
        """Let nothing more be written; whether somebody else did so before."""
        with self._lock:
            before, self.closed = self.closed, True
            return before


class Part:
    """One part on its way here, used by one thread at a time. Made by `SentParts.begin`."""

    def __init__(self, what: InParts, number: int, file: _File, used: Callable[[], None]) -> None:
        self._at, self._end = what.span(number)
        self._number, self._file, self._used = number, file, used
        self._state = Blake3()

    def write(self, data: bytes) -> None:
        """The next bytes. Raises `WrongBytesError` for more than a part has, `NotFoundError` if
        nothing more is written to the file.
        """
        if self._at + len(data) > self._end:
            raise WrongBytesError(f"more came than part {self._number} of this file has")
        with self._file.open():
            self._file.upload.write_at(data, self._at)
        self._state.update(data)
        self._at += len(data)
        self._used()

    def keep(self) -> str:
        """Its tag, now that it is here. Raises `WrongBytesError`, `NotFoundError`."""
        if self._at != self._end:
            raise WrongBytesError(
                f"{self._end - self._at} bytes of part {self._number} did not come",
                remedy="send the part again",
            )
        tag = self._state.digest().hex()
        with self._file.open():
            self._file.tags[self._number] = tag
        return tag


class SentParts:
    """The files that come in parts. Thread-safe."""

    def __init__(self, uploads: Uploads, clock: Callable[[], float] = time.monotonic) -> None:
        self._uploads, self._clock = uploads, clock
        self._files: dict[InParts, _File] = {}
        self._lock = threading.Lock()

    def begin(self, what: InParts, number: int) -> Part:
        """A place for a part of a file.

        Raises `UsageError` for a part that it has not, `NoSpaceError` or `QuotaError` if there is
        no room for the file, `BusyError` if too many are on their way.
        """
        what.span(number)
        self.sweep()
        with self._lock:
            file = self._files.get(what)
            if file is None:
                file = self._files[what] = self._begin(what)
            if file.closed:
                raise _being_read()
            file.used = self._clock()
        with file.open():
            file.tags.pop(number, None)
        return Part(what, number, file, lambda: self._use(file))

    def _begin(self, what: InParts) -> _File:
        if len(self._files) >= MOST:
            raise BusyError(
                f"{MOST} files are on their way in parts already",
                remedy="try again when one of them is here",
            )
        return _File(self._uploads.begin(what.size), self._clock())

    def _use(self, file: _File) -> None:
        file.used = self._clock()

    def finish(self, what: InParts, tags: Mapping[int, str]) -> Kept:
        """Make a blob of a file whose parts have these tags.

        Raises `UsageError` if they are not the ones that came, which may come still;
        `WrongBytesError` if the file is not what was promised, and it is gone then; `NotFoundError`
        if nothing of it is here; `BusyError` while it is read whole.
        """
        with self._lock:
            file = self._files.get(what)
        if file is None:
            return self._here(what)
        for number in range(1, what.count + 1):
            if number not in file.tags or tags.get(number) != file.tags[number]:
                raise UsageError(
                    f"part {number} of this file did not come as it is named",
                    remedy="send the part again",
                )
        if file.close():
            raise _being_read()
        try:
            return file.upload.keep(what.sha256)
        finally:
            self._drop(what, file)

    def _here(self, what: InParts) -> Kept:
        found = self._uploads.find(what.sha256, what.size)
        if found is None:
            raise NotFoundError("no part of this file is here", remedy="upload it again")
        return found

    def sweep(self) -> None:
        """Drop the files that nobody goes on with."""
        now = self._clock()
        with self._lock:
            every = list(self._files.items())
        for what, file in every:
            if now - file.used > IDLE and not file.close():
                self._drop(what, file)

    def _drop(self, what: InParts, file: _File) -> None:
        with self._lock:
            self._files.pop(what, None)
        file.upload.__exit__(None, None, None)


def _being_read() -> BusyError:
    return BusyError("this file is being read whole", remedy="ask again in a moment")
