"""Put releases that are on this disk into a bundle, with all that the other side needs to judge
them.

What is on the medium already is not written again: name the same folder for the next export. All
that was written is read back from the medium. One that is pulled out early claims nothing that it
does not hold, and the same command goes on from the last whole pack.
"""

import argparse
from pathlib import Path

from p2phub.cli.output import size
from p2phub.cli.progress import follow
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "references", metavar="REF", nargs="+", help="[publisher/]name[@revision] or p2p://…"
    )
    parser.add_argument(
        "--to", metavar="PATH", type=Path, required=True, help="a folder on the medium"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.bundle_export(arguments.references, arguments.to)
    with session.node() as node:
        done = follow(node.events(call), session.output, "exporting")
    if session.output.json:
        session.output.record(done)
        return 0
    for row in done["releases"]:
        session.output.line(f"{row['ref']} {row['verdict']}")
    session.output.say(
        f"{size(done['bytes_written'])} written and read back; the rest was there already"
    )
    return 0
