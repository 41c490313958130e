"""Take every release in a bundle that passes the checks of a pull, and what publishers took back.

Each release is named with what became of it: it came, was here, or was refused and why. If all came
or were here the exit code is 0, else that of the first refusal. What came is kept when the medium
is pulled out, and the same command goes on from there. No alias is pinned: `p2phub trust add` does
that. What is sealed is opened with the key of this node, or with --identity.
"""

import argparse
from pathlib import Path

from p2phub.cli.output import moment, size
from p2phub.cli.progress import follow
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="the folder or the file that the export was told"
    )
    parser.add_argument(
        "--identity",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a key of age that opens it, besides this node's own",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.bundle_import(arguments.path, arguments.identity)
    with session.node() as node:
        done = follow(node.events(call), session.output, "importing")
    status: int = done["exit"]
    if session.output.json:
        session.output.record(done)
        return status
    for row in done["releases"]:
        why = f"{row['outcome']}: {row['reason'] or row['verdict']}"
        session.output.line(f"{row['ref']} {why}")
    for row in done["publishers"]:
        what = {"newer": "is newer", "known": "was known"}.get(row["outcome"], row["outcome"])
        when = f", as of {moment(row['as_of'])}" if row["as_of"] else ""
        session.output.say(f"what {row['publisher_id']} lists {what}{when}")
    session.output.say(
        f"{size(done['bytes_fetched'])} came, {done['notices']} notices of what was taken back"
    )
    return status
