"""Run every check of a release that waits again: after the scanner learnt something, or node.toml
lists other licences. Other results than before end the approvals that were given for those.

The exit code is 0 if every check passed, else 7.
"""

import argparse

from p2phub.cli.approving import show
from p2phub.cli.progress import follow
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="what waits, or the start of its commit")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls

    with session.node() as node:
        call = quarantine_calls.check(arguments.reference)
        row = follow(node.events(call), session.output, "checking")
    show(session, row)
    return 0 if all(check["ok"] for check in row["checks"]) else 7
