"""What a bundle says of itself: its releases, how old it is, and which of its files are not whole.

Nothing is verified, and no node is needed; `p2phub bundle import` checks everything.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from p2phub.cli.output import Column, age, size
from p2phub.cli.session import Session

_COLUMNS = (Column("release", "ref"), Column("kind", "kind"), Column("size", "bytes", bytes=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="the folder or the file that the export was told"
    )
    parser.add_argument(
        "--identity",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a key of age that opens it, besides this node's own",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.sealing import read_identity_file
    from p2phub.node.unbundling import inspect_bundle
    from p2phub.node.values import as_json

    with session.offline() as offline:
        keys = [*offline.age_identities]
    keys += [key for file in arguments.identity for key in read_identity_file(file)]
    found: dict[str, Any] = as_json(inspect_bundle(arguments.path, keys))
    if session.output.json:
        session.output.record(found)
        return 0
    session.output.table(found["releases"], _COLUMNS)
    for problem in found["problems"]:
        session.output.warn(f"{problem['file']} counts for nothing: {problem['reason']}")
    if found["sealed"]:
        session.output.warn("some of it is sealed to keys that are not here, and is not shown")
    if found["made"] is None and not found["sealed"]:
        session.output.warn("no export to it was finished")
    elif found["made"] is not None:
        session.output.say(f"{size(found['bytes'])}, made {age(time.time() - found['made'])} ago")
    return 0
