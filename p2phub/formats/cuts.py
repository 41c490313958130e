"""Content-defined cuts: the door to FastCDC, for bytes that have no structure we know.

A cut depends only on the bytes since the cut before it, so that an inserted line moves nothing but
its own piece. Pieces are 64 KiB to 1 MiB long; gear table, seed and normalisation are those of the
constants here and never change, or no two publishers would cut one file alike. Golden vectors hold
the library to that.

Rules it keeps:
 * the same bytes are cut alike, in however many parts they arrive;
 * less than 1 MiB is ever kept; the rest of what is fed is cut where it lies, without a copy.

>>> cuts = ContentCuts()
>>> cuts.feed(bytes(1_500_000)) + cuts.finish() == cut_all(bytes(1_500_000)) == [1048576, 451424]
True
"""

from typing import Final

from pyfastcdc import FastCDC

from p2phub.formats.digest import Data
from p2phub.formats.limits import AVERAGE_CUT, MAX_PIECE, MIN_CUT

NORMALISATION: Final = 2
SEED: Final = 0
"""0 is the gear table of the FastCDC paper's authors."""


class ContentCuts:
    """Cuts one run of bytes as it arrives. Not for two threads at once."""

    def __init__(self) -> None:
        self._chunker = FastCDC(
            AVERAGE_CUT,
            min_size=MIN_CUT,
            max_size=MAX_PIECE,
            normalized_chunking=NORMALISATION,
            seed=SEED,
        )
        self._kept = bytearray()
        """The bytes since the last cut that is certain."""

    def feed(self, data: Data) -> list[int]:
        """The lengths of the pieces that are certain now."""
        rest = memoryview(data)
        lengths: list[int] = []
        while len(rest):
            if self._kept:
                rest = self._cut_kept(rest, lengths)
            else:
                certain = self._cut(rest)[:-1]
                lengths += certain
                self._kept += rest[sum(certain) :]
                break
        return lengths

    def finish(self) -> list[int]:
        """The lengths of the pieces that were waiting for more."""
        lengths = self._cut(memoryview(bytes(self._kept)))
        self._kept.clear()
        return lengths

    def _cut_kept(self, data: memoryview, lengths: list[int]) -> memoryview:
        """Cut one piece that begins in what was kept; what of `data` is still to be cut."""
        before = len(self._kept)
        taken = MAX_PIECE - before
        self._kept += data[:taken]
        if len(self._kept) < MAX_PIECE:
            return data[taken:]
        with memoryview(self._kept) as view:
            length = self._first(view)
        lengths.append(length)
        if length < before:
            del self._kept[:length]
            return data[taken:]
        self._kept.clear()
        return data[length - before :]

    def _cut(self, data: memoryview) -> list[int]:
        return [chunk.length for chunk in self._chunker.cut_buf(data)] if len(data) else []

    def _first(self, data: memoryview) -> int:
        length: int = next(iter(self._chunker.cut_buf(data))).length
        return length


def cut_all(data: Data) -> list[int]:
    """The lengths of the pieces of `data`, which is all there is."""
    cuts = ContentCuts()
    return cuts.feed(data) + cuts.finish()
