"""Write the public documents of a publisher to a file: who it is, and what it took back.

Nothing secret is in it. It lets another machine join without a network, and helpers prepare a
recovery.
"""

import argparse
from pathlib import Path

from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file, NAME.p2phub")
    parser.add_argument(
        "--publisher", metavar="ID", help="an alias or a publisher id; your own without it"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.desk import open_desk
    from p2phub.node.parcel_files import write_parcel_file
    from p2phub.node.publics import public_documents

    with open_desk(session.config(), session.home, read_only=True) as desk:
        publisher, parcel = public_documents(desk, arguments.publisher)
    write_parcel_file(arguments.file, parcel)
    made = {
        "publisher_id": str(publisher),
        "file": str(arguments.file),
        "documents": len(parcel.documents),
    }
    session.output.pairs(made, {"publisher_id": "publisher id", "file": "file"})
    return 0
