"""Let this machine publish for a publisher that lets its key in.

First `p2phub key new release` here, then `p2phub key allow PUBKEY` where the root is. The papers of
the publisher are looked for in the network; with no network, take the file that `p2phub key
export` wrote there and run `p2phub key adopt FILE` here.
"""

import argparse

from p2phub.cli.identity import tell
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("publisher_id", metavar="PUBLISHER_ID", help="in full, 52 characters")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls
    from p2phub.formats.ids import PublisherId

    PublisherId.parse(arguments.publisher_id)
    with session.node() as node:
        tell(session, dict(node.answer(calls.identity_join(arguments.publisher_id))))
    return 0
