"""Who this node is: its peer id, its publisher id, and where peers reach it while it runs."""

import argparse

from p2phub.cli.session import Session

_NAMES = {
    "peer_id": "peer id",
    "publisher_id": "publisher id",
    "alias": "alias",
    "addresses": "address",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls
    from p2phub.node.values import as_json

    answer = session.answer(calls.identity())
    if answer is None:
        with session.offline() as offline:
            answer = as_json(offline.identity)
    session.output.pairs(answer, _NAMES)
    if not answer["publisher_id"]:
        session.output.say("no publisher yet; make one with `p2phub init`")
    return 0
