"""The steps of a check as they are taken, and the verdict they lead to: that of the first that
failed.

>>> steps = StepList()
>>> steps.passed("key", "one of those that count")
>>> steps.failed("file", "config.json: other bytes were signed", Verdict.CORRUPT)
>>> steps.verdict.value, [(step.number, step.ok) for step in steps.taken]
('corrupt', [(1, True), (2, False)])
"""

from typing import NoReturn

from p2phub.errors import UntrustedError
from p2phub.node.values import StepTaken
from p2phub.trust.refusals import verdict_of
from p2phub.trust.verdict import Verdict


class Stopped(Exception):
    """A step failed, and those after it would mean nothing. The steps tell."""


class StepList:
    """Filled from first to last."""

    def __init__(self) -> None:
        self.taken: list[StepTaken] = []
        self.verdict = Verdict.VERIFIED

    def passed(self, name: str, detail: str) -> None:
        self.taken.append(StepTaken(name, True, detail, len(self.taken) + 1))

    def failed(self, name: str, detail: str, verdict: Verdict) -> None:
        """Go on, and see what else is wrong."""
        self.taken.append(StepTaken(name, False, detail, len(self.taken) + 1))
        if self.verdict is Verdict.VERIFIED:
            self.verdict = verdict

    def stop(self, name: str, detail: str, verdict: Verdict) -> NoReturn:
        """Fail, and end here."""
        self.failed(name, detail, verdict)
        raise Stopped

    def refuse(self, name: str, error: UntrustedError) -> NoReturn:
        """The same for what somebody else refused."""
        self.failed(name, error.message, verdict_of(error))
        raise Stopped from error
