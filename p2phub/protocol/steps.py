"""What a source of one file should do next, as `fetch_plan` answers and `node/fetch` obeys."""

from dataclasses import dataclass

from p2phub.formats.pieces import Run


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this source for this run now."""

    run: Run


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for this source now; ask again after so many seconds, or when something happened."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing for this source any more, unless it gets more or others lose what they have."""
