"""Write what is to be signed for a release that waits to a new file, to be carried to an approver
elsewhere, who runs `p2phub quarantine sign FILE`.
"""

import argparse
from pathlib import Path

from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="what waits, or the start of its commit")
    parser.add_argument("--to", metavar="FILE", type=Path, required=True, help="a new file")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls
    from p2phub.node.approving import read_asked, write_request

    with session.node() as node:
        row = node.answer(quarantine_calls.look(arguments.reference))
    read_asked(row)
    write_request(arguments.to, row)
    if session.output.json:
        session.output.record({"file": str(arguments.to.absolute()), "commit": row["commit"]})
        return 0
    session.output.line(str(arguments.to.absolute()))
    return 0
