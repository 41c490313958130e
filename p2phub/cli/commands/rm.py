"""Drop a release from this disk. Files that another release shares stay."""

import argparse

from p2phub.cli.output import size
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision] or p2p://…")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        removed = node.answer(calls.remove(arguments.reference))
    if session.output.json:
        session.output.record(removed)
    else:
        session.output.line(f"{removed['ref']} is gone; {size(removed['bytes_freed'])} are free")
    return 0
