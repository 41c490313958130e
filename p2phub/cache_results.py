"""What a node answers about caches of other programs, as frozen dataclasses; see `p2phub.results`
for the rules.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file of a cache that is not used."""

    path: Path
    """As it lies in the cache."""
    reason: str


@dataclass(frozen=True, slots=True)
class CacheAdopted:
    """What of a cache of another program is used and given out from where it lies."""

    cache: Path
    repos: int
    """Repos that were looked at."""
    files: int
    """Files that were looked at; those that are in several repos count once."""
    bytes: int
    """Of these files."""
    adopted: int
    """Files that are used from now on, and were not before; or, if this was only a look, would be.
    """
    bytes_adopted: int
    known: int
    """Files whose content was here before."""
    left_alone: tuple[LeftAlone, ...] = ()
    """Files that are not what their names say, or could not be read."""
    forgotten: int = 0
    """Files that were used, and are not any more."""
    dry_run: bool = False
    """Whether this was only a look."""
