"""Take over a change that was made elsewhere: roots, a delegation, or notices in a file.

The file comes from `p2phub key export`, or from somebody who prepared a change and had it signed.
It is public; only what your publisher's keys have signed is taken.
"""

import argparse
from pathlib import Path

from p2phub.cli.identity import hand_over, read_parcel, tell
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file with the documents")


def run(arguments: argparse.Namespace, session: Session) -> int:
    tell(session, hand_over(session, read_parcel(arguments.file)))
    return 0
