"""Releases of your publisher that wait for signatures.

Where several keys must sign a release, `p2phub publish` keeps it until enough of them have. With
--sign the keys of this machine are added to one; as soon as they are enough and its files are here,
it is listed. With --fetch its files are brought first, to look at. With --drop it is forgotten,
with the files that nothing else needs.
"""

import argparse
from pathlib import Path
from typing import Any

from p2phub.cli.output import Column
from p2phub.cli.progress import follow
from p2phub.cli.session import Session

_COLUMNS = (
    Column("release", "ref"),
    Column("signatures", "count"),
    Column("tag", "tag"),
    Column("size", "bytes", bytes=True),
    Column("here", "here"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sign", metavar="COMMIT", help="add the signatures of the keys here")
    what.add_argument(
        "--fetch", metavar="COMMIT", help="bring its files from the members that have them"
    )
    what.add_argument("--drop", metavar="COMMIT", help="forget it")
    parser.add_argument(
        "--to", metavar="DIR", type=Path, help="with --fetch: writable copies into this folder"
    )
    parser.add_argument("--sign-with", metavar="KEY", help="the name of the release key to use")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        if arguments.sign is not None:
            call = calls.sign_proposal(arguments.sign, sign_with=arguments.sign_with)
            found = [dict(follow(node.events(call), session.output, "signing"))]
        elif arguments.fetch is not None:
            call = calls.fetch_proposal(arguments.fetch, to=arguments.to)
            found = [dict(follow(node.events(call), session.output, "fetching"))]
        elif arguments.drop is not None:
            found = [dict(node.answer(calls.drop_proposal(arguments.drop)))]
        else:
            found = [dict(each) for each in node.answer(calls.proposals())["proposals"]]
    rows = found if session.output.json else [_shown(each) for each in found]
    session.output.table(rows, _COLUMNS)
    return 0


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    count = f"{row['signatures']} of {row['needed']}"
    return row | {
        "count": count + (", listed" if row.get("listed") else ""),
        "here": "yes" if row["here"] else "no",
    }
