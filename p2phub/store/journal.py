"""Which blobs are just being put or dropped: what a start has to look at, and nothing else.

A blob is a file and a row, and no disk changes both at once. An empty file `journal/put-<content>`
or `journal/drop-<content>` stands from before the first change until after the last one, so that
after a crash the few blobs between file and row are known without looking through all of them.

    put     mark · fsync data · rename · fsync folder · 0444 · row · unmark
    drop    mark · unlink · row · unmark
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from p2phub.errors import UsageError
from p2phub.formats.ids import ContentId
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.layout import Layout

Action = Literal["put", "drop"]


class Journal:
    """The marks of one store."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._folder, self._disk = layout.journal, disk

    def begin(self, action: Action, contents: Iterable[ContentId]) -> None:
        """Mark them; returns before the marks are on the disk for good."""
        for content in contents:
            self._disk.touch(self._folder / f"{action}-{content}")

    def end(self, action: Action, contents: Iterable[ContentId]) -> None:
        for content in contents:
            self._disk.remove(self._folder / f"{action}-{content}")

    def unfinished(self) -> Iterator[tuple[Action, ContentId]]:
        """What was begun and not ended. Files that are no marks are left alone."""
        with disk_errors(self._folder):
            names = sorted(path.name for path in self._folder.iterdir())
        for name in names:
            action, _, content = name.partition("-")
            try:
                found = ContentId.parse(content)
            except UsageError:
                continue
            if action == "put":
                yield "put", found
            elif action == "drop":
                yield "drop", found
