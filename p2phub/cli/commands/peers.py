"""Who the node is connected to. While no node runs, nobody."""

import argparse

from p2phub.cli.output import Column
from p2phub.cli.session import Session

_COLUMNS = (
    Column("peer", "peer_id"),
    Column("addresses", "addresses"),
    Column("agent", "agent"),
    Column("direct", "direct"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    answer = session.answer(calls.peers())
    if answer is None:
        session.output.say("no node runs here; start one with `p2phub node`")
        return 0
    session.output.table(answer["peers"], _COLUMNS)
    return 0
