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
from pathlib import Path

from p2phub.errors import NotFoundError
from p2phub.formats.digest import from_hexadecimal

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


def _is_repo(folder: Path) -> bool:
    return folder.name.startswith(KINDS)
