"""What waits to be let in, or was rejected: since when, from where, what the checks found and why,
and who has signed for it.
"""

import argparse

from p2phub.cli.approving import show
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import quarantine_calls

    with session.node() as node:
        rows = node.answer(quarantine_calls.waiting())["quarantined"]
    for row in rows:
        show(session, row)
    if not rows:
        session.output.say("nothing waits")
    return 0
