"""Sign for a release that waits at the gate of another node, from the file that `p2phub quarantine
request` wrote there. What is signed is shown first. No node is needed.

The answer is written beside it, as FILE.approval, and goes back: `p2phub quarantine approve
--approval FILE`. With --reject it says that the release is to be kept out. Without a terminal,
--yes says that somebody has looked.
"""

import argparse
from pathlib import Path

from p2phub.cli.approving import add_signing_options, show_asked, signed
from p2phub.cli.secrets import at_terminal, confirm
from p2phub.cli.session import Session
from p2phub.errors import RefusedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="what is to be signed")
    parser.add_argument("--to", metavar="FILE", type=Path, help="instead of FILE.approval")
    parser.add_argument("--reject", metavar="TEXT", help="keep it out, and why")
    parser.add_argument("--yes", action="store_true", help="sign without asking")
    add_signing_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.approving import read_request, write_approval_file

    if not arguments.yes and not at_terminal(session.output):
        raise RefusedError(
            "nobody is there to look at what is to be signed",
            remedy="run it on a terminal, or say --yes if somebody has looked",
        )
    asked = read_request(arguments.file)
    show_asked(session, asked)
    what = "Keep it out?" if arguments.reject is not None else "Let it in?"
    if not arguments.yes and not confirm(session, what):
        raise RefusedError("nothing was signed", remedy="run it again when you have decided")
    to = arguments.to or arguments.file.with_name(arguments.file.name + ".approval")
    write_approval_file(to, signed(arguments, session, asked, arguments.reject))
    if session.output.json:
        session.output.record({"file": str(to.absolute()), "commit": asked.commit})
        return 0
    session.output.line(str(to.absolute()))
    return 0
