"""What a person is told of a blob that is not what it was: which file it is, and what to do.

>>> damaged(ContentId(2_000_000, bytes(32)), [3], None).message[-47:]
'any more (wrong pieces: 3); it is in quarantine'
"""

from collections.abc import Sequence
from pathlib import Path

from p2phub.errors import DamagedBlobError
from p2phub.formats.ids import ContentId

_AGAIN = "pull or publish the repo again: only what is missing is fetched"


def damaged(content: ContentId, bad: Sequence[int], place: Path | None) -> DamagedBlobError:
    """Of wrong bytes; `bad` are the pieces, `place` is the file of a person that it was."""
    if place is not None:
        return DamagedBlobError(
            f"{place} is not what it was when it was published in place; it is not used any more",
            remedy="publish its folder again, or pull the repo to have what was released",
        )
    pieces = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
    return DamagedBlobError(
        f"blob {content} does not match its digest any more"
        + (f" (wrong pieces: {pieces})" if pieces else "")
        + "; it is in quarantine",
        remedy=_AGAIN,
    )


def gone(content: ContentId, path: Path, place: Path | None) -> DamagedBlobError:
    """Of a file that somebody took: ours at `path`, or that of a person at `place`."""
    if place is not None:
        return DamagedBlobError(
            f"{place}, which was published in place, is not here any more", remedy=_AGAIN
        )
    return DamagedBlobError(f"the file of blob {content} is gone from {path}", remedy=_AGAIN)


def table_lost(content: ContentId) -> DamagedBlobError:
    """Of a blob that cannot be checked."""
    return DamagedBlobError(f"the piece table of blob {content} is lost", remedy=_AGAIN)
