"""What a node reports while something long goes on: one small frozen value an event.

Each kind has a fixed `event` name; the fields are the keys of the JSON line that the gateway
streams and the command line prints (`values.as_json`). Sizes are bytes, rates bytes a second.
Events tell, they never decide: whoever misses one still gets the result or the error at the end.

>>> Progress(bytes_done=5, bytes_total=10).event
'progress'
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from p2phub.results import Progress as Progress


@dataclass(frozen=True, slots=True)
class Resolved:
    """The reference names this release, and this is what its signatures are worth."""

    event: ClassVar[str] = "resolved"
    ref: str
    commit: str
    publisher_id: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What has to be done before the first byte moves."""

    event: ClassVar[str] = "plan"
    files: int
    bytes_total: int
    bytes_linked: int
    """Already on this disk."""
    bytes_to_fetch: int
    """What sources have to give."""


@dataclass(frozen=True, slots=True)
class FileDone:
    """A file is whole, verified and kept."""

    event: ClassVar[str] = "file"
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class FilesDone:
    """Many small files are whole, verified and kept: told once for all that came together."""

    event: ClassVar[str] = "files"
    files: int
    size: int
    """Bytes, all together."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know that stops nothing."""

    event: ClassVar[str] = "warning"
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Verifying:
    """Bytes on this disk are being read and checked."""

    event: ClassVar[str] = "verifying"
    ref: str
    path: str = ""
    """The file, where it is one file."""


@dataclass(frozen=True, slots=True)
class ReleaseWithdrawn:
    """A release on this disk is refused from now on; whatever serves it stops."""

    event: ClassVar[str] = "release withdrawn"
    ref: str
    commit: str
    digest: str
    publisher_id: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loading:
    """A model is being loaded; sent a few times a second at most."""

    event: ClassVar[str] = "loading"
    ref: str
    step: str
    """What is done now."""
    bytes_done: int = 0
    bytes_total: int = 0
    """0: it is not known."""


Event = (
    Resolved
    | Planned
    | Progress
    | FileDone
    | FilesDone
    | Warned
    | Verifying
    | ReleaseWithdrawn
    | Loading
)
Report = Callable[[Event], None]
