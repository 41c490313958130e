"""Let a release key publish in your name, or change its limits.

PUBKEY is what `p2phub key new` printed on the machine that is to publish. Needs the root. A key
that expires can sign until then, and what it signed before stays signed. With --threshold, so many
release keys must sign a release before it counts.
"""

import argparse

from p2phub.cli.identity import add_change_options, change, moment_of, public_key
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="PUBKEY", help="the public half, 64 hex digits")
    parser.add_argument("--repos", metavar="A,B", help="the only repos it may write")
    parser.add_argument("--expires", metavar="WHEN", help="90d, 12h, 2w, 1y or a date")
    parser.add_argument(
        "--threshold", type=int, metavar="N", help="release keys that must sign a release"
    )
    add_change_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.formats.publisher import ReleaseKey
    from p2phub.node import changing

    public = public_key(arguments.key)
    repos = tuple(filter(None, (arguments.repos or "").split(",")))
    return change(
        arguments,
        session,
        lambda desk, secret: changing.allow(
            desk,
            secret,
            ReleaseKey(
                public, repos, moment_of(arguments.expires, desk.now()) if arguments.expires else 0
            ),
            arguments.threshold,
        ),
    )
