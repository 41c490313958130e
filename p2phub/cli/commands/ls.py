"""The repos on this disk; with a reference, the files of that release."""

import argparse

from p2phub.cli.output import Column
from p2phub.cli.session import Session, as_objects

_REPOS = (
    Column("repo", "ref"),
    Column("commit", "commit"),
    Column("kind", "kind"),
    Column("here", "here"),
    Column("files", "files"),
    Column("size", "bytes", bytes=True),
    Column("verdict", "verdict"),
)
_FILES = (
    Column("file", "path"),
    Column("size", "size", bytes=True),
    Column("here", "here"),
    Column("sha256", "sha256"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference", metavar="REF", nargs="?", help="list the files of this release"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    reference: str | None = arguments.reference
    answer = session.answer(calls.repos() if reference is None else calls.files(reference))
    if answer is None:
        with session.offline() as offline:
            rows = as_objects(offline.ls(reference))
    else:
        rows = answer["repos" if reference is None else "files"]
    session.output.table(rows, _REPOS if reference is None else _FILES)
    return 0
