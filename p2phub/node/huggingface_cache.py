"""A model as Hugging Face's tools keep it: a folder of links into a store of blobs.

    <cache>/models--org--name/
      refs/main                       the commit, 40 hex digits
      snapshots/<commit>/config.json  -> ../../blobs/<etag>
      blobs/<etag>                    a file, or a link -> <cache>/blobs/<xx>/<hash>, where
      <cache>/blobs/.huggingface-shared-blobs   says that several repos share them

Links are followed inside these two folders of blobs and nowhere else: whoever may write to a model
folder must not choose which other file of this machine is published. `models--org--name` alone
stands for the snapshot that `refs/main` names.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import from_hexadecimal
from p2phub.formats.huggingface_cache import Etag, repo_of


@dataclass(frozen=True, slots=True)
class CachedBlob:
    """A blob of a repo, and what its name says of it."""

    name: Path
    """As it lies in the repo."""
    path: Path
    """Through no link."""
    etag: Etag
    size: int


@dataclass(frozen=True, slots=True)
class OddBlob:
    """What lies among the blobs of a repo and is not followed."""

    name: Path
    reason: str


KINDS = ("models--", "datasets--", "spaces--")
SHARED = ".huggingface-shared-blobs"


def snapshot_in(folder: Path) -> Path:
    """The folder of links that `folder` stands for; itself, if it is no repo of a cache.

    Raises `NotFoundError` if the repo has no snapshot of its main branch.
    """
    if not (_is_repo(folder) and (folder / "snapshots").is_dir()):
        return folder
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        commit = ""
    snapshot = folder / "snapshots" / commit
    if from_hexadecimal(commit, 20) is None or not snapshot.is_dir():
        raise NotFoundError(
            f"{folder} has no snapshot of its main branch",
            remedy="name one of the folders in its `snapshots` folder",
        )
    return snapshot


def places_of_blobs(folder: Path) -> tuple[Path, ...]:
    """The folders that links in `folder` may lead to, through no link themselves; none if it is no
    snapshot of a cache.
    """
    folder = Path(os.path.realpath(folder))
    repo = folder.parent.parent
    if folder.parent.name != "snapshots" or not _is_repo(repo):
        return ()
    shared = repo.parent / "blobs"
    places = [repo / "blobs", *([shared] if (shared / SHARED).is_file() else [])]
    return tuple(place for place in places if place.is_dir() and not place.is_symlink())


def repos_in(cache: Path, wanted: Callable[[str], bool]) -> tuple[Path, ...]:
    """The folders of the repos of a cache that are wanted, by their ids (`org/name`).

    Raises `NotFoundError` if there is no such folder, `UsageError` if it is no cache.
    """
    if not cache.is_dir():
        raise NotFoundError(f"there is no folder {cache}", remedy="name the cache: `hf cache ls`")
    found = {folder: repo_of(folder.name) for folder in sorted(cache.iterdir()) if folder.is_dir()}
    repos = {folder: repo[1] for folder, repo in found.items() if repo is not None}
    if not repos:
        inside = next((each for each in (cache / "hub", cache.parent) if _has_repos(each)), None)
        raise UsageError(
            f"{cache} has no repo in it, as a Hugging Face cache has",
            remedy=f"name {inside}" if inside else "name the folder that has models--… in it",
        )
    return tuple(folder for folder, repo_id in repos.items() if wanted(repo_id))


def blobs_in(repo: Path, ours: Path) -> Iterator[CachedBlob | OddBlob]:
    """The blobs of a repo. Not among them: downloads that did not end, and links into `ours`, the
    store of this node, which has those files.
    """
    shared = repo.parent / "blobs"
    inside = Path(os.path.realpath(shared)) if (shared / SHARED).is_file() else None
    try:
        entries = sorted(os.scandir(repo / "blobs"), key=lambda each: each.name)
    except OSError as error:
        yield OddBlob(repo / "blobs", f"cannot be read: {error.strerror}")
        return
    for entry in entries:
        etag = Etag.parse(entry.name)
        if etag is None:
            continue
        name, path = Path(entry.path), Path(os.path.realpath(entry.path))
        if path.is_relative_to(ours) or _first_step(name).is_relative_to(ours):
            continue
        if entry.is_symlink() and (inside is None or not path.is_relative_to(inside)):
            yield OddBlob(name, f"is a link that leads out of the cache, to {path}")
            continue
        try:
            found = os.lstat(path)
        except OSError as error:
            yield OddBlob(name, f"cannot be read: {error.strerror}")
            continue
        if stat.S_ISREG(found.st_mode):
            yield CachedBlob(name, path, etag, found.st_size)
        else:
            yield OddBlob(name, "is no plain file")


def _first_step(link: Path) -> Path:
    """Where a link leads, which may be a link again; what is no link leads to itself."""
    try:
        step = link.parent / os.readlink(link)
    except OSError:
        return link
    return Path(os.path.realpath(step.parent), step.name)


def _has_repos(folder: Path) -> bool:
    return folder.is_dir() and any(repo_of(each.name) for each in folder.iterdir())


def _is_repo(folder: Path) -> bool:
    return folder.name.startswith(KINDS)
