"""The files that a model signature is compared with: those of a folder, or of a release on this
disk.

Both answer the same three questions: what is there, what is there that should not be looked at (a
link that was not allowed, a pipe), and the bytes of one file. A folder may be any folder, also one
that p2phub never saw. Links are followed only if whoever asks allowed it, and never to a folder.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from p2phub.errors import NotFoundError, RefusedError
from p2phub.formats.manifest import Release
from p2phub.formats.oms import FILE_NAME
from p2phub.formats.paths import FilePath
from p2phub.node.huggingface_cache import snapshot_in
from p2phub.store.digests import opened_plain
from p2phub.store.store import Store

Ignores = Callable[[FilePath], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a folder or a release."""

    files: Mapping[FilePath, int]
    """The size of each, in bytes; it need not be on this disk."""
    strange: Mapping[FilePath, str] = field(default_factory=dict)
    """What cannot be compared, and why."""


class SignedFiles(Protocol):
    """Where the files are."""

    called: str
    """As people are told."""

    def found(self, ignores: Ignores) -> Found:
        """What is there, without what is ignored; a folder that is ignored is not entered."""

    def opened(self, path: FilePath) -> AbstractContextManager[tuple[int, Path]]:
        """One file, open. Raises `NotFoundError` if it is not here, `UntrustedError` if it is
        damaged."""

    def opened_signature(self) -> AbstractContextManager[tuple[int, Path]]:
        """The model signature that came with them. Raises `NotFoundError` if none did."""


class FolderFiles:
    """The files of a folder. `signature`: where its signature lies, if that is elsewhere."""

    def __init__(self, folder: Path, signature: Path | None, *, follow: bool) -> None:
        self._folder, self._follow = snapshot_in(folder), follow
        self._signature = signature or self._folder / FILE_NAME
        self._places: dict[FilePath, Path] = {}
        self.called = str(folder.absolute())

    def found(self, ignores: Ignores) -> Found:
        files: dict[FilePath, int] = {}
        strange: dict[FilePath, str] = {}
        own = os.path.abspath(self._signature)
        for path, place in self._walk(self._folder, (), ignores):
            if os.path.abspath(place) == own:
                continue
            reason = self._why_not(place)
            if path in self._places or path in strange:
                strange[path] = "two files have this name in Unicode's NFC"
            elif reason:
                strange[path] = reason
            else:
                self._places[path] = place
                files[path] = place.stat().st_size
        return Found(files, strange)

    @contextmanager
    def opened(self, path: FilePath) -> Iterator[tuple[int, Path]]:
        place = self._places.get(path)
        if place is None:
            raise NotFoundError(f"there is no {'/'.join(path)} in {self._folder}")
        with opened_plain(place) as fd:
            yield fd, place

    @contextmanager
    def opened_signature(self) -> Iterator[tuple[int, Path]]:
        with opened_plain(self._signature) as fd:
            yield fd, self._signature

    def _walk(
        self, folder: Path, above: FilePath, ignores: Ignores
    ) -> Iterator[tuple[FilePath, Path]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except PermissionError:
            raise RefusedError(f"{folder} may not be read", remedy="mend its permissions") from None
        for entry in entries:
            path = (*above, unicodedata.normalize("NFC", entry.name))
            if ignores(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), path, ignores)
            else:
                yield path, Path(entry.path)

    def _why_not(self, place: Path) -> str:
        """Why an entry cannot be compared; empty if it can."""
        if place.is_symlink() and not self._follow:
            return "a link; --allow-symlinks follows it"
        try:
            mode = place.stat().st_mode
        except OSError:
            return "a link to nothing, or not to be read"
        if stat.S_ISDIR(mode):
            return "a link to a folder, whose files nobody signed"
        return "" if stat.S_ISREG(mode) else "no plain file"


class ReleaseFiles:
    """The files of a release that passed the gate."""

    def __init__(self, store: Store, release: Release, called: str, signature: Path | None) -> None:
        self._store, self._signature, self.called = store, signature, called
        self._contents = {file.path: file.content for file in release.files}

    def found(self, ignores: Ignores) -> Found:
        own = (FILE_NAME,) if self._signature is None else None
        return Found(
            {
                path: content.size
                for path, content in self._contents.items()
                if path != own and not ignores(path)
            }
        )

    @contextmanager
    def opened(self, path: FilePath) -> Iterator[tuple[int, Path]]:
        content = self._contents.get(path)
        if content is None:
            raise NotFoundError(f"the release has no {'/'.join(path)}")
        if not self._store.blobs.has(content):
            raise NotFoundError(f"{'/'.join(path)} of the release is not on this disk")
        with self._store.blobs.opened(content) as fd:
            yield fd, self._store.blobs.path(content)

    @contextmanager
    def opened_signature(self) -> Iterator[tuple[int, Path]]:
        if self._signature is None:
            with self.opened((FILE_NAME,)) as found:
                yield found
        else:
            with opened_plain(self._signature) as fd:
                yield fd, self._signature
