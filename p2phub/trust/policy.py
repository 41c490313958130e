"""What a verdict means for whoever asked: go on, go on and say so, or stop.

A policy is per publisher and is about signatures. It cannot be used to believe bytes that are not
what their digest says: `corrupt` is refused under every policy.

>>> decide("enforce", Verdict.UNSIGNED), decide("warn", Verdict.UNSIGNED)
('refuse', 'warn')
>>> decide("off", Verdict.CORRUPT)
'refuse'
"""

from typing import Literal, get_args

from p2phub.errors import UsageError
from p2phub.trust.verdict import Verdict

Policy = Literal["off", "warn", "enforce"]
Decision = Literal["allow", "warn", "refuse"]

DEFAULT: Policy = "enforce"
"""For anything fetched from peers."""

_TABLE: dict[Verdict, tuple[Decision, Decision, Decision]] = {
    #                       off      warn     enforce
    Verdict.VERIFIED: ("allow", "allow", "allow"),
    Verdict.STALE: ("allow", "warn", "warn"),
    Verdict.UNSIGNED: ("allow", "warn", "refuse"),
    Verdict.UNTRUSTED_KEY: ("allow", "warn", "refuse"),
    Verdict.REVOKED: ("warn", "warn", "refuse"),
    Verdict.WITHDRAWN: ("warn", "warn", "refuse"),
    Verdict.FORKED: ("warn", "warn", "refuse"),
    Verdict.ROLLED_BACK: ("warn", "warn", "refuse"),
    Verdict.CORRUPT: ("refuse", "refuse", "refuse"),
}


def decide(policy: Policy, verdict: Verdict) -> Decision:
    """Whether `policy` allows what got `verdict`."""
    return _TABLE[verdict][get_args(Policy).index(policy)]


def check_policy(text: str) -> Policy:
    """`text` as a policy. Raises `UsageError` naming the three there are.

    >>> check_policy("warn")
    'warn'
    """
    for policy in get_args(Policy):
        if text == policy:
            return text  # type: ignore[return-value]
    raise UsageError(f"there is no trust policy {text!r}", remedy="use off, warn or enforce")
