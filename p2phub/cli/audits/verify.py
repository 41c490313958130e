"""Look through the whole log: the chain of digests, every signature, and where it ends.

Ends with exit code 4, and names the line, if one was removed, changed, moved or is torn, or if the
file is an older one than the store knows. --head takes what `p2phub audit head` printed once: a log
that was written anew since, with the key of the node, does not hold that line any more.
"""

import argparse
from typing import Any

from p2phub.cli.session import Session, as_objects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--head", metavar="SEQ:DIGEST", default="", help="a line that was written down elsewhere"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.auditing import check_log

    found: dict[str, Any]
    (found,) = as_objects([check_log(session.config(), session.home, arguments.head)])
    status = 0 if found["ok"] else 4
    if session.output.json:
        session.output.record(found)
        return status
    for note in found["notes"]:
        session.output.warn(note)
    for problem in found["problems"]:
        session.output.line(f"line {problem['line']}: {problem['reason']}")
    if found["ok"]:
        session.output.line(f"{found['lines']} lines, whole; the last is {_end(found)}")
    else:
        session.output.say(f"{found['path']} is not as this node left it")
    return status


def _end(found: dict[str, Any]) -> str:
    return f"{found['seq']}:{found['digest']}" if found["lines"] else "none"
