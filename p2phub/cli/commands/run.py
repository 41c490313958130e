"""Ask a model: once, or in a conversation.

With a prompt, or with text on standard input, one answer is printed. Otherwise a conversation
begins: Ctrl-C stops an answer; Ctrl-D, /bye or Ctrl-C twice leaves; /clear forgets what was said so
far; three quotation marks begin and end a question of several lines. A model that is not on this
disk is fetched and verified first.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from p2phub.cli.conversation import Conversation, converse
from p2phub.cli.models import Row, load, summary
from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.client.connection import Connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision][:variant]")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to ask")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told beforehand")
    parser.add_argument("--max-tokens", metavar="N", type=int, help="new tokens at most")
    parser.add_argument("--temperature", metavar="T", type=float, help="0: the likeliest token")
    parser.add_argument("--seed", metavar="N", type=int, help="the same seed, the same answer")


def run(arguments: argparse.Namespace, session: Session) -> int:
    prompt = arguments.prompt
    if not sys.stdin.isatty():
        piped = sys.stdin.read()
        prompt = "\n\n".join(filter(None, [prompt, piped.strip()]))
        if not prompt:
            raise UsageError("there is nothing to ask", remedy="Write `p2phub run REF PROMPT`.")
    options: dict[str, Any] = {
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
    }
    with session.node() as node:
        row = _load(session, node, arguments.reference)
        session.output.say(summary(row))
        talk = Conversation(session.output, node, row["id"], options, arguments.system)
        if prompt:
            talk.ask(prompt)
        else:
            converse(talk, lambda: _require_loaded(session, node, arguments.reference, row["id"]))
    return 0


def _load(session: Session, node: "Connection", reference: str) -> Row:
    from p2phub.client.chat import CHAT, PURPOSES

    return load(session, node, reference, task=PURPOSES[CHAT])


def _require_loaded(session: Session, node: "Connection", reference: str, model: str) -> None:
    """Bring a model into memory again, if it was unloaded while nobody asked."""
    from p2phub.client import calls

    if model not in {row["id"] for row in node.answer(calls.loaded())["models"]}:
        _load(session, node, reference)
