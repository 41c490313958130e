"""Take over a change that was made elsewhere: roots, a delegation, or notices in a file.

The file comes from `p2phub key export`, or from somebody who prepared a change and had it signed.
It is public; only what your publisher's keys have signed is taken.
"""

import argparse
from pathlib import Path

from p2phub.cli.identity import hand_over, read_parcel, tell
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="the file with the documents, or copies that several people have signed",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.trust.parcels import merged

    tell(session, hand_over(session, merged(read_parcel(path) for path in arguments.files)))
    return 0
