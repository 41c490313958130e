"""What we think of a document after looking at it: a verdict, and the steps that led there.

The same verdict comes out of every path (a pull, a web mirror, a stick, a model load), so this is
the only list of them. A `Judgement` is what a caller of the gate keeps: the verdict, since when it
is stale, and the steps, which `p2phub verify` prints.

Rules it keeps:
 * stale is never an error by itself; it says how old the newest word of the publisher is;
 * text is for people, `Verdict` is for programs; nobody parses the text.

It leaves to `policy` what a verdict means for the caller, and to `refusals` how a bad one is
raised.

>>> Judgement.of((Step("parses", True, "a release"),), stale_since=None, now=100).text
'verified'
>>> Judgement.of((), stale_since=1767225600, now=1767225601).text
'verified, stale since 2026-01-01T00:00:00Z'
>>> Judgement.of((), stale_since=1767225600, now=1767225600).text
'verified'
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

_LAST_SECOND = 253402300799
"""The end of the year 9999: later moments are shown as this one."""


class Verdict(StrEnum):
    """Every answer there is to "may these bytes be believed?"."""

    VERIFIED = "verified"
    STALE = "verified, stale since"
    UNSIGNED = "unsigned"
    UNTRUSTED_KEY = "untrusted key"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"
    FORKED = "forked"
    ROLLED_BACK = "rolled back"
    CORRUPT = "corrupt"

    @property
    def good(self) -> bool:
        """Whether the bytes are what their publisher signed, be it long ago."""
        return self in (Verdict.VERIFIED, Verdict.STALE)


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a verification, as people read it."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one document at one moment."""

    verdict: Verdict
    stale_since: int | None = None
    """Unix seconds; only with `Verdict.STALE`."""
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, steps: tuple[Step, ...], stale_since: int | None, now: int) -> "Judgement":
        """Verified at `now`, or verified and stale when `stale_since` has passed."""
        if stale_since is not None and stale_since < now:
            return cls(Verdict.STALE, stale_since, steps)
        return cls(Verdict.VERIFIED, None, steps)

    @property
    def text(self) -> str:
        """The verdict as formats.md writes it."""
        if self.stale_since is None:
            return self.verdict.value
        return f"{self.verdict.value} {moment(self.stale_since)}"


def moment(seconds: int) -> str:
    """Unix seconds as people read them, in UTC.

    >>> moment(0)
    '1970-01-01T00:00:00Z'
    >>> moment(2**63)
    '9999-12-31T23:59:59Z'
    """
    shown = datetime.fromtimestamp(min(max(seconds, 0), _LAST_SECOND), UTC)
    return shown.strftime("%Y-%m-%dT%H:%M:%SZ")
