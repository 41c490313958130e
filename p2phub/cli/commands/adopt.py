"""Use the files of a Hugging Face cache, and give them out, from where they lie.

Every file is read and compared with what its name says of it first; what does not match is named
and left alone. Nothing is copied or changed: a file that changes or goes later is not used any
more. A release with the same files then fetches nothing, and whoever asks this node for a file by
its SHA-256 gets it. So leave private and gated repos out: --exclude 'my-lab/*'; --forget takes
back what should have been left out.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.progress import follow
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cache",
        metavar="CACHE_DIR",
        type=Path,
        nargs="?",
        help="by default the one that huggingface_hub uses",
    )
    parser.add_argument(
        "--include",
        metavar="GLOB",
        action="append",
        default=[],
        help="only these repos (org/name, without the kind)",
    )
    parser.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="but not these"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="read and compare, use nothing")
    what.add_argument(
        "--forget",
        action="store_true",
        help="use these files no more, unless a release on this disk needs them",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.adopt(
        arguments.cache,
        include=arguments.include,
        exclude=arguments.exclude,
        dry_run=arguments.dry_run,
        forget=arguments.forget,
    )
    with session.node() as node:
        done = follow(node.events(call), session.output, "adopting")
    if session.output.json:
        session.output.record(done)
        return 0
    if arguments.forget:
        session.output.line(f"{done['forgotten']} of {done['files']} files are used no more")
    else:
        session.output.line(_summary(done))
    return 0


def _summary(done: Mapping[str, Any]) -> str:
    verb = "would be adopted" if done["dry_run"] else "adopted"
    left = len(done["left_alone"])
    return (
        f"{done['adopted']} files {verb} ({size(done['bytes_adopted'])}), {done['known']} known"
        f" already, {left} left alone, of {done['files']} in {done['repos']} repos"
    )
