"""Take what is on a stick, and put on it what the other sites that it visits lack.

Each site that the stick visits runs this. It leaves a signed inventory there, so that who comes
next knows what it lacks, and signed receipts for what came. What no site on the stick lacks any
more is taken off again. After the round everybody has the union, and nothing was carried that was
there already. The first site of a new stick knows of nobody: `--to-anybody` gives everything.

With --seal only those sites can open what is given (age); their inventories stay readable.

Everything on the stick is checked as `p2phub bundle import` checks it, and the exit code is that of
the first refusal. What does not fit is told, and goes along next time.
"""

import argparse
from pathlib import Path
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.progress import follow
from p2phub.cli.session import Session
from p2phub.kinds import read_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="a folder on the stick")
    parser.add_argument("--name", metavar="TEXT", help="what this site calls itself to the others")
    parser.add_argument(
        "--want",
        metavar="REPO",
        action="append",
        default=[],
        help="[publisher/]name of a repo to take and to ask for, and no other",
    )
    parser.add_argument(
        "--inventory",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="what another site has, which came another way",
    )
    parser.add_argument(
        "--size-limit", metavar="SIZE", type=read_size, help="what may be added to the stick"
    )
    parser.add_argument(
        "--to-anybody", action="store_true", help="give all that is here, whoever comes next"
    )
    parser.add_argument(
        "--seal", action="store_true", help="seal what is given to the sites that it is for"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.swap(
        arguments.path,
        wants=arguments.want,
        name=arguments.name,
        inventories=arguments.inventory,
        size_limit=arguments.size_limit,
        to_anybody=arguments.to_anybody,
        seal=arguments.seal,
    )
    with session.node() as node:
        done: Any = follow(node.events(call), session.output, "swapping")
    status: int = done["exit"]
    if session.output.json:
        session.output.record(done)
        return status
    for row in done["came"]:
        session.output.line(f"{row['ref']} {row['outcome']}: {row['reason'] or row['verdict']}")
    for row in (*done["gave"], *done["left"]):
        whom = ", ".join(row["sites"])
        what = "is on the stick for" if row["outcome"] == "given" else "does not fit, for"
        session.output.line(f"{row['ref']} {what} {whom}")
    _sum_up(done, session)
    return status


def _sum_up(done: Any, session: Session) -> None:
    say = session.output.say
    say(
        f"{size(done['bytes_fetched'])} came, {size(done['bytes_written'])} put on the stick,"
        f" {size(done['bytes_dropped'])} taken off it;"
        f" receipts: {done['receipts_left']} signed, {done['receipts_taken']} got"
    )
    if not done["sites"] and not done["gave"]:
        say(
            "no other site has been here: take the stick there, run `p2phub swap` there, and come"
            " back; or give everything now with --to-anybody"
        )
