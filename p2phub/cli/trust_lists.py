"""`p2phub trust export` and `trust import`: whom a lab trusts, in a file for another machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from p2phub.cli.confirm import confirm
from p2phub.cli.session import Session, as_objects
from p2phub.cli.trust_changes import change
from p2phub.errors import AliasTakenError, NotFoundError, P2PHubError, RefusedError, UsageError

CONFLICTS: Final = AliasTakenError.exit
"""How an import ends that met conflicts."""


def export_to(session: Session, file: str) -> None:
    """Write a list to a new file, or to standard output for `-`. Raises `RefusedError`."""
    from p2phub.client import calls

    found = session.answer(calls.trust_export())
    if found is None:
        with session.offline() as offline:
            found = as_objects([offline.export_list()])[0]
    if file == "-":
        for line in found["text"].splitlines():
            session.output.line(line)
        return
    _write_new(Path(file), found["text"])
    if session.output.json:
        session.output.record({"file": file, "publishers": found["publishers"]})
    else:
        session.output.line(f"{file}: {found['publishers']} publishers")


def import_from(session: Session, file: Path, *, yes: bool) -> int:
    """Add what is new in a list, after a yes; the exit code, which is 4 if there were conflicts."""
    text = _read(file)
    plan = _import(session, text, confirmed=False)
    for each in plan["conflicts"]:
        session.output.warn(_conflict(each))
    if plan["new"]:
        confirm(session, _changes(plan), f"add {len(plan['new'])} entries?", yes=yes)
        plan = _import(session, text, confirmed=True)
    if session.output.json:
        session.output.record(plan)
    else:
        new, known, conflicts = len(plan["new"]), plan["known"], len(plan["conflicts"])
        session.output.line(f"{new} new, {known} known before, {conflicts} conflicts left as is")
    return CONFLICTS if plan["conflicts"] else 0


def _import(session: Session, text: str, *, confirmed: bool) -> Mapping[str, Any]:
    from p2phub.client import calls

    return change(
        session,
        calls.trust_import(text, confirmed=confirmed),
        lambda trust: trust.import_list(text, confirmed=confirmed),
    )


def _changes(plan: Mapping[str, Any]) -> list[str]:
    """Every new entry; those that let more through than usual come last, where they are seen."""
    return [_entry(each) for each in sorted(plan["new"], key=_is_lenient)]


def _is_lenient(entry: Mapping[str, Any]) -> bool:
    return entry["policy"] not in (None, "enforce")


def _entry(entry: Mapping[str, Any]) -> str:
    rule = f", policy {entry['policy']}, stale {entry['stale']}" if entry["policy"] else ""
    if not entry["alias"]:
        return f"{entry['publisher_id']}{rule}"
    return f"{entry['alias']} will mean {entry['publisher_id']}{rule}"


def _conflict(each: Mapping[str, Any]) -> str:
    return f"{each['called']}: here {each['here']}, in the list {each['listed']}; nothing changed"


def _read(file: Path) -> str:
    from p2phub.formats.limits import MAX_TRUST_LIST

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_TRUST_LIST + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}", remedy="check the path") from None
    except OSError as error:
        said = error.strerror or str(error)
        raise UsageError(f"{file} cannot be read: {said}", remedy="name a file") from error
    if len(data) > MAX_TRUST_LIST:
        raise UsageError(
            f"{file} has more than {MAX_TRUST_LIST >> 20} MiB", remedy="a trust list is smaller"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text", remedy="a trust list is JSON") from None


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise RefusedError(
            f"{path} exists and is never overwritten", remedy="give another file name"
        ) from None
    except OSError as error:
        said = error.strerror or str(error)
        raise P2PHubError(
            f"{path} cannot be written: {said}", remedy="name another file"
        ) from error
