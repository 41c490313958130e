"""What somebody who may let a release through the gate of a node says of it, signed.

An approval is about one *case*: a release that came to one node and waits there, under a number
that nobody can foresee. So it is good once: what is rejected and comes again is another case. It
names the digest of the list of checks that its signer saw; of other results it says nothing. Checks
that failed and that the signer accepts all the same stand in it by name.

Who may sign, and whether the checks passed, is `p2phub.node.approvals`' business.

>>> checks = (Check("licence", False, "gpl-3.0"),)
>>> said = Approval(bytes(32), bytes(32), bytes(16), checks_digest(checks), "approve", "ann", 1)
>>> Approval.from_payload(said.to_payload()) == said
True
>>> unpack_checks(pack_checks(checks)) == checks
True
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, Self, get_args

from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document, Extra, Fields

CASE: Final = 16
"""Bytes of the number of a case."""
MAX_CHECKS: Final = 32
MAX_DETAIL: Final = 2000
"""Bytes of what a check says."""
Decision = Literal["approve", "reject"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check of a release found."""

    name: str
    ok: bool
    detail: str
    """One sentence, or the end of what a scanner printed."""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        name = fields.text("name", limits.MAX_WORD)
        return cls(name, not fields.flag("failed"), fields.text("detail", MAX_DETAIL, lines=True))

    def write(self) -> Mapping[str, Value]:
        said: dict[str, Value] = {"name": self.name, "detail": self.detail}
        return said if self.ok else said | {"failed": True}


def pack_checks(checks: Sequence[Check]) -> bytes:
    """The one spelling of a list of results. Raises `MalformedError` for what nobody could read."""
    data = encode({"checks": [check.write() for check in checks]})
    unpack_checks(data)
    return data


def unpack_checks(data: bytes) -> tuple[Check, ...]:
    """Raises `MalformedError`."""
    limit = MAX_CHECKS * (MAX_DETAIL + limits.KIB)
    fields = Fields(decode(data, limit=limit), "these checks")
    return tuple(map(Check.read, fields.parts("checks", MAX_CHECKS)))


def checks_digest(checks: Sequence[Check]) -> bytes:
    """What an approval names them by."""
    return sha256(pack_checks(checks))


@dataclass(frozen=True, slots=True)
class Approval(Document):
    """One approver lets a release through, or keeps it out."""

    TYPE: ClassVar[str] = "approval"

    release: bytes
    publisher: bytes
    """Of the release."""
    case: bytes
    checks: bytes
    """The digest of the results that the signer saw."""
    decision: Decision
    approver: str
    """The name that node.toml has for the signer."""
    created: int
    """Unix seconds."""
    despite: tuple[str, ...] = ()
    """The failed checks that the signer accepts; sorted."""
    reason: str = ""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        decision = fields.text("decision", limits.MAX_WORD)
        if decision not in get_args(Decision):
            raise fields.wrong("decision", "is neither approve nor reject")
        despite = fields.texts("despite", MAX_CHECKS, limits.MAX_WORD, optional=True)
        if list(despite) != sorted(set(despite)):
            raise fields.wrong("despite", "is not sorted, or names a check twice")
        return cls(
            fields.digest("release"),
            fields.digest("publisher"),
            fields.data("case", CASE, CASE),
            fields.digest("checks"),
            decision,  # type: ignore[arg-type]
            fields.text("approver", limits.MAX_ALIAS),
            fields.time("created"),
            despite,
            fields.text("reason", limits.MAX_REASON, default=""),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "release": self.release,
            "publisher": self.publisher,
            "case": self.case,
            "checks": self.checks,
            "decision": self.decision,
            "approver": self.approver,
            "created": self.created,
            "despite": self.despite or None,
            "reason": self.reason or None,
        }
