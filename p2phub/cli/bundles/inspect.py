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
        "path", metavar="PATH", type=Path, help="the folder that the export was told"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.unbundling import inspect_bundle
    from p2phub.node.values import as_json

    found: dict[str, Any] = as_json(inspect_bundle(arguments.path))
    if session.output.json:
        session.output.record(found)
        return 0
    session.output.table(found["releases"], _COLUMNS)
    for problem in found["problems"]:
        session.output.warn(f"{problem['file']} counts for nothing: {problem['reason']}")
    if found["made"] is None:
        session.output.warn("no export to it was finished")
    else:
        session.output.say(f"{size(found['bytes'])}, made {age(time.time() - found['made'])} ago")
    return 0
