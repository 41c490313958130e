"""A release as Hugging Face's tools keep it: links in their cache that lead to our blobs.

    <cache>/models--lab--minilm/blobs/<etag>   shares the blocks of our blob, or is a link to it

No byte is copied. Where the file system can share blocks, `blobs/<etag>` is a file of its own:
whatever is done to it, our blob stays what it is. Elsewhere it is a symbolic link, as in our own
snapshots, and for the same reasons: `hf cache rm` and `prune` remove the link and not what it leads
to; our blob is read-only; and if root writes through the link all the same, the blob has another
stamp, is hashed again before it is used, and goes to quarantine. Never a hard link: whoever may
write to it writes to our blob, and every link made or removed would change the blob's ctime, so
that gigabytes were hashed again after each `hf cache rm`.

Clients of huggingface_hub 1.28 and before follow each link to its end when they remove one of
several revisions (1.33 and 2 do not). A store that lost a file so notices it and forgets the blob.

Rules it keeps:
 * a blob gets its name only when its bytes were checked: by our stamps, and against that name;
 * everything is made `aside`, where no scan of a cache looks, and renamed: blobs first, then the
   list of the commit's files, then the snapshot as a whole, and the ref last of all;
 * a blob that *is* our file in place (`adopt`) stays as it is: a link to itself would be its end;
 * what the cache has of other commits, and of other repos, is not touched; nor is a blob that
   another program has put there and that is right: whoever drops the release here keeps that.

How the cache is laid out is `formats.huggingface_cache`'s business.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import P2PHubError, RefusedError, WrongBytesError
from p2phub.formats.huggingface import etag_of
from p2phub.formats.huggingface_cache import (
    LOCKS,
    TAG_NAME,
    TAG_TEXT,
    blobs_of,
    link_target,
    repo_folder,
    tree_text,
)
from p2phub.formats.ids import Kind
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath, check_path
from p2phub.store.aside import aside_in, file_lock
from p2phub.store.blobs import Blobs
from p2phub.store.digests import digests_of, git_blob_sha1_of
from p2phub.store.disk import Disk, is_folder

_WRITABLE = 0o666
"""Less what the umask takes away."""


@dataclass(frozen=True, slots=True)
class CachedRelease:
    """What of a release goes into a cache, and what it is called there."""

    kind: Kind
    repo_id: str
    commit: str
    ref: str | None
    """The ref that is to name it; None for a release that was asked for by its commit."""
    files: Sequence[FileEntry]
    """All files of the release."""
    wanted: Sequence[FileEntry]
    """Those that are here."""


class HuggingFaceCache:
    """One cache folder, and one store. Thread-safe, and safe beside other processes."""

    def __init__(self, folder: Path, blobs: Blobs, disk: Disk) -> None:
        self._folder, self._blobs, self._disk = folder, blobs, disk

    def write(self, release: CachedRelease) -> Path:
        """Put a release there; its snapshot. Blobs must be here, those over 1 MiB hashed whole.

        Raises `DamagedBlobError`, `WrongBytesError` for a file that is not what its signer called
        it, `NoSpaceError`, `RefusedError`. What was there before stays as it was.
        """
        wanted = blobs_of(release.wanted)
        for file in release.wanted:
            check_path(file.path)
        name = repo_folder(release.kind, release.repo_id)
        repo = self._folder / name
        for place in ("blobs", "snapshots", "trees"):
            self._disk.make_folder(repo / place)
        snapshot = repo / "snapshots" / release.commit
        tree = repo / "trees" / f"{release.commit}.json"
        locks = self._folder / LOCKS / name
        with aside_in(repo, self._disk) as aside:
            if not os.path.lexists(self._folder / TAG_NAME):
                self._put_text(self._folder / TAG_NAME, TAG_TEXT, aside)
            for etag, file in wanted.items():
                with file_lock(locks / f"{etag}.lock", self._disk):
                    self._put_blob(repo / "blobs" / etag, file, aside)
            self._disk.sync_path(repo / "blobs")
            self._put_text(tree, tree_text(release.files), aside)
            self._put_snapshot(snapshot, release.wanted, aside)
            self._forget_absences(repo / ".no_exist" / release.commit, release.wanted)
            self._disk.sync_path(snapshot.parent)
            if release.ref is not None:
                self._put_text(repo / "refs" / release.ref, release.commit, aside)
        return snapshot

    # ------------------------------------------------------------ blobs

    def _put_blob(self, target: Path, file: FileEntry, aside: Path) -> None:
        """Let a blob of the cache be that file of ours."""
        fd = self._blobs.open_verified(file.content)
        try:
            self._check_name(fd, file)
            if _is_same(target, fd):
                return
            made = aside / target.name
            if not self._clone(fd, file, made):
                if _is_right(target, file):
                    return
                self._link(os.path.abspath(self._blobs.path(file.content)), made)
            self._disk.rename(made, target)
        finally:
            os.close(fd)

    def _check_name(self, fd: int, file: FileEntry) -> None:
        """The name in the cache is the signer's word until its bytes were hashed here."""
        if file.git_sha1 is not None:
            right = git_blob_sha1_of(fd, Path(*file.path)) == file.git_sha1
        else:
            right = self._blobs.hash_whole(file.content) == file.sha256
        if not right:
            raise WrongBytesError(
                f"{'/'.join(file.path)} does not have the digest {etag_of(file)} that its release"
                " says",
                remedy="pull it without a Hugging Face cache, and tell its publisher",
            )

    def _clone(self, fd: int, file: FileEntry, made: Path) -> bool:
        """Make a file that shares the blocks of `fd`; False where that cannot be.

        A person's file may change while it is cloned, and later: it is linked to.
        """
        if self._blobs.place(file.content) is not None:
            return False
        copy = self._disk.create(made, _WRITABLE)
        try:
            if file.size and not self._disk.clone(fd, copy):
                self._disk.remove(made)
                return False
            self._disk.sync(copy, made)
        finally:
            os.close(copy)
        return True

    # ------------------------------------------------------------ snapshots, lists and refs

    def _put_snapshot(self, snapshot: Path, files: Sequence[FileEntry], aside: Path) -> None:
        if is_folder(snapshot):
            return self._complete(snapshot, files, aside)
        made = aside / snapshot.name
        for above in dict.fromkeys(file.path[:-1] for file in files):
            self._disk.make_folder(made.joinpath(*above))
        for file in files:
            self._link(link_target(file.path, etag_of(file)), made.joinpath(*file.path))
        if os.path.lexists(snapshot) and not is_folder(snapshot):
            self._disk.remove(snapshot)
        try:
            self._disk.rename(made, snapshot)
        except P2PHubError:
            if not is_folder(snapshot):
                raise
            self._complete(snapshot, files, aside)  # somebody else was faster

    def _complete(self, snapshot: Path, files: Sequence[FileEntry], aside: Path) -> None:
        """Add what is missing in a snapshot, or is not what it should be, link by link."""
        for file in files:
            target, entry = link_target(file.path, etag_of(file)), snapshot.joinpath(*file.path)
            self._open_way(snapshot, file.path)
            if _says(entry) != target:
                self._link(target, aside / "link")
                self._disk.rename(aside / "link", entry)

    def _open_way(self, folder: Path, path: FilePath) -> None:
        """Make the folders above a file; one that is a link, or a file, is replaced."""
        for part in path[:-1]:
            folder = folder / part
            if not is_folder(folder):
                self._disk.remove(folder)
                self._disk.make_folder(folder)

    def _forget_absences(self, folder: Path, files: Sequence[FileEntry]) -> None:
        """A mark that says there is no such file would hide one."""
        for file in files if is_folder(folder) else ():
            mark = folder.joinpath(*file.path)
            if os.path.lexists(mark):
                self._disk.remove(mark)

    def _link(self, target: str, path: Path) -> None:
        try:
            self._disk.link(target, path)
        except RefusedError as error:
            raise RefusedError(
                f"{error.message}: a Hugging Face cache needs a disk that has symbolic links",
                remedy="name another folder; `p2phub pull REF --to DIR` makes copies on any disk",
            ) from error

    def _put_text(self, target: Path, text: str, aside: Path) -> None:
        data = text.encode()
        if _holds(target, data):
            return
        self._disk.make_folder(target.parent)
        made = aside / "text"
        fd = self._disk.create(made, _WRITABLE)
        try:
            self._disk.write(fd, data, 0, made)
            self._disk.sync(fd, made)
        finally:
            os.close(fd)
        self._disk.rename(made, target)


def _is_same(target: Path, fd: int) -> bool:
    """Whether `target` is that very file, or leads to it; or both have no byte."""
    try:
        there, ours = os.stat(target), os.fstat(fd)
    except OSError:
        return False
    empty = stat.S_ISREG(there.st_mode) and there.st_size == ours.st_size == 0
    return empty or os.path.samestat(there, ours)


def _is_right(target: Path, file: FileEntry) -> bool:
    """Whether another program has put a file there, no link, and all of its bytes are right."""
    try:
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
            return False
        if file.git_sha1 is not None:
            return git_blob_sha1_of(fd, target) == file.git_sha1
        return digests_of(fd, [None], "sha256", target).digests == (file.sha256,)
    finally:
        os.close(fd)


def _says(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _holds(path: Path, data: bytes) -> bool:
    """Whether it is a plain file of these bytes."""
    try:
        found = os.lstat(path)
        same = stat.S_ISREG(found.st_mode) and found.st_size == len(data)
        return same and path.read_bytes() == data
    except OSError:
        return False
