"""How Hugging Face's clients see the files of a release: etags, tree entries, repo folders.

One rule decides all of it. A file whose manifest has a git blob SHA-1 is a plain file to them: its
etag, the name of its blob in their cache and its `oid` are that SHA-1. Every other file is what
they call an LFS file: its etag and blob name are its SHA-256, and its `oid` is the git blob SHA-1
of the pointer file that git would hold in its place. Whoever answers them and whoever writes their
cache uses this module, so that caches made either way are the same.

Nothing here is checked against bytes: the digests are the manifest's.

Formats: `huggingface_hub` 2.4.0, `hf_api.RepoFile`, `hf_api.RepoFolder` and `file_download`; the
pointer file: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md; git's tree objects:
https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.

>>> from p2phub.formats.digest import git_blob_sha1, sha256
>>> from p2phub.formats.ids import ContentId
>>> digest = sha256(b"hello\\n")
>>> weights = FileEntry(("model.safetensors",), 6, digest, ContentId(6, digest))
>>> readme = FileEntry(("README.md",), 6, digest, ContentId(6, digest), git_blob_sha1(b"hello\\n"))
>>> etag_of(weights)
'5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03'
>>> tree_entry(readme)["oid"]
'ce013625030ba8dba906f756967f9e9ca394464a'
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from p2phub.formats.digest import git_blob_sha1, hexadecimal
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath

_FILE, _FOLDER = b"100644", b"40000"
"""Git's modes of what a tree names."""


def etag_of(file: FileEntry) -> str:
    """The etag of a file: 40 hexadecimal digits (git's SHA-1) or 64 (SHA-256)."""
    return hexadecimal(file.sha256 if file.git_sha1 is None else file.git_sha1)


def is_lfs(file: FileEntry) -> bool:
    """Whether Hugging Face's clients take it for an LFS file: its etag is its SHA-256."""
    return file.git_sha1 is None


def lfs_pointer(sha256: bytes, size: int) -> bytes:
    """What git holds in place of a file of `size` bytes that LFS holds.

    >>> len(lfs_pointer(bytes(32), 90868376))
    133
    """
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hex()}\nsize {size}\n"
    return text.encode("ascii")


def blob_id(file: FileEntry) -> bytes:
    """The git blob SHA-1 (20 bytes) that a git repo would hold: of an LFS file, its pointer's."""
    return file.git_sha1 or git_blob_sha1(lfs_pointer(file.sha256, file.size))


def tree_entry(file: FileEntry) -> dict[str, Any]:
    """A file in the answer to `/api/{kind}s/{repo}/tree/{revision}`, as JSON holds it."""
    entry: dict[str, Any] = {
        "type": "file",
        "path": "/".join(file.path),
        "size": file.size,
        "oid": hexadecimal(blob_id(file)),
    }
    if is_lfs(file):
        pointer = lfs_pointer(file.sha256, file.size)
        entry["lfs"] = {
            "oid": hexadecimal(file.sha256),
            "size": file.size,
            "pointerSize": len(pointer),
        }
    return entry


def folder_entry(path: FilePath, oid: bytes) -> dict[str, Any]:
    """A folder in the same answer; `oid`: the 20 bytes of `folder_ids`."""
    return {"type": "directory", "path": "/".join(path), "oid": hexadecimal(oid), "size": 0}


def folder_ids(files: Iterable[FileEntry]) -> dict[FilePath, bytes]:
    """Every folder that the files lie in, and the SHA-1 that git would give its tree.

    The root is the folder `()`. A folder's id changes with what is in it, and with nothing else.

    >>> from p2phub.formats.ids import ContentId
    >>> [readme] = [FileEntry(("a", "b"), 0, bytes(32), ContentId(0, bytes(32)), bytes(20))]
    >>> sorted(folder_ids([readme]))
    [(), ('a',)]
    """
    inside: dict[FilePath, list[tuple[bytes, bytes, bytes]]] = {(): []}
    for file in files:
        for depth in range(len(file.path)):
            inside.setdefault(file.path[:depth], [])
        name = file.path[-1].encode()
        inside[file.path[:-1]].append((name, _FILE, blob_id(file)))
    found: dict[FilePath, bytes] = {}
    for folder in sorted(inside, key=len, reverse=True):
        found[folder] = _tree_id(inside[folder])
        if folder:
            inside[folder[:-1]].append((folder[-1].encode(), _FOLDER, found[folder]))
    return found


def _tree_id(entries: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Git sorts a folder as if its name ended in a slash."""
    ordered = sorted(entries, key=lambda each: each[0] + (b"/" if each[1] == _FOLDER else b""))
    body = b"".join(mode + b" " + name + b"\0" + oid for name, mode, oid in ordered)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).digest()


def tree_cache_entry(file: FileEntry) -> dict[str, Any]:
    """A file in `trees/<commit>.json` of a cache: what their client keeps of `tree_entry`."""
    entry: dict[str, Any] = {"size": file.size, "blob_id": hexadecimal(blob_id(file))}
    if is_lfs(file):
        entry |= {"lfs_sha256": hexadecimal(file.sha256), "lfs_size": file.size}
    return entry
