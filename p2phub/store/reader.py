"""Open files to serve from: `protocol.ports.FileReader` for whole blobs and for partial files.

A reader keeps its own open file, so that one that was opened on a partial goes on when the file is
committed and renamed meanwhile. Only verified bytes are given out: of a blob, those of a file whose
stamp was right when it was opened; of a partial, those of pieces that were checked here. A person
may write to a file that was published in place at any time, so its stamp is compared again after
each read, before the bytes are given out.
"""

import os

from p2phub.errors import DamagedBlobError, NotFoundError, P2PHubError
from p2phub.store.disk import PathText, disk_errors, read_into
from p2phub.store.partial import Partial
from p2phub.store.stamp import Stamp


class BlobReader:
    """Reads an open blob. Takes over `fd` (`Blobs.open_verified`). `stamp` is what a file that
    others may write to had when it was right.
    """

    def __init__(self, fd: int, path: PathText, stamp: Stamp | None = None) -> None:
        self._fd, self._path, self._stamp = fd, path, stamp

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on; fewer bytes only where the file ends.

        Raises `DamagedBlobError` if it cannot be read, or changed since it was opened.
        """
        try:
            count = read_into(self._fd, buffer, offset, self._path)
        except P2PHubError as error:
            raise DamagedBlobError(error.message, remedy=error.remedy) from error
        if self._stamp is not None and Stamp.of(os.fstat(self._fd)) != self._stamp:
            raise DamagedBlobError(
                f"{self._path} changed while it was read", remedy="publish its folder again"
            )
        return count

    def close(self) -> None:
        """Closing twice is nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PartialReader(BlobReader):
    """Reads what is verified of a file that is still on its way."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with disk_errors(partial.data):
            try:
                fd = os.open(partial.data, flags)
            except FileNotFoundError:
                raise NotFoundError(f"there is no {partial.content} here any more") from None
        super().__init__(fd, partial.data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """The same. Raises `NotFoundError` if a byte of it is not verified here."""
        stop = min(offset + len(buffer), self._partial.content.size)
        self._partial.check_here(offset, stop)
        return super().read_into(offset, buffer[: max(stop - offset, 0)])
