"""The releases that were accepted lately, so that the node can ask for them again.

A release can be 32 MiB, so what is kept is bounded by bytes, not by number; what does not fit is
on disk and passes the gate again in a moment.

>>> recent = RecentReleases(limit=10)
>>> lab = PublisherId(bytes(32))
>>> release = Release(
...     publisher=lab.digest, name="demo", kind="model", created=0, files=(), total_size=0
... )
>>> recent.keep(lab, b"one", release, 6)
>>> recent.keep(lab, b"two", release, 6)
>>> recent.get(lab, b"one") is None, recent.get(lab, b"two") is release
(True, True)
"""

from collections import OrderedDict
from typing import Final

from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release

KEPT: Final = 8 * limits.MIB
"""Bytes of payload of all releases kept."""


class RecentReleases:
    """The newest accepted releases whose payloads together are at most `limit` bytes."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._used = 0
        self._kept: OrderedDict[tuple[PublisherId, bytes], tuple[Release, int]] = OrderedDict()

    def get(self, publisher: PublisherId, digest: bytes) -> Release | None:
        found = self._kept.get((publisher, digest))
        return None if found is None else found[0]

    def keep(self, publisher: PublisherId, digest: bytes, release: Release, size: int) -> None:
        """Keep a release whose payload has `size` bytes; the oldest make room."""
        _, before = self._kept.pop((publisher, digest), (release, 0))
        self._kept[publisher, digest] = (release, size)
        self._used += size - before
        while self._used > self._limit:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._used -= dropped
