"""Let a release key publish no more, without saying that it was stolen.

PUBKEY may be the first 8 or more hex digits. Releases that need its signature are signed by the key
of this machine as well; if it is that key, a new one is made. Needs the root. For a key that was
stolen, use `p2phub key revoke --key`.
"""

import argparse

from p2phub.cli.identity import add_change_options, change
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="PUBKEY", help="the public half, or how it begins")
    parser.add_argument(
        "--threshold", type=int, metavar="N", help="release keys that must sign a release"
    )
    add_change_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node import changing

    return change(
        arguments,
        session,
        lambda desk, secret: changing.remove(desk, secret, arguments.key, arguments.threshold),
    )
