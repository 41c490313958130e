"""Turn texts into vectors with a model; one that is not on this disk is fetched and verified first.

Each vector is printed as one line of numbers, in the order of the texts. Without a text, each line
of standard input is one.
"""

import argparse
import sys
from typing import Any

from p2phub.cli.models import load
from p2phub.cli.session import Session
from p2phub.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision][:variant]")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="a text; standard input if none")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client.chat import EMBEDDINGS, PURPOSES, pedigree, vectors_from

    texts = arguments.texts or _from_input()
    with session.node() as node:
        row = load(session, node, arguments.reference, task=PURPOSES[EMBEDDINGS])
        body: dict[str, Any] = {"model": row["id"], "input": texts, "encoding_format": "base64"}
        answer, headers = node.ask(EMBEDDINGS, body)
    for text, vector in zip(texts, vectors_from(answer), strict=True):
        if session.output.json:
            told = {"text": text, "embedding": vector, "model": row["id"]}
            session.output.record(told | pedigree(headers))
        else:
            session.output.line(" ".join(f"{number:.7g}" for number in vector))
    return 0


def _from_input() -> list[str]:
    if sys.stdin.isatty():
        raise UsageError("there is no text to embed", remedy="Write `p2phub embed REF TEXT…`.")
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise UsageError("standard input has no text to embed")
    return texts
