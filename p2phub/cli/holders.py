"""Roots of several holders on the command line: `init --holder` and `key rotate --holder`."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.formats.publisher import KeySet
    from p2phub.node.rotating import Step
    from p2phub.trust.holders import Holder
    from p2phub.trust.keys import SigningKey
    from p2phub.trust.papers import Papers


def add_holder_options(parser: argparse.ArgumentParser) -> None:
    """Who holds the root from now on."""
    parser.add_argument(
        "--holder",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="somebody who holds the root with others, up to 5: what `p2phub key holder` wrote",
    )
    parser.add_argument(
        "--root-threshold",
        metavar="M",
        type=int,
        help="how many of them must sign what the root says (more than half of them)",
    )


def require_holders(arguments: argparse.Namespace, unfit: tuple[str, ...]) -> bool:
    """Whether several are to hold the root. Raises `UsageError` for options that do not fit."""
    if not arguments.holder:
        if arguments.prepare is not None or arguments.root_threshold is not None:
            raise UsageError(
                "--prepare and --root-threshold belong to --holder",
                remedy="give --holder FILE for each who is to hold the root",
            )
        return False
    for option in unfit:
        if getattr(arguments, option.strip("-").replace("-", "_")):
            raise UsageError(f"{option} does not go with --holder", remedy="leave one of them away")
    if arguments.prepare is None:
        raise UsageError(
            "the holders must sign",
            remedy="give --prepare FILE: what they are to sign is written there",
        )
    return True


def read_holders(files: list[Path]) -> "list[Holder]":
    """Those whose files these are."""
    from p2phub.node.holders import read_holder_file

    return [read_holder_file(path) for path in files]


def begin(arguments: argparse.Namespace, session: Session, recovery: "KeySet | None") -> int:
    """`init --holder`: a publisher that several hold from its first root on."""
    from p2phub.node import holders
    from p2phub.node.values import as_json

    made = holders.begin(
        session.config(),
        session.home,
        read_holders(arguments.holder),
        arguments.root_threshold,
        recovery,
        arguments.name,
        arguments.prepare,
        int(time.time()),
    )
    session.output.pairs(
        as_json(made),
        {
            "publisher_id": "publisher id",
            "peer_id": "peer id",
            "alias": "alias",
            "holders": "held by",
            "needed": "signatures needed",
            "file": "file",
        },
    )
    name = made.file.name
    session.output.say(
        f"Nothing counts before {made.needed} holders have signed: let them run `p2phub key sign"
        f" {name}` with --holder and the file of each holder, then run `p2phub key adopt {name}`"
        " here."
    )
    return 0


def next_steps(
    arguments: argparse.Namespace, papers: "Papers", own: "Callable[[], SigningKey]"
) -> "tuple[list[Step], KeySet]":
    """The roots of `key rotate --holder`; `own` gives the key that our own root committed to."""
    from p2phub.node import holders

    new, old = read_holders(arguments.holder), read_holders(arguments.old_holder)
    return holders.next_steps(
        papers, old or new, new, arguments.root_threshold, None if old else own
    )
