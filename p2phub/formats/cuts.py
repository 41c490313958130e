"""Content-defined cuts: the door to FastCDC, for bytes that have no structure we know.

A cut depends only on the bytes since the cut before it, so that an inserted line moves nothing but
its own piece. Pieces are 64 KiB to 1 MiB long; gear table, seed and normalisation are those of the
constants here and never change, or no two publishers would cut one file alike. Golden vectors hold
the library to that.

Rules it keeps:
 * the same bytes are cut alike, in however many parts they arrive;
 * at most 1 MiB is ever kept; the rest of what is fed is cut where it lies, without a copy. Parts
   of 4 MiB or more cost little more than all at once; smaller ones are scanned up to twice.

Who keeps the bytes since the last cut anyhow, to hash them, asks `certain_cuts`: nothing is copied
for it, and each piece is told while its bytes are still in the core's cache. Scanning takes about
0.3 times what SHA-256 and BLAKE3 of the same bytes take; the rest of it is noise.

>>> cuts = ContentCuts()
>>> cuts.feed(bytes(1_500_000)) + cuts.finish() == cut_all(bytes(1_500_000)) == [1048576, 451424]
True
"""

from collections.abc import Iterator
from typing import Final

from pyfastcdc import FastCDC

from p2phub.formats.digest import Data
from p2phub.formats.limits import AVERAGE_CUT, MAX_PIECE, MIN_CUT

NORMALISATION: Final = 2
SEED: Final = 0
"""0 is the gear table of the FastCDC paper's authors."""


WORTH_A_SEARCH: Final = 2 * AVERAGE_CUT
"""Bytes in which a cut is nearly always found, if they are random."""
_CHUNKER: Final = FastCDC(
    AVERAGE_CUT,
    min_size=MIN_CUT,
    max_size=MAX_PIECE,
    normalized_chunking=NORMALISATION,
    seed=SEED,
)
"""Holds no state between two cuts."""


class ContentCuts:
    """Cuts one run of bytes as it arrives. Not for two threads at once."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(MAX_PIECE))
        self._kept = 0
        """The bytes since the last cut that is certain, at the start of the buffer."""

    def feed(self, data: Data) -> list[int]:
        """The lengths of the pieces that are known now."""
        rest = memoryview(data)
        lengths: list[int] = []
        while len(rest):
            if self._kept:
                rest = self._cut_kept(rest, lengths)
            else:
                certain = list(certain_cuts(rest))
                lengths += certain
                rest = self._keep(rest[sum(certain) :])
        return lengths

    def finish(self) -> list[int]:
        """The lengths of the pieces that were waiting for more."""
        lengths = cut_all(self._buffer[: self._kept])
        self._kept = 0
        return lengths

    def _keep(self, data: memoryview) -> memoryview:
        """Put as much of `data` in the buffer as there is room for; the rest of it."""
        taken = min(len(data), MAX_PIECE - self._kept)
        self._buffer[self._kept : self._kept + taken] = data[:taken]
        self._kept += taken
        return data[taken:]

    def _cut_kept(self, data: memoryview, lengths: list[int]) -> memoryview:
        """Cut a piece that begins in the buffer, if certain; what of `data` is left."""
        before = self._kept
        rest = self._keep(data)
        if self._kept < MAX_PIECE:
            return rest
        length = next(certain_cuts(self._buffer))
        lengths.append(length)
        if length >= before:
            self._kept = 0
            return data[length - before :]
        self._kept -= length
        self._buffer[: self._kept] = self._buffer[length:]
        return rest


def certain_cuts(window: Data) -> Iterator[int]:
    """The lengths of pieces of `window`, which begins at a cut; no byte that comes after changes
    them.

    Each is found when it is asked for. What comes after the last of them, always less than 1 MiB,
    is to be the beginning of the next window. The search stops where it would likely come to the
    end of the window and would have to be made again.

    >>> list(certain_cuts(bytes(1_500_000)))
    [1048576]
    """
    left = len(window)
    if left < WORTH_A_SEARCH:
        return
    for chunk in _CHUNKER.cut_buf(window):
        if chunk.length == left < MAX_PIECE:
            return
        yield chunk.length
        left -= chunk.length
        if left < WORTH_A_SEARCH:
            return


def cut_all(data: Data) -> list[int]:
    """The lengths of the pieces of `data`, which is all there is."""
    return [chunk.length for chunk in _CHUNKER.cut_buf(data)] if len(data) else []
