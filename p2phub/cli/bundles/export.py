"""Put releases that are on this disk into a bundle, with all that the other side needs to judge
them.

What is on the medium already is not written again: name the same folder for the next export. All
that was written is read back from the medium. One that is pulled out early claims nothing that it
does not hold, and the same command goes on from the last whole pack.

With --since only what another site lacks goes along: `p2phub bundle inventory` makes its inventory
there. What does not fit on one medium is split over several: on a terminal you are asked for the
next one, elsewhere the answer says how many parts there are, and --part N writes one of them, with
the same --size-limit. They are imported one after another, in any order.

A PATH that ends in .tar is one file, for a diode or a disc: an archive that any tar unpacks to the
same folder. It is made anew, and gets its name when all of it is there.

With --recipient, or --since and --seal, all of it is sealed (age, age-encryption.org): only those
it is for can open it, and this node. Who finds the medium sees how much there is, and no names.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.progress import follow
from p2phub.cli.secrets import at_terminal
from p2phub.cli.session import Session
from p2phub.kinds import read_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "references",
        metavar="REF",
        nargs="*",
        help="[publisher/]name[@revision] or p2p://…; none with --since: whatever is lacked there",
    )
    parser.add_argument(
        "--to", metavar="PATH", type=Path, required=True, help="a folder on the medium, or FILE.tar"
    )
    parser.add_argument(
        "--since", metavar="FILE", type=Path, help="the inventory of the site that it is for"
    )
    parser.add_argument(
        "--size-limit",
        metavar="SIZE",
        type=read_size,
        help="what one medium takes, such as 64G (what is free there)",
    )
    parser.add_argument("--part", metavar="N", type=int, default=1, help="which of the media (1)")
    parser.add_argument(
        "--recipient",
        metavar="KEY",
        action="append",
        default=[],
        help="age1…: seal it to this key, which `p2phub id` shows on the other side; repeatable",
    )
    parser.add_argument("--seal", action="store_true", help="seal it to the site of --since")


def run(arguments: argparse.Namespace, session: Session) -> int:
    part, limit = arguments.part, arguments.size_limit
    while True:
        done = _export(arguments, session, part, limit)
        if done["part"] >= done["parts"]:
            return 0
        part, limit = part + 1, done["size_limit"]
        if not _next_medium(arguments, session, done):
            return 0


def _export(
    arguments: argparse.Namespace, session: Session, part: int, limit: int | None
) -> dict[str, Any]:
    from p2phub.client import calls

    call = calls.bundle_export(
        arguments.references,
        arguments.to,
        since=arguments.since,
        size_limit=limit,
        part=part,
        recipients=arguments.recipient,
        seal=arguments.seal,
    )
    with session.node() as node:
        done = dict(follow(node.events(call), session.output, "exporting"))
    if session.output.json:
        session.output.record(done)
        return done
    for row in done["releases"]:
        there = "the other side has it" if row["outcome"] == "there" else row["verdict"]
        session.output.line(f"{row['ref']} {there}")
    which = f", part {done['part']} of {done['parts']}" if done["parts"] > 1 else ""
    session.output.say(
        f"{size(done['bytes_written'])} written and read back{which}; the rest was there already"
    )
    return done


def _next_medium(arguments: argparse.Namespace, session: Session, done: dict[str, Any]) -> bool:
    """Whether the next medium is in; who cannot be asked is told what to type."""
    output = session.output
    if arguments.to.suffix == ".tar" or output.quiet or not at_terminal(output):
        words = ["p2phub", "bundle", "export", *arguments.references, "--to", "PATH"]
        words += ["--since", str(arguments.since)] if arguments.since else []
        words += [word for key in arguments.recipient for word in ("--recipient", key)]
        words += ["--seal"] if arguments.seal else []
        words += ["--size-limit", str(done["size_limit"]), "--part", str(done["part"] + 1)]
        output.say(f"the next one: {shlex.join(words)}")
        return False
    question = f"Put the next medium at {arguments.to}, and press Enter (Ctrl-C ends). "
    print(question, end="", file=output.err, flush=True)
    return bool(sys.stdin.readline())
