"""The files of a folder that is to be published: which they are, and what they are called in a
release.

Names are checked before a byte is read, with the rules that every receiver applies. A link is
followed to a file inside the folder, and to the blobs that snapshots are made of: those of a
Hugging Face cache (`huggingface_cache`) and of this node's store. One that leads elsewhere is an
error, because whoever filled the folder would choose what else of this machine is published. Links
to folders are not followed, and what is neither file nor folder is an error: nobody would want a
pipe published. Left out: version control, download caches and what desktops leave behind.

Ollama has no folder for a model; its manifest stands for one (`ollama_store`)."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import RefusedError, UnsafePathError, UsageError
from p2phub.formats.paths import FilePath, check_path, check_unique
from p2phub.node.huggingface_cache import places_of_blobs, snapshot_in
from p2phub.node.ollama_store import is_manifest, layers_of

LEFT_OUT_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints"})
LEFT_OUT_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_DOWNLOAD_CACHE = (".cache", "huggingface")


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file to publish: where it lies, and its path in the release (NFC)."""

    path: FilePath
    source: Path
    size: int
    sha256: bytes | None = None
    """What is said of it where it lies; None if nothing is."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """Where links may lead to."""

    places: tuple[Path, ...]
    """Folders, through no link themselves."""
    own_blobs: Path | None
    """The blobs of this node: what is there may itself be a link, to a file in place."""

    def __contains__(self, link: Path) -> bool:
        real = Path(os.path.realpath(link))
        if any(real.is_relative_to(place) for place in self.places):
            return True
        step = os.path.join(os.path.realpath(link.parent), os.readlink(link))
        blobs = self.own_blobs
        return blobs is not None and Path(os.path.normpath(step)).is_relative_to(blobs)


def files_in(folder: Path, own_blobs: Path | None = None) -> tuple[FolderFile, ...]:
    """Every file to publish, in the order of their paths. `own_blobs`: those of this node.

    Raises `UsageError` for a missing or empty folder, something that is not a file or a link that
    leads out of the folder, `UnsafePathError` for a name that no receiver would take or two names
    that are one on some file systems, `RefusedError` for what may not be read."""
    files = _layers(folder) if is_manifest(folder) else _found_in(folder, own_blobs)
    check_unique([file.path for file in files])
    return files


def _layers(manifest: Path) -> tuple[FolderFile, ...]:
    files = [
        FolderFile((layer.name,), layer.blob, layer.size, layer.sha256)
        for layer in layers_of(manifest)
    ]
    for file in files:
        check_path(file.path)
    return tuple(sorted(files, key=lambda file: file.path))


def _found_in(folder: Path, own_blobs: Path | None) -> tuple[FolderFile, ...]:
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}", remedy="check the path")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", remedy="name the folder that holds the file")
    folder = snapshot_in(folder)
    blobs = Path(os.path.realpath(own_blobs)) if own_blobs is not None else None
    reach = _Reach((Path(os.path.realpath(folder)), *places_of_blobs(folder)), blobs)
    files = sorted(_walk(folder, (), reach), key=lambda file: file.path)
    if not files:
        raise UsageError(f"{folder} has no files in it", remedy="put the files of the model there")
    return tuple(files)


def _walk(folder: Path, above: FilePath, reach: _Reach) -> Iterator[FolderFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise RefusedError(f"{folder} may not be read", remedy="mend its permissions") from None
    for entry in entries:
        path = (*above, _name(entry.name, folder))
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in LEFT_OUT_FOLDERS and path[-2:] != _DOWNLOAD_CACHE:
                yield from _walk(Path(entry.path), path, reach)
        elif entry.name not in LEFT_OUT_FILES:
            yield _file(entry, path, reach)


def _file(entry: "os.DirEntry[str]", path: FilePath, reach: _Reach) -> FolderFile:
    try:
        status = entry.stat()
    except FileNotFoundError:
        raise UsageError(f"{entry.path} is a link to nothing", remedy="remove it") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a link to a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
        raise UsageError(f"{entry.path} is {kind}", remedy="remove it or copy what it stands for")
    check_path(path)
    source = Path(entry.path)
    if entry.is_symlink():
        if source not in reach:
            raise UsageError(
                f"{source} is a link that leads out of the folder, to {os.readlink(source)}",
                remedy="put the file itself there, or name the folder that it lies in",
            )
        source = Path(os.path.realpath(source))
    return FolderFile(path, source, status.st_size)


def _name(name: str, folder: Path) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsafePathError(
            f"a file in {folder} has a name that is not UTF-8: {name!r}", remedy="rename it"
        ) from None
    return unicodedata.normalize("NFC", name)
