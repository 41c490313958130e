"""What a verdict means for whoever asked: go on, go on and say so, or stop.

A `Rule` is per publisher: a policy, which is about signatures, and whether what is stale will do.
It decides what is done with a release; what is known of a publisher it cannot change:
 * bytes that are not what their digest says are refused under every rule (`corrupt`);
 * a head that is older than one we have seen is never taken, under no rule (`rolled back`): to
   believe it would be to forget what we know, also for everybody who asks us;
 * what was taken back, or whose publisher has forked, is never used in silence.

>>> Rule("enforce").decide(Verdict.UNSIGNED), Rule("warn").decide(Verdict.UNSIGNED)
('refuse', 'warn')
>>> Rule("off").decide(Verdict.CORRUPT), Rule("off").decide(Verdict.ROLLED_BACK)
('refuse', 'refuse')
>>> Rule("warn").decide(Verdict.STALE), Rule("warn", stale="refuse").decide(Verdict.STALE)
('warn', 'refuse')
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from p2phub.errors import UsageError
from p2phub.kinds import Code, Policy, Stale
from p2phub.trust.verdict import Verdict

__all__ = [
    "DEFAULT",
    "Decision",
    "Policy",
    "Rule",
    "Stale",
    "check_code",
    "check_policy",
    "check_stale",
]

Decision = Literal["allow", "warn", "refuse"]

DEFAULT: Final[Policy] = "enforce"
"""For anything fetched from peers."""

_TABLE: Final[dict[Verdict, tuple[Decision, Decision, Decision]]] = {
    #                       off      warn     enforce
    Verdict.VERIFIED: ("allow", "allow", "allow"),
    Verdict.STALE: ("allow", "warn", "warn"),
    Verdict.UNSIGNED: ("allow", "warn", "refuse"),
    Verdict.UNTRUSTED_KEY: ("allow", "warn", "refuse"),
    Verdict.REVOKED: ("warn", "warn", "refuse"),
    Verdict.WITHDRAWN: ("warn", "warn", "refuse"),
    Verdict.FORKED: ("warn", "warn", "refuse"),
    Verdict.ROLLED_BACK: ("refuse", "refuse", "refuse"),
    Verdict.CORRUPT: ("refuse", "refuse", "refuse"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a person has laid down for one publisher, or for all who have no rule of their own."""

    policy: Policy = DEFAULT
    stale: Stale = "warn"
    """Whether a release is refused whose publisher was not heard of for too long. Under the policy
    off nobody is asked how old anything is."""

    def decide(self, verdict: Verdict) -> Decision:
        """Whether this rule allows what got `verdict`."""
        if verdict is Verdict.STALE and self.stale == "refuse" and self.policy != "off":
            return "refuse"
        return _TABLE[verdict][get_args(Policy).index(self.policy)]

    def weakens(self, before: "Rule") -> bool:
        """Whether anything is let through, or let through in silence, that `before` held back."""
        return any(
            _STRICTNESS.index(self.decide(verdict)) < _STRICTNESS.index(before.decide(verdict))
            for verdict in Verdict
        )


_STRICTNESS: Final = get_args(Decision)


def check_policy(text: str) -> Policy:
    """`text` as a policy. Raises `UsageError` naming the three there are.

    >>> check_policy("warn")
    'warn'
    """
    for policy in get_args(Policy):
        if text == policy:
            return text  # type: ignore[return-value]
    raise UsageError(f"there is no trust policy {text!r}", remedy="use off, warn or enforce")


def check_code(text: str) -> Code:
    """`text` as whether Python files of a publisher may run. Raises `UsageError`."""
    for code in get_args(Code):
        if text == code:
            return text  # type: ignore[return-value]
    raise UsageError(f"code cannot be met with {text!r}", remedy="use refuse or allow")


def check_stale(text: str) -> Stale:
    """`text` as what is done with what is stale. Raises `UsageError`."""
    for stale in get_args(Stale):
        if text == stale:
            return text  # type: ignore[return-value]
    raise UsageError(f"what is stale cannot be met with {text!r}", remedy="use warn or refuse")
