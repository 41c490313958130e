"""Keep a release out: its files are dropped, and no import brings it again until it is allowed.

Who may use this node may reject; with --sign-with or --as, an approver signs for it and stands in
the log by name.
"""

import argparse

from p2phub.cli.approving import add_signing_options, show, signed
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="what waits, or the start of its commit")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; it is logged")
    add_signing_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls
    from p2phub.node.approving import read_asked

    with session.node() as node:
        call = quarantine_calls.reject(arguments.reference, arguments.reason)
        if arguments.name is not None or arguments.sign_with is not None:
            asked = read_asked(node.answer(quarantine_calls.look(arguments.reference)))
            call = quarantine_calls.decide(signed(arguments, session, asked, arguments.reason))
        row = node.answer(call)
    show(session, row)
    return 0
