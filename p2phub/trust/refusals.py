"""How the gate says no: our errors, each with the verdict and the steps that led to it.

A `Refusal` is an `UntrustedError` of the one tree, and where the tree knows a closer class it is
that one too: a head that is too old is caught by `except RolledBackError`. It adds `.verdict`,
`.steps` and a message that names the step.

`Trail` collects the steps of one verification in order. Its `require` is the only way a step
fails, so a step that was not taken can never look as if it had passed.

>>> trail = Trail("the head of ab12cd34")
>>> trail.passed("parses", "a head")
>>> trail.require(False, "not rolled back", "3 after 5", Verdict.ROLLED_BACK)
Traceback (most recent call last):
...
p2phub.trust.refusals.RolledBackRefusal: the head of ab12cd34: not rolled back? No: 3 after 5
>>> [(step.name, step.ok) for step in trail.steps]
[('parses', True), ('not rolled back', False)]
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from p2phub.errors import (
    ForkedError,
    MalformedError,
    NewerVersionError,
    RevokedError,
    RolledBackError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.trust.verdict import Step, Verdict


class Refusal(UntrustedError):
    """The gate refused a document. `verdict` says what it is, `steps` how we know."""

    verdict: Verdict
    steps: tuple[Step, ...]

    def __init__(
        self, message: str, *, verdict: Verdict, steps: tuple[Step, ...] = (), remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.verdict = verdict
        self.steps = steps


class MalformedRefusal(Refusal, MalformedError):
    """It does not parse, or breaks a limit."""


class NewerVersionRefusal(MalformedRefusal, NewerVersionError):
    """It needs a newer p2phub."""


class WrongBytesRefusal(Refusal, WrongBytesError):
    """It is not the document that was named."""


class RolledBackRefusal(Refusal, RolledBackError):
    """It is older than what we have seen."""


class RevokedRefusal(Refusal, RevokedError):
    """It was taken back."""


class ForkedRefusal(Refusal, ForkedError):
    """Its publisher said two different things."""


_REFUSALS: dict[Verdict, tuple[type[Refusal], str]] = {
    Verdict.STALE: (
        Refusal,
        "connect to peers and try again: a newer head may be out; or allow what is stale with"
        " `p2phub trust policy`",
    ),
    Verdict.UNSIGNED: (Refusal, "ask its publisher to sign it"),
    Verdict.UNTRUSTED_KEY: (Refusal, "compare the publisher id with one you got from a person"),
    Verdict.REVOKED: (RevokedRefusal, "use another release"),
    Verdict.WITHDRAWN: (RevokedRefusal, "use another release"),
    Verdict.FORKED: (
        ForkedRefusal,
        "wait until its publisher has settled it (`p2phub key rotate`, or `key recover`), or ask"
        " them what happened",
    ),
    Verdict.ROLLED_BACK: (RolledBackRefusal, "ask another peer; this one is behind"),
    Verdict.CORRUPT: (WrongBytesRefusal, "ask another peer"),
}


class Trail:
    """The steps taken so far on one document. `subject` is what people call it."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._steps: list[Step] = []

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps)

    def branch(self) -> "Trail":
        """Another trail that has come this far too."""
        other = Trail(self.subject)
        other._steps = list(self._steps)
        return other

    def passed(self, name: str, detail: str = "") -> None:
        """Write down that step `name` held."""
        self._steps.append(Step(name, True, detail))

    def require(self, holds: bool, name: str, detail: str, verdict: Verdict) -> None:
        """Go on if `holds`; else refuse. `detail` says what was seen, for both outcomes."""
        if not holds:
            self.refuse(name, detail, verdict)
        self.passed(name, detail)

    def refuse(
        self,
        name: str,
        detail: str,
        verdict: Verdict,
        kind: type[Refusal] | None = None,
        remedy: str = "",
    ) -> NoReturn:
        """Raise the refusal of step `name`; `kind` where a closer class than the verdict's fits."""
        self._steps.append(Step(name, False, detail))
        usual, advice = _REFUSALS[verdict]
        message = f"{self.subject}: {name}? No: {detail}"
        raise (kind or usual)(message, verdict=verdict, steps=self.steps, remedy=remedy or advice)

    @contextmanager
    def step(self, name: str) -> Iterator["Finding"]:
        """Step `name` is that the body raises no `UntrustedError`. What it found can be told to the
        `Finding`.
        """
        finding = Finding()
        try:
            yield finding
        except NewerVersionError as error:
            verdict = Verdict.CORRUPT
            self.refuse(name, error.message, verdict, NewerVersionRefusal, error.remedy)
        except MalformedError as error:
            self.refuse(name, error.message, Verdict.CORRUPT, MalformedRefusal, error.remedy)
        except UntrustedError as error:
            self.refuse(name, error.message, verdict_of(error), remedy=error.remedy)
        self.passed(name, finding.detail)


class Finding:
    """What a step saw, in words, as far as it has come."""

    detail = ""


def verdict_of(error: UntrustedError) -> Verdict:
    """The verdict of any refusal, also of one that did not come from the gate (a wrong piece).

    >>> verdict_of(WrongBytesError("piece 3 is wrong"))
    <Verdict.CORRUPT: 'corrupt'>
    """
    match error:
        case Refusal():
            return error.verdict
        case RolledBackError():
            return Verdict.ROLLED_BACK
        case ForkedError():
            return Verdict.FORKED
        case RevokedError():
            return Verdict.REVOKED
        case MalformedError() | WrongBytesError():
            return Verdict.CORRUPT
        case _:
            return Verdict.UNTRUSTED_KEY
