"""Find the node that runs for a home folder: its URL, and the token that proves we may use it.

A running gateway keeps `run/gateway` under the home folder and holds a lock on it until it dies.
A file that nobody holds is a left-over of a node that was killed; its port may be a stranger's by
now, so nothing is sent there.
"""

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import RefusedError, UsageError


@dataclass(frozen=True, slots=True)
class RunningNode:
    """Where a node answers."""

    url: str
    token: str


def home_folder(home: Path | str | None, environ: Mapping[str, str]) -> Path:
    """The home folder of a node: the one given, `P2PHUB_HOME`, or `~/.p2phub`.

    Raises `UsageError` if a `~` stands for nothing, as for a user without a home.

    >>> home_folder(None, {"P2PHUB_HOME": "/srv/p2phub"})
    PosixPath('/srv/p2phub')
    """
    chosen = home or environ.get("P2PHUB_HOME") or "~/.p2phub"
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError:
        raise UsageError(
            f"{chosen} means nothing here: this user has no home folder",
            remedy="Name a folder: --home DIR, or P2PHUB_HOME.",
        ) from None


def find_running(home: Path) -> RunningNode | None:
    """The node that runs for `home`; None if there is none.

    Raises `RefusedError` if there is one and its files may not be read.
    """
    path = home / "run" / "gateway"
    try:
        with path.open(encoding="utf-8") as file:
            if _unheld(file.fileno()):
                return None
            url = file.read().strip()
        token = (home / "run" / "token").read_text("ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RefusedError(
            f"{error.filename or path} cannot be read: {error.strerror}",
            remedy="The node that runs here belongs to another user; ask that user for a token.",
        ) from error
    return RunningNode(url, token) if url else None


def _unheld(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
