"""Which file names may come into a release, and so onto somebody's disk.

A path is a tuple of parts, never a string with slashes, so that nobody can hide a separator in it.
A path that is refused here could leave its folder, start something, or be another file on a system
that is less exact about letters than ours. The same rules hold when publishing and when reading a
manifest, before a byte is fetched.

>>> parse_path("onnx/model.onnx")
('onnx', 'model.onnx')
>>> parse_path("../secrets")
Traceback (most recent call last):
...
p2phub.errors.UnsafePathError: unsafe path '../secrets': '..' leads out of the folder
>>> is_pickle(("pytorch_model.bin",))
True
"""

import re
from collections.abc import Iterable
from typing import Final
from unicodedata import is_normalized, normalize

from p2phub.errors import UnsafePathError
from p2phub.formats.limits import MAX_PATH, MAX_PATH_PART, MAX_PATH_PARTS

FilePath = tuple[str, ...]

PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

_WINDOWS_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])"
    r" *(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_SEPARATOR = re.compile(r"[/\\:]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def parse_path(text: str) -> FilePath:
    """The path that a person wrote with slashes, in NFC. Raises `UnsafePathError`."""
    path = tuple(normalize("NFC", text).split("/"))
    check_path(path)
    return path


def check_path(path: FilePath) -> None:
    """Raise `UnsafePathError` unless `path` is a file's place inside a folder, on every system."""
    if not 1 <= len(path) <= MAX_PATH_PARTS:
        raise _unsafe(path, f"it has {len(path)} parts; 1 to {MAX_PATH_PARTS} are allowed")
    for part in path:
        reason = _why_not(part)
        if reason:
            raise _unsafe(path, reason)
    if len("/".join(path).encode()) > MAX_PATH:
        raise _unsafe(path, f"it is longer than {MAX_PATH} bytes")


def check_unique(paths: Iterable[FilePath]) -> None:
    """Raise `UnsafePathError` if two paths are one where case is ignored, or a file is a folder."""
    files: dict[FilePath, FilePath] = {}
    for path in paths:
        folded = _folded(path)
        if folded in files:
            other = "/".join(files[folded])
            raise _unsafe(path, f"it is the same file as {other!r} where case is ignored")
        files[folded] = path
    for folded, path in files.items():
        for length in range(1, len(folded)):
            other_file = files.get(folded[:length])
            if other_file is not None:
                raise _unsafe(path, f"{'/'.join(other_file)!r} is a file, not a folder")


def is_pickle(path: FilePath) -> bool:
    """Whether loading this file may execute code that is inside it, judged by its name."""
    return path[-1].lower().endswith(PICKLE_SUFFIXES)


def _why_not(part: str) -> str:
    """Why `part` may not be a part of a path; empty if it may."""
    if part in ("", "."):
        return "it has an empty part"
    if part == "..":
        return "'..' leads out of the folder"
    if _SEPARATOR.search(part):
        return "a part has a slash, a backslash or a colon in it"
    if _CONTROL.search(part):
        return "it has a control character in it"
    if _REORDERING.search(part):
        return "it has a character in it that changes the reading direction"
    if len(part.encode()) > MAX_PATH_PART:
        return f"a part is longer than {MAX_PATH_PART} bytes"
    if not is_normalized("NFC", part):
        return "it is not in Unicode's NFC"
    if part[-1] in ". ":
        return "a part ends in a dot or a space"
    if _WINDOWS_DEVICE.fullmatch(part):
        return f"{part!r} is a device on Windows"
    if part.lower() == ".git":
        return "a .git folder could run commands"
    return ""


def _folded(path: FilePath) -> FilePath:
    return tuple(normalize("NFC", normalize("NFD", part).casefold()) for part in path)


def _unsafe(path: FilePath, reason: str) -> UnsafePathError:
    shown = "/".join(path[: MAX_PATH_PARTS + 1])
    shown = shown if len(shown) <= 120 else shown[:120] + "…"
    return UnsafePathError(
        f"unsafe path {shown!r}: {reason}", remedy="Rename the file, or leave it out."
    )
