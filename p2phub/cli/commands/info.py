"""What is known about a release: who signed it, what its card says, how much of it is here."""

import argparse
from collections.abc import Mapping
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
    "lineage": "made from",
    "base": "base on card",
    "copy_of": "copy of",
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
    lineage = [made_from(each) for each in answer.get("lineage", ())]
    said = {"domain": domain_of(answer), "created": created, "lineage": lineage}
    return {**answer, **said, "bytes": size(answer["bytes"]), "refs": refs}


def made_from(made: Mapping[str, Any]) -> str:
    """A base of a release in one line.

    >>> made_from({"relation": "adapter", "ref": "lab/x@main", "release": "ab" * 32,
    ...     "upstream": None, "revision": None})[:30]
    'lab/x@main (adapter), release '
    """
    if made["release"] is None:
        at = f"@{made['revision']}" if made["revision"] else ""
        return f"{made['upstream']}{at} ({made['relation']}), of another hub"
    return f"{made['ref'] or 'unknown here'} ({made['relation']}), release {made['release']}"
