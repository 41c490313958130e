"""What is known about a release: who signed it, what its card says, how much of it is here."""

import argparse
from typing import Any

from p2phub.cli.output import moment, size
from p2phub.cli.session import Session
from p2phub.cli.trusting import domain_of

_NAMES = {
    "ref": "ref",
    "commit": "commit",
    "digest": "digest",
    "publisher_id": "publisher id",
    "publisher_name": "calls itself",
    "domain": "domain",
    "kind": "kind",
    "verdict": "verdict",
    "created": "created",
    "message": "message",
    "files": "files",
    "bytes": "size",
    "here": "on this disk",
    "path": "folder",
    "task": "task",
    "license": "license",
    "library": "library",
    "languages": "language",
    "tags": "tag",
    "base": "made from",
    "refs": "known ref",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision] or p2p://…")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls
    from p2phub.node.values import as_json

    answer = session.answer(calls.info(arguments.reference))
    if answer is None:
        with session.offline() as offline:
            answer = as_json(offline.info(arguments.reference))
    session.output.pairs(answer if session.output.json else _readable(answer), _NAMES)
    return 0


def _readable(answer: Any) -> dict[str, Any]:
    created = moment(answer["created"])
    refs = [f"{each['name']} {each['commit']}" for each in answer["refs"]]
    said = {"domain": domain_of(answer), "created": created}
    return {**answer, **said, "bytes": size(answer["bytes"]), "refs": refs}
