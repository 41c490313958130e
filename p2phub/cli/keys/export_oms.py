"""Write a public key of model signatures, so that others can check without p2phub.

FILE is PEM, as `model_signing verify key --public_key FILE` wants it. Without --publisher it is the
key of this machine.
"""

import argparse
from pathlib import Path

from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file")
    parser.add_argument(
        "--publisher", metavar="WHO", help="an alias or a publisher id; your own without it"
    )
    parser.add_argument(
        "--key", metavar="HINT", help="how its hint begins, if several keys are certified"
    )
    parser.add_argument(
        "--new", action="store_true", help="make the key of this machine if there is none"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.desk import open_desk
    from p2phub.node.oms_keys import export, write_pem
    from p2phub.trust.model_keys import hint

    with open_desk(session.config(), session.home, read_only=True) as desk:
        found = export(desk, arguments.publisher, arguments.key, make=arguments.new)
    write_pem(arguments.file, found.key)
    if not found.certified:
        session.output.warn(
            "the root has not certified this key yet: run `p2phub key certify-oms --key"
            f" {arguments.file}` where the root is"
        )
    made = {
        "publisher_id": found.publisher_id,
        "file": str(arguments.file),
        "hint": hint(found.key),
        "certified": found.certified,
    }
    session.output.pairs(made, {"publisher_id": "publisher id", "file": "file", "hint": "hint"})
    return 0
