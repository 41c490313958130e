"""What a node answers about its gate to other networks; see `p2phub.results` for the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line of the audit log."""

    seq: int
    time: int
    """Unix seconds, by the clock of the node."""
    event: str
    fields: Mapping[str, object] = field(default_factory=dict, hash=False)
    digest: str = ""
    """What the next line has as the digest of the line before; hex."""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the log, to be written down where nobody who has this machine can change it."""

    seq: int
    digest: str
    time: int


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """Something that a log which nobody touched does not have."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class AuditChecked:
    """What a look through the whole log found."""

    path: Path
    ok: bool
    lines: int
    seq: int
    """Of the last line; 0 for an empty log."""
    digest: str
    problems: tuple[AuditProblem, ...] = ()
    notes: tuple[str, ...] = ()
    """What is no fault, but worth knowing."""


@dataclass(frozen=True, slots=True)
class QuarantineCheck:
    """What one check of a release found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class QuarantineApproval:
    """What an approver signed, and that counts today."""

    approver: str
    created: int
    """Unix seconds, by the clock of who signed."""
    despite: tuple[str, ...] = ()
    """The failed checks that the signer answers for."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A release that came in a bundle, and where it stands."""

    ref: str
    commit: str
    digest: str
    publisher_id: str
    name: str
    kind: str
    license: str
    files: int
    bytes: int
    """Of its files."""
    verdict: str
    """What its signatures are worth today; `refused` if the gate of signatures refuses it."""
    state: str
    """`coming` (not all of it is here), `waiting`, `rejected`, or `let in`."""
    since: int
    """Unix seconds: when it came."""
    origin: str
    """The bundle it came from."""
    reason: str
    """Why it was rejected."""
    case: str
    """The number that approvals are for, in hex."""
    checks: tuple[QuarantineCheck, ...] = ()
    checks_digest: str = ""
    """What an approval names these results by, in hex."""
    approvals: tuple[QuarantineApproval, ...] = ()
    approvers: tuple[str, ...] = ()
    """Who may sign, and by what they are known, as node.toml has them."""
    needed: int = 0
    """Approvals that are missing."""
