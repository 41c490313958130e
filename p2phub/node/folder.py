"""The files of a folder that is to be published: which they are, and what they are called in a
release.

Names are checked before a byte is read, with the rules that every receiver applies. Links to files
are followed (a Hugging Face cache is made of them), links to folders are not, and what is neither
file nor folder is an error: nobody would want a pipe published. Left out: version control,
download caches and what desktops leave behind."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import RefusedError, UnsafePathError, UsageError
from p2phub.formats.paths import FilePath, check_path, check_unique

LEFT_OUT_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints"})
LEFT_OUT_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_DOWNLOAD_CACHE = (".cache", "huggingface")


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file to publish: where it lies, and its path in the release (NFC)."""

    path: FilePath
    source: Path
    size: int


def files_in(folder: Path) -> tuple[FolderFile, ...]:
    """Every file to publish, in the order of their paths.

    Raises `UsageError` for a missing or empty folder or something that is not a file,
    `UnsafePathError` for a name that no receiver would take or two names that are one on some file
    systems, `RefusedError` for what may not be read."""
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}", remedy="check the path")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", remedy="name the folder that holds the file")
    files = sorted(_walk(folder, ()), key=lambda file: file.path)
    if not files:
        raise UsageError(f"{folder} has no files in it", remedy="put the files of the model there")
    check_unique([file.path for file in files])
    return tuple(files)


def _walk(folder: Path, above: FilePath) -> Iterator[FolderFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise RefusedError(f"{folder} may not be read", remedy="mend its permissions") from None
    for entry in entries:
        path = (*above, _name(entry.name, folder))
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in LEFT_OUT_FOLDERS and path[-2:] != _DOWNLOAD_CACHE:
                yield from _walk(Path(entry.path), path)
        elif entry.name not in LEFT_OUT_FILES:
            yield _file(entry, path)


def _file(entry: "os.DirEntry[str]", path: FilePath) -> FolderFile:
    try:
        status = entry.stat()
    except FileNotFoundError:
        raise UsageError(f"{entry.path} is a link to nothing", remedy="remove it") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a link to a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
        raise UsageError(f"{entry.path} is {kind}", remedy="remove it or copy what it stands for")
    check_path(path)
    return FolderFile(path, Path(entry.path), status.st_size)


def _name(name: str, folder: Path) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsafePathError(
            f"a file in {folder} has a name that is not UTF-8: {name!r}", remedy="rename it"
        ) from None
    return unicodedata.normalize("NFC", name)
