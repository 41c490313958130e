"""Let a release that was rejected come again, with the next import. It waits again then, and no
approval that was signed before counts.
"""

import argparse

from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="what was rejected, or its commit")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls

    with session.node() as node:
        row = node.answer(quarantine_calls.allow(arguments.reference))
    if session.output.json:
        session.output.record(row)
        return 0
    session.output.line(f"{row['ref']} may come again: import the bundle")
    return 0
