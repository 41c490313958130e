"""Files of other programs that say in their name what they hold, taken in place where that is true.

Each is read whole: other programs keep what they got, right or wrong. What matches becomes a blob
where it lies (`adoption`), so that nothing that has the same content is fetched again, and others
get it by its SHA-256. What does not match, changes while it is read or cannot be read is told of
and left alone; so is every file, whatever is found: nothing here writes to one.

A file that is a blob in place already, and has not changed since, is not read again.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from p2phub.errors import P2PHubError
from p2phub.formats.huggingface_cache import Etag
from p2phub.formats.ids import ContentId
from p2phub.store.adoption import Placed
from p2phub.store.blobs import Blobs
from p2phub.store.digests import git_blob_sha1_of
from p2phub.store.disk import Disk, Progress, no_progress
from p2phub.store.index import Index
from p2phub.store.ingest import Ingested, ingest, opened
from p2phub.store.pipeline import Buffers
from p2phub.store.sources import Remembered, Sources
from p2phub.store.stamp import Stamp

CHANGED = "changed while it was read"


@dataclass(frozen=True, slots=True)
class Claim:
    """A file, and what its name says of it."""

    path: Path
    """Absolute, through no link."""
    etag: Etag


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a file was found to be."""

    claim: Claim
    found: Remembered | None = None
    """None for one that could not be read, or is not what its name says."""
    wrong: str = ""
    """Why not."""
    known: bool = False
    """Whether the store had this content before."""
    placed: Placed | None = None
    """What would be made a blob."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A blob that is none any more. Its file is as it was."""

    content: ContentId
    sha256: bytes


class Claims:
    """Weighs claims for one store. Thread-safe."""

    def __init__(self, index: Index, disk: Disk, blobs: Blobs) -> None:
        self._index, self._sources = index, Sources(index)
        self._disk, self._blobs = disk, blobs

    def take(
        self,
        claims: Sequence[Claim],
        progress: Progress = no_progress,
        *,
        keep: bool = True,
        lanes: int = 1,
    ) -> list[Weighed]:
        """Read these files, `lanes` of them side by side, and make blobs of those that are what
        they say they are; `keep=False` only reads.

        Raises `NoSpaceError` where the index finds no room; then none of these is a blob.
        """
        buffers = Buffers()
        with ThreadPoolExecutor(max(1, lanes)) as pool:
            weighed = list(pool.map(lambda each: self._weigh(each, progress, buffers), claims))
        placed = {each.placed.content: each.placed for each in weighed if each.placed}
        if keep and placed:
            self._blobs.adopt_in_place(list(placed.values()))
            self._sources.remember(
                (each.claim.path, each.placed.stamp, each.found)
                for each in weighed
                if each.placed is not None and each.found is not None
            )
        return weighed

    def forget(self, paths: Sequence[Path]) -> list[Forgotten]:
        """Use the files at these places (through no link) no more, unless a held release needs
        them: those that were used.
        """
        forgotten = []
        for path in paths:
            with self._index.read() as statements:
                rows = statements.all("sources.in_place_at", os.fsencode(path))
            for content in (ContentId(*row) for row in rows):
                sha256 = self._blobs.sha256(content)
                if self._blobs.remove(content) and sha256 is not None:
                    forgotten.append(Forgotten(content, sha256))
        return forgotten

    def _weigh(self, claim: Claim, progress: Progress, buffers: Buffers) -> Weighed:
        try:
            remembered = self._remembered(claim, progress)
            if remembered is not None:
                return remembered
            found = ingest(claim.path, None, self._disk, progress, buffers)
            right = self._is_right(claim, found)
        except P2PHubError as error:  # gone, changing, not ours to read, or a bad sector
            return Weighed(claim, wrong=error.message)
        if not right:
            return Weighed(claim, wrong=f"is not what its name says: {claim.etag}")
        is_known = self._blobs.has(found.content)
        held = Remembered(found.content, found.sha256, found.git_sha1)
        weighed = Weighed(claim, held, known=is_known)
        placed = Placed(claim.path, found.stamp, found.content, found.table, found.sha256)
        return weighed if is_known else replace(weighed, placed=placed)

    def _remembered(self, claim: Claim, progress: Progress) -> Weighed | None:
        """What is a blob in place, and has the stamp that it had when it was hashed."""
        with opened(claim.path) as (_, stamp):
            known = self._sources.recall(claim.path, stamp)
        if known is None or self._blobs.place(known.content) != claim.path:
            return None
        if self._blobs.stamp(known.content) != stamp or claim.etag.digest not in _digests(known):
            return None
        progress(stamp.size)
        return Weighed(claim, known, known=True)

    def _is_right(self, claim: Claim, found: Ingested) -> bool:
        digest = claim.etag.digest
        if claim.etag.algorithm == "sha256":
            return digest == found.sha256
        if found.git_sha1 is not None:
            return digest == found.git_sha1
        with opened(claim.path) as (fd, stamp):  # too large to have been asked for it in one pass
            git_sha1 = git_blob_sha1_of(fd, claim.path)
            unchanged = stamp == found.stamp == Stamp.of(os.fstat(fd))
        if not unchanged:
            raise P2PHubError(f"{claim.path} {CHANGED}")
        return digest == git_sha1


def _digests(known: Remembered) -> tuple[bytes | None, ...]:
    return known.sha256, known.git_sha1
