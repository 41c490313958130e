"""What a path below `p2p://` means: `[publisher/name[@revision][/path/in/the/repo]]`.

Rules it keeps:
 * a repo always takes two parts. `[publisher/]name`, as people type it elsewhere, would leave open
   whether `lab/minilm` is a repo or the file `minilm` of one's own repo `lab`; one's own publisher
   is named by its alias or its full id, like any other;
 * without a revision it is `main`. One with slashes is written with `%2F`: `lab/x@refs%2Fpr%2F1`.
   Nothing else is decoded: a file called `a%20b` is asked for by that name;
 * what was typed stays as it was typed in every name that is handed out (`Place.repo`), so that
   the patterns of a glob match what they list.

Whether there is such a thing is for others to say.

>>> place = parse("lab/minilm@refs%2Fpr%2F1/onnx/model.onnx")
>>> place.repo, place.reference, place.path
('lab/minilm@refs%2Fpr%2F1', 'lab/minilm@refs/pr/1', 'onnx/model.onnx')
>>> strip("p2p://lab/minilm/"), parse("lab").repo is None
('lab/minilm', True)
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import Reference

PROTOCOL: Final = "p2p"
_REMEDY: Final = "write p2p://publisher/name[@revision]/path; a slash in a revision is %2F"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of publishers or of repos, or something in a release."""

    publisher: str = ""
    """An alias or a full id; empty for the root."""
    repo: str | None = None
    """The beginning of its path, as it was typed; None above the repos."""
    reference: str = ""
    """What names the release, for a node."""
    path: str = ""
    """Inside the release; empty for the whole of it."""


def strip(path: str) -> str:
    """A path without `p2p://`, and without slashes at its ends."""
    for prefix in (f"{PROTOCOL}://", f"{PROTOCOL}::"):
        path = path.removeprefix(prefix)
    return path.strip("/")


def parse(path: str) -> Place:
    """What a stripped path means. Raises `NotFoundError` for what can name nothing."""
    publisher, slash, rest = path.partition("/")
    if not publisher or (not slash and "@" not in publisher):
        return Place(publisher)
    repo, _, inside = rest.partition("/")
    name, at, revision = repo.partition("@")
    reference = f"{publisher}/{name}{at}{unquote(revision)}"
    try:
        Reference.parse(reference)
    except UsageError as error:
        raise NotFoundError(error.message, remedy=_REMEDY) from error
    return Place(publisher, f"{publisher}/{repo}", reference, inside)


def pinned(place: Place, commit: str) -> str:
    """The path of the same thing in the very release that it is in now."""
    return f"{place.reference.partition('@')[0]}@{commit}/{place.path}"
