"""What a node answers about bundles, as frozen dataclasses; see `p2phub.results` for the rules."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BundleRelease:
    """A release of a bundle."""

    ref: str
    """With the publisher's id and the commit: what `pull` takes on any machine."""
    commit: str
    publisher_id: str
    name: str
    kind: str
    bytes: int
    """Of its files; before it was imported, that is only what the bundle says."""
    outcome: str = "listed"
    """`listed`; after an export `exported`, after an import `came`, `here` (it was before) or
    `refused`."""
    verdict: str = ""
    """What its signatures are worth; empty where nobody has looked."""
    reason: str = ""
    """Why it was refused."""
    exit: int = 0
    """The exit code of that refusal."""


@dataclass(frozen=True, slots=True)
class BundleExported:
    """What was put into a bundle."""

    path: Path
    releases: tuple[BundleRelease, ...]
    bytes_total: int
    """Of the files of these releases."""
    bytes_written: int
    """Pieces and documents that were not there before."""
    seconds: float


@dataclass(frozen=True, slots=True)
class BundleImported:
    """What came out of a bundle."""

    path: Path
    releases: tuple[BundleRelease, ...]
    heads: int
    """Publishers of whom it has a head that is believed and not older than what was known."""
    notices: int
    """Revocations, withdrawals and fork proofs that are believed."""
    bytes_fetched: int
    seconds: float
    exit: int = 0
    """0 if every release came or was here, else the exit code of the first refusal."""


@dataclass(frozen=True, slots=True)
class BundleProblem:
    """A file of a bundle that counts for nothing."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class BundleLook:
    """What a bundle says of itself; nothing of it was verified."""

    path: Path
    made: int | None
    """When the last export was, in unix seconds by the clock of who made it; None: none ended."""
    releases: tuple[BundleRelease, ...]
    pieces: int
    """In whole packs."""
    bytes: int
    """Of all that is in whole packs."""
    problems: tuple[BundleProblem, ...] = ()
