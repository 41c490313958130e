"""Filling a partial file with pieces that other blobs of this store already have.

A piece is found by its BLAKE3 digest, read from the blob that holds it and accepted like one from
the network: verified again. A blob that turns out damaged is left alone; its pieces are fetched.
"""

import contextlib
from collections import defaultdict

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.store.blobs import Blobs
from p2phub.store.disk import Progress, no_progress, read_into
from p2phub.store.partial import Partial

Place = tuple[int, int]
"""Where a piece lies in a blob, and which piece of the partial it is: (offset, index)."""


def link_pieces(partial: Partial, blobs: Blobs, progress: Progress = no_progress) -> int:
    """Copy every missing piece that a local blob has; how many bytes that were."""
    if not partial.content.has_table:
        return 0
    linked = 0
    buffer = memoryview(bytearray(MAX_PIECE))
    for content, places in _places(partial, blobs).items():
        with contextlib.suppress(NotFoundError, UntrustedError), blobs.opened(content) as fd:
            for offset, index in sorted(places):
                piece = buffer[: partial.table.length(index)]
                read_into(fd, piece, offset, blobs.path(content))
                partial.accept(index, piece)
                linked += len(piece)
                progress(len(piece))
    return linked


def _places(partial: Partial, blobs: Blobs) -> dict[ContentId, list[Place]]:
    """The missing pieces that blobs hold, by blob."""
    wanted: defaultdict[bytes, list[int]] = defaultdict(list)
    for run in partial.missing():
        for index in range(run.first, run.first + run.count):
            wanted[partial.table.digest(index)].append(index)
    places: defaultdict[ContentId, list[Place]] = defaultdict(list)
    for digest, (content, offset, length) in blobs.find_pieces(wanted).items():
        for index in wanted[digest]:
            if partial.table.length(index) == length:
                places[content].append((offset, index))
    return places
