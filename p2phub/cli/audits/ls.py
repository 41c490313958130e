"""What was logged: when, what, and the particulars. Nothing is checked: `p2phub audit verify` does.

--since takes a date (2026-11-24), a date and a time in UTC (2026-11-24T09:30), or unix seconds.
"""

import argparse
from datetime import UTC, datetime
from typing import Any

from p2phub.cli.output import Column, moment
from p2phub.cli.session import Session, as_objects
from p2phub.errors import UsageError

_COLUMNS = (
    Column("line", "seq"),
    Column("when", "when"),
    Column("event", "event"),
    Column("particulars", "said"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="WHEN", default="0", help="only what was logged later")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.auditing import log_lines

    lines = as_objects(log_lines(session.config(), session.home, _moment(arguments.since)))
    if not session.output.json:
        lines = [line | {"when": moment(line["time"]), "said": _said(line)} for line in lines]
    session.output.table(lines, _COLUMNS)
    return 0


def _said(line: dict[str, Any]) -> str:
    shown = {name: value for name, value in line["fields"].items() if value not in ("", None)}
    return " ".join(
        f"{name}={' '.join(value) if isinstance(value, list | tuple) else value}"
        for name, value in shown.items()
    )


def _moment(text: str) -> int:
    """Unix seconds. Raises `UsageError`.

    >>> _moment("1970-01-02"), _moment("90")
    (86400, 90)
    """
    if text.isdecimal() and len(text) < 16:
        return int(text)
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time", remedy="Write 2026-11-24, 2026-11-24T09:30 or unix seconds."
        ) from None
