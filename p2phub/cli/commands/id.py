"""Who this node is: its peer id, its publisher id, and where peers reach it while it runs.

`--set-name` and `--domain` sign what its publisher says of itself; others see it as its own word,
and the domain with what it says (`p2phub trust proof` prints what it has to say). An empty text
takes it away again.
"""

import argparse
from typing import Any

from p2phub.cli.session import Session

_NAMES = {
    "peer_id": "peer id",
    "publisher_id": "publisher id",
    "alias": "alias",
    "name": "calls itself",
    "domain": "domain",
    "recipient": "bundles are sealed to",
    "addresses": "address",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set-name", metavar="TEXT", help="what the publisher calls itself")
    parser.add_argument("--domain", metavar="DOMAIN", help="its domain, such as example.org")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls
    from p2phub.node.values import as_json

    if arguments.set_name is not None or arguments.domain is not None:
        with session.node() as node:
            node.answer(calls.profile(arguments.set_name, arguments.domain))
            answer: Any = node.answer(calls.identity())
    else:
        answer = session.answer(calls.identity())
    if answer is None:
        with session.offline() as offline:
            answer = as_json(offline.identity)
    session.output.pairs(answer, _NAMES)
    if not answer["publisher_id"]:
        session.output.say("no publisher yet; make one with `p2phub init`")
    return 0
