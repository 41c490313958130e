"""Tokens for other programs and machines: make one, list them, take one back.

`token` makes one and prints it, this once. `--scope` is what it may do: read (the default) asks
models and reads repos, as anybody on this machine may without a token; write also pulls, commits
and uploads in the name of this node's publisher; admin does everything, and may name folders of
this machine. `token ls` tells which there are, `token rm NAME` takes one back. A node that runs
obeys from the next request on.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

from p2phub.cli.output import Column, moment
from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.gateway.tokens import MadeToken, Tokens

_COLUMNS = (Column("name", "name"), Column("scope", "scope"), Column("made", "made"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "p2phub token [options] [--scope read|write|admin] [--name NAME] | ls | rm NAME"
    parser.add_argument("words", metavar="ls | rm NAME", nargs="*", help="without: make one")
    parser.add_argument("--scope", choices=("read", "write", "admin"), help="what it may do (read)")
    parser.add_argument("--name", metavar="NAME", help="what it is called in the list")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.gateway.tokens import Tokens

    words: list[str] = arguments.words
    if words and (arguments.scope or arguments.name):
        raise UsageError(
            f"--scope and --name belong to a new token, not to `token {words[0]}`",
            remedy="Write `p2phub token`, `p2phub token ls` or `p2phub token rm NAME`.",
        )
    if not session.home.is_dir():
        raise UsageError(
            f"there is no node in {session.home}",
            remedy="Run `p2phub init`, or name it: --home DIR.",
        )
    tokens = Tokens(session.home / "run" / "tokens")
    match words:
        case []:
            _make(arguments, session, tokens)
        case ["ls"]:
            session.output.table([_row(each, session) for each in tokens.every()], _COLUMNS)
        case ["rm", name]:
            gone = tokens.remove(name)
            session.output.pairs(_row(gone, session), {"name": "removed"})
        case _:
            raise UsageError(
                f"`p2phub token {' '.join(words)}` means nothing",
                remedy="Write `p2phub token`, `p2phub token ls` or `p2phub token rm NAME`.",
            )
    return 0


def _make(arguments: argparse.Namespace, session: Session, tokens: "Tokens") -> None:
    made, token = tokens.make(arguments.scope or "read", arguments.name, int(time.time()))
    session.output.say(f"the token {made.name}, which is shown this once:")
    if session.output.json:
        session.output.record(_row(made, session) | {"token": token})
    else:
        session.output.line(token)


def _row(token: "MadeToken", session: Session) -> dict[str, Any]:
    row: dict[str, Any] = {"name": token.name, "scope": token.scope, "created": token.created}
    return row if session.output.json else row | {"made": moment(token.created)}
