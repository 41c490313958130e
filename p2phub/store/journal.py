"""Which blobs are just being put or dropped: what a start has to look at, and nothing else.

A blob is a file and a row, and no disk changes both at once. An empty file `journal/put-<content>`
or `journal/drop-<content>` stands from before the first change until after the last one, so that
after a crash the few blobs between file and row are known without looking through all of them. Many
at once stand in one file, `journal/puts-<number>`, a content id a line: to make a file for each
would take longer than to fetch it.

    put     mark · fsync data · rename · fsync folder · 0444 · row · unmark
    drop    mark · unlink · row · unmark
"""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Literal

from p2phub.errors import UsageError
from p2phub.formats.ids import ContentId
from p2phub.store.disk import Disk, disk_errors, is_plain
from p2phub.store.layout import Layout

Action = Literal["put", "drop"]
FEW = 8
"""Up to so many have a file each."""
_LIST = "puts-"


class Journal:
    """The marks of one store. Thread-safe."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._folder, self._disk = layout.journal, disk
        self._lists: dict[Path, set[ContentId]] = {}
        """What has not ended, of the lists that this process has made or read."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def begin(self, action: Action, contents: Sequence[ContentId]) -> None:
        """Mark them; returns before the marks are on the disk for good."""
        if action == "put" and len(contents) > FEW:
            self._begin_list(contents)
            return
        for content in contents:
            self._disk.touch(self._folder / f"{action}-{content}")

    def end(self, action: Action, contents: Sequence[ContentId]) -> None:
        """Unmark them, whether they were begun together or not."""
        left = set(contents)
        if action == "put":
            left -= self._end_in_lists(left)
        for content in left:
            self._disk.remove(self._folder / f"{action}-{content}")

    def _begin_list(self, contents: Sequence[ContentId]) -> None:
        path = self._folder / f"{_LIST}{os.getpid()}-{next(self._numbers)}"
        file = self._disk.create(path)
        try:
            text = "".join(f"{content}\n" for content in contents)
            self._disk.write(file, text.encode("ascii"), 0, path)
        finally:
            os.close(file)
        with self._lock:
            self._lists[path] = set(contents)

    def _end_in_lists(self, contents: Set[ContentId]) -> Set[ContentId]:
        """Take them off the lists; which of them stood on one. An empty list goes."""
        found: set[ContentId] = set()
        with self._lock:
            for path, listed in list(self._lists.items()):
                found |= listed & contents
                listed -= contents
                if not listed:
                    del self._lists[path]
                    self._disk.remove(path)
        return found

    def _read_list(self, path: Path) -> list[ContentId]:
        """What stands on a list; a line that was torn off is none."""
        with disk_errors(path):
            lines = path.read_text("ascii", errors="replace").splitlines()
        listed = []
        for line in lines:
            with suppress(UsageError):
                listed.append(ContentId.parse(line))
        with self._lock:
            self._lists[path] = set(listed)
        if not listed:
            self._end_in_lists(set())
        return listed

    def unfinished(self) -> Iterator[tuple[Action, ContentId]]:
        """What was begun and not ended. Files that are no marks are left alone."""
        with disk_errors(self._folder):
            names = sorted(path.name for path in self._folder.iterdir())
        for name in names:
            if name.startswith(_LIST) and is_plain(self._folder / name):
                for each in self._read_list(self._folder / name):
                    yield "put", each
            action, _, content = name.partition("-")
            try:
                found = ContentId.parse(content)
            except UsageError:
                continue
            if action == "put":
                yield "put", found
            elif action == "drop":
                yield "drop", found
