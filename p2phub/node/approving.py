"""Sign for, or against, what waits at the gate of a node: on the machine where the key is.

What is to be signed comes from the node (`QuarantineDesk.look`), directly or as a file that was
carried here (`p2phub quarantine request`). A file may lie about names and sizes; what is signed is
the digest of the release, the number of the case, and the digest of the very results that are shown
here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats import limits
from p2phub.formats.approval import Approval, Check, checks_digest
from p2phub.formats.documents import has_control
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.node.approvers import pins
from p2phub.trust.envelope import LIMITS, sign
from p2phub.trust.keys import SigningKey

REQUEST: Final = "p2phub-quarantine-request"
MAX_REQUEST: Final = limits.MIB
"""Bytes of a file that asks for a signature."""
MAX_APPROVAL: Final = LIMITS[Approval.TYPE]
"""Bytes of a file that holds one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody is asked to sign for."""

    release: bytes
    publisher: PublisherId
    name: str
    license: str
    case: bytes
    checks: tuple[Check, ...]
    approvers: tuple[str, ...]

    @property
    def commit(self) -> str:
        return commit_id(self.release)

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.ok)

    def name_of(self, publisher: PublisherId | None, key: bytes) -> str:
        """What node.toml calls whoever signs with a key. Raises `UsageError` if nothing does."""
        for name, pin in pins(self.approvers).items():
            if pin == key or (publisher is not None and pin == publisher):
                return name
        raise UsageError(
            "this key is none of those that the node lists as approvers",
            remedy="--sign-with names another key, --as says which approver you are",
        )


def read_asked(row: Mapping[str, Any]) -> Asked:
    """What a node, or a file, asks to be signed. Raises `MalformedError`."""
    try:
        texts = [str(row["name"]), str(row["license"]), *map(str, row["approvers"])]
        checks = tuple(Check(each["name"], each["ok"], each["detail"]) for each in row["checks"])
        asked = Asked(
            bytes.fromhex(row["digest"]),
            PublisherId.parse(row["publisher_id"]),
            str(row["name"]),
            str(row["license"]),
            bytes.fromhex(row["case"]),
            checks,
            tuple(map(str, row["approvers"])),
        )
        checks_digest(checks)
        pins(asked.approvers)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise MalformedError(f"this asks for no approval: {str(error)[:200]}") from None
    if any(has_control(text) for text in texts):
        raise MalformedError("this asks for no approval: a text in it steers a terminal")
    if not checks:
        raise MalformedError("nothing was checked yet: import the bundle again")
    return asked


def write_request(path: Path, row: Mapping[str, Any]) -> None:
    """Write what is to be signed to a new file. Raises `UsageError` if there is one."""
    _write_new(path, json.dumps({"type": REQUEST} | dict(row), indent=1).encode() + b"\n")


def read_request(path: Path) -> Asked:
    """Read such a file. Raises `NotFoundError`, `UsageError`, `MalformedError`."""
    try:
        found = json.loads(_read(path, MAX_REQUEST))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("type") != REQUEST:
        raise MalformedError(f"{path} is no file that `p2phub quarantine request` wrote")
    return read_asked(found)


def read_approval_file(path: Path) -> bytes:
    """What an approver signed. Raises `NotFoundError`, `UsageError`."""
    return _read(path, MAX_APPROVAL)


def write_approval_file(path: Path, data: bytes) -> None:
    """Raises `UsageError` if there is such a file."""
    _write_new(path, data)


def signed_approval(
    asked: Asked,
    key: SigningKey,
    approver: str,
    now: int,
    *,
    despite: Sequence[str] = (),
    rejects: str | None = None,
) -> bytes:
    """The packed envelope of an approval, or of a rejection for a reason.

    Raises `UsageError` for a check that did not fail or is none.
    """
    unknown = sorted(set(despite) - set(asked.failed))
    if unknown:
        raise UsageError(
            f"no check called {unknown[0]} has failed",
            remedy=f"the failed ones are: {', '.join(asked.failed) or 'none'}",
        )
    said = Approval(
        release=asked.release,
        publisher=asked.publisher.digest,
        case=asked.case,
        checks=checks_digest(asked.checks),
        decision="approve" if rejects is None else "reject",
        approver=approver,
        created=now,
        despite=tuple(sorted(set(despite))),
        reason=rejects or "",
    )
    return sign(said, [key]).pack()


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", remedy="check the path") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise UsageError(f"{path} is larger than {limit} bytes", remedy="give the right file")
    return data


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{path} exists", remedy="name a new file") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
