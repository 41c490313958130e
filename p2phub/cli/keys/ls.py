"""The keys of your publisher: what each may do, until when, and which of them are here.

Nothing secret is shown. Warnings tell of keys that expire within two weeks, of a root that is not
locked, and of recovery keys that lie where they cannot help.
"""

import argparse
from typing import Any

from p2phub.cli.output import Column
from p2phub.cli.session import Session

_COLUMNS = (
    Column("role", "role"),
    Column("name", "name"),
    Column("here", "here"),
    Column("may write", "repos"),
    Column("until", "until"),
    Column("key", "key"),
)
_NAMES = {
    "publisher_id": "publisher id",
    "root_v": "root",
    "delegation_version": "delegation",
    "needed": "signatures on a release",
    "recovery": "recovery",
    "next": "next root",
    "forked": "FORKED",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.desk import open_desk
    from p2phub.node.own_keys import list_keys
    from p2phub.node.values import as_json

    with open_desk(session.config(), session.home, read_only=True) as desk:
        found: dict[str, Any] = as_json(list_keys(desk))
    if session.output.json:
        session.output.record(found)
        return 0
    if found["publisher_id"] is not None:
        session.output.pairs(_summary(found), _NAMES)
    session.output.table([_shown(row) for row in found["keys"]], _COLUMNS)
    for warning in found["warnings"]:
        session.output.warn(warning)
    return 0


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    helpers = sum("recovery" in row["roles"] for row in found["keys"])
    holders = sum("root" in row["roles"] for row in found["keys"])
    needed, root = found["recovery_threshold"], str(found["root_v"])
    if holders > 1:
        root += f", signed by {found['root_threshold']} of {holders} holders"
    return found | {
        "root_v": root,
        "needed": f"{found['threshold']}",
        "recovery": f"{needed} of {helpers} keys" if needed else "none",
        "next": "committed" if found["next_committed"] else "not committed",
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    from p2phub.trust.verdict import moment

    here = "" if row["name"] is None else "locked" if row["locked"] else "yes"
    until = moment(row["expires"]) if row["expires"] is not None else ""
    if row["revoked"] is not None:
        until = f"revoked: {row['revoked']}"
    return row | {"role": " ".join(row["roles"]), "here": here, "until": until}
