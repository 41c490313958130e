"""How publishers are shown: what is pinned, what is known, and what their domains say of them.

>>> domain_of({"domain": "lab.example", "domain_result": "https", "domain_checked": 86400})
'lab.example (proved by https 1970-01-02)'
>>> domain_of({"domain": "lab.example", "domain_result": None})
'lab.example (its own word)'
"""

import time
from collections.abc import Mapping
from typing import Any

from p2phub.cli.output import Column, moment

Row = Mapping[str, Any]

COLUMNS = (
    Column("alias", "alias"),
    Column("publisher", "publisher_id"),
    Column("policy", "rule"),
    Column("newest", "newest"),
    Column("state", "state"),
    Column("calls itself", "name"),
    Column("domain", "domain"),
)
"""Of `trust ls`."""
LOOKS = (
    Column("alias", "alias"),
    Column("publisher", "publisher_id"),
    Column("domain", "domain"),
    Column("why not", "problems"),
)
"""Of `trust check`."""


def trusted(row: Row) -> dict[str, Any]:
    """A row of `trust ls` as people read it."""
    newest = "{root_v}.{delegation_version}.{seq}".format(**row) if row["seq"] else ""
    return {
        **row,
        "rule": rule_of(row),
        "newest": newest,
        "state": state_of(row),
        "domain": domain_of(row),
    }


def rule_of(row: Row) -> str:
    """The rule for a publisher, and whether it is its own.

    >>> rule_of({"policy": "warn", "stale": "refuse", "own_rule": True})
    'warn, stale refused (own)'
    """
    stale = ", stale refused" if row["stale"] == "refuse" else ""
    code = ", code allowed" if row.get("code") == "allow" else ""
    return f"{row['policy']}{stale}{code}{' (own)' if row['own_rule'] else ''}"


def state_of(row: Row) -> str:
    """What is wrong with a publisher; the two digests where it said two things."""
    if row["forked"]:
        return f"FORKED: {row['forked']} {' '.join(row['fork'])}".rstrip()
    if row["damage"]:
        return f"damaged: {row['damage']}"
    if row["stale_since"] is not None:
        return f"stale since {moment(row['stale_since'])}"
    return ""


def domain_of(row: Row) -> str:
    """A domain, and what it says of the publisher that claims it, with the date."""
    domain, result = row.get("domain"), row.get("domain_result")
    if not domain:
        return ""
    checked, proved = row.get("domain_checked"), row.get("domain_proved")
    match result:
        case "https" | "dns":
            said = f"proved by {result} {_day(checked)}"
        case "contradicted":
            said = f"CONTRADICTED {_day(checked)}: it does not name this publisher"
        case "unreachable":
            before = f"; proved {_day(proved)}" if proved is not None else ""
            said = f"did not answer {_day(checked)}{before}"
        case _:
            said = "its own word"
    return f"{domain} ({said})"


def _day(seconds: int | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d", time.gmtime(seconds))
