"""The number and the digest of the last line of the log: 64 digits that stand for all of it.

Write them down where nobody who has this machine can change them, and give them to `p2phub audit
verify --head` later.
"""

import argparse

from p2phub.cli.session import Session, as_objects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.auditing import log_head

    (found,) = as_objects([log_head(session.config(), session.home)])
    if session.output.json:
        session.output.record(found)
        return 0
    session.output.line(f"{found['seq']}:{found['digest']}")
    return 0
