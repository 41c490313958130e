"""Sign for a release that waits, with a key of this home folder, and let it in if that was the last
approval it needed. What is signed is shown, and names the results of the checks: of other results
it says nothing.

With --approval FILE nothing is signed here: FILE is what `p2phub quarantine sign` wrote elsewhere.
A check that failed keeps a release out unless --despite names it, which is signed and logged.
"""

import argparse
from pathlib import Path

from p2phub.cli.approving import add_signing_options, show, show_asked, signed
from p2phub.cli.session import Session
from p2phub.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference", metavar="REF", nargs="?", help="what waits, or the start of its commit"
    )
    parser.add_argument("--approval", metavar="FILE", type=Path, help="what was signed elsewhere")
    add_signing_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls
    from p2phub.node.approving import read_approval_file, read_asked

    if (arguments.reference is None) == (arguments.approval is None):
        raise UsageError(
            "name a release, or a file with --approval",
            remedy="`p2phub quarantine approve REF`, or `approve --approval FILE`.",
        )
    with session.node() as node:
        if arguments.approval is not None:
            data = read_approval_file(arguments.approval)
        else:
            asked = read_asked(node.answer(quarantine_calls.look(arguments.reference)))
            show_asked(session, asked)
            data = signed(arguments, session, asked)
        row = node.answer(quarantine_calls.decide(data))
    show(session, row)
    return 0
