"""A release as a folder: read-only, of relative links to blobs.

    snapshots/<publisher>/<name>/<commit>/config.json -> ../../../../blobs/ab/570-ab…

A snapshot is built aside and renamed, so that nobody sees half of one; more files of the same
release are added link by link. It holds no bytes: losing it loses nothing, and `present` makes it
again. Programs may be run as root and write where they should not, so `check` is asked before a
snapshot is loaded or served: every entry must be a link to the blob that the release names, and
that blob must still be what was verified.

Copies that people may write to are `export`'s.
"""

import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NotFoundError, P2PHubError, UntrustedError
from p2phub.formats.ids import ContentId, RepoId
from p2phub.formats.paths import FilePath, check_path
from p2phub.store.blobs import Blobs
from p2phub.store.disk import Disk, disk_errors, is_folder
from p2phub.store.layout import Layout, blob_name

SEALED, OPEN = 0o555, 0o755

Files = Iterable[tuple[FilePath, ContentId]]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An entry of a snapshot that is not what the release says, or a blob that is damaged."""

    path: FilePath
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a snapshot."""

    present: tuple[FilePath, ...]
    absent: tuple[FilePath, ...]
    wrong: tuple[Wrong, ...]


class Snapshots:
    """The folders of links of one store. Thread-safe."""

    def __init__(self, layout: Layout, disk: Disk, blobs: Blobs) -> None:
        self._layout, self._disk, self._blobs = layout, disk, blobs
        self._building = threading.Lock()
        self._numbers = itertools.count()

    def path(self, repo: RepoId, commit: str) -> Path:
        """Where the snapshot is, or would be."""
        return self._layout.snapshots / str(repo.publisher) / repo.name / commit

    def present(self, repo: RepoId, commit: str, files: Files) -> Path:
        """Make the folder, or add these files to it; every blob must be here."""
        folder = self.path(repo, commit)
        wanted = dict(files)
        for path in wanted:
            check_path(path)
        with self._building:
            if is_folder(folder):
                self._complete(folder, wanted)
            else:
                self._disk.remove(folder)  # what a person may have put there
                self._build(folder, wanted)
        return folder

    def check(self, repo: RepoId, commit: str, files: Files) -> Checked:
        """Compare the folder with all files of the release. Reads no blob whose stamp is right."""
        folder = self.path(repo, commit)
        wanted = dict(files)
        present, wrong = [], []
        for path, target in _entries(folder, ()):
            reason = self._why_wrong(path, target, wanted)
            if reason:
                wrong.append(Wrong(path, reason))
            else:
                present.append(path)
        seen = {*present, *(found.path for found in wrong)}
        return Checked(
            tuple(present), tuple(path for path in wanted if path not in seen), tuple(wrong)
        )

    def remove(self, repo: RepoId, commit: str) -> None:
        """Remove the folder; its blobs stay."""
        folder = self.path(repo, commit)
        with self._building:
            self._disk.remove_tree(folder)
            for above in (folder.parent, folder.parent.parent):
                if above.is_dir() and not any(above.iterdir()):
                    self._disk.remove_tree(above)

    def _why_wrong(
        self, path: FilePath, target: str | None, wanted: dict[FilePath, ContentId]
    ) -> str:
        content = wanted.get(path)
        if content is None:
            return "is not a file of this release"
        if target != self._target(path, content):
            return "is not a link to what the release names"
        try:
            os.close(self._blobs.open_verified(content))
        except (NotFoundError, UntrustedError) as error:
            return error.message
        return ""

    def _target(self, path: FilePath, content: ContentId) -> str:
        return "../" * (len(path) - 1 + 4) + "blobs/" + blob_name(content)

    def _build(self, folder: Path, wanted: dict[FilePath, ContentId]) -> None:
        aside = self._layout.temp / f"snapshot-{os.getpid()}-{next(self._numbers)}"
        self._disk.make_folder(aside)
        try:
            for above in dict.fromkeys(path[:-1] for path in wanted):
                self._disk.make_folder(aside.joinpath(*above))
            for path, content in wanted.items():
                self._disk.link(self._target(path, content), f"{aside}/{'/'.join(path)}")
            for above in {path[:end] for path in wanted for end in range(1, len(path))}:
                self._disk.set_mode(aside.joinpath(*above), SEALED)
            self._disk.make_folder(folder.parent)
            self._disk.rename(aside, folder)
        except P2PHubError:
            self._disk.remove_tree(aside)
            raise
        self._disk.set_mode(folder, SEALED)
        self._disk.sync_path(folder.parent)

    def _complete(self, folder: Path, wanted: dict[FilePath, ContentId]) -> None:
        links = _links_at(folder, wanted)
        missing = {
            path: content
            for path, content in wanted.items()
            if links.get(path) != self._target(path, content)
        }
        try:
            for path, content in missing.items():
                aside = self._layout.temp / f"link-{os.getpid()}-{next(self._numbers)}"
                self._disk.link(self._target(path, content), aside)
                self._open_way(folder, path)
                self._disk.rename(aside, folder.joinpath(*path))
        finally:
            if missing:
                self._seal(folder)

    def _open_way(self, folder: Path, path: FilePath) -> None:
        """Make the folders above a file writable; one that became a link is replaced."""
        self._disk.set_mode(folder, OPEN)
        for part in path[:-1]:
            folder = folder / part
            if not is_folder(folder):
                self._disk.remove(folder)
                self._disk.make_folder(folder)
            self._disk.set_mode(folder, OPEN)

    def _seal(self, folder: Path) -> None:
        """Close every folder for writing."""
        for place, _, _ in os.walk(folder):
            self._disk.set_mode(Path(place), SEALED)


def _links_at(folder: Path, paths: Iterable[FilePath]) -> dict[FilePath, str]:
    """What the links of these files say; nothing of those that are none, or behind a link."""
    by_folder: dict[FilePath, list[FilePath]] = {}
    for path in paths:
        by_folder.setdefault(path[:-1], []).append(path)
    found = {}
    for above, inside in by_folder.items():
        if any(folder.joinpath(*above[:end]).is_symlink() for end in range(1, len(above) + 1)):
            continue
        place = str(folder.joinpath(*above))
        for path in inside:
            with suppress(OSError):
                found[path] = os.readlink(f"{place}/{path[-1]}")
    return found


def _entries(folder: Path, above: FilePath) -> Iterator[tuple[FilePath, str | None]]:
    """Every entry that is not a folder: its path, and what it says if it is a link."""
    if not folder.is_dir():
        return
    with disk_errors(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        path = (*above, entry.name)
        if entry.is_symlink():
            yield path, os.readlink(entry.path)
        elif entry.is_dir():
            yield from _entries(Path(entry.path), path)
        else:
            yield path, None
