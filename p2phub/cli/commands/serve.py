"""Load models and answer requests to them until Ctrl-C.

What is not on this disk is fetched and verified first. The models answer at the OpenAI API of the
node that runs, or of one that is started for this; any program that speaks it can ask them. After
Ctrl-C they are unloaded. An adapter brings the release that it was made for, and several of one
base share its memory; with --adapter they are loaded together with the base that is named.
"""

import argparse
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from p2phub.cli.models import Row, load, summary
from p2phub.cli.session import Session
from p2phub.errors import P2PHubError, UsageError

if TYPE_CHECKING:
    from p2phub.client.connection import Connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "references", metavar="REF", nargs="+", help="[publisher/]name[@revision][:variant]"
    )
    parser.add_argument(
        "--adapter",
        metavar="REF",
        action="append",
        default=[],
        help="an adapter to put on REF, for which it must have been made; may be given several"
        " times",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.adapter and len(arguments.references) > 1:
        raise UsageError(
            "--adapter is for one base, and there are several",
            remedy="name the adapters themselves: each brings its base",
        )
    with session.node() as node:
        rows: list[Row] = []
        try:
            for reference in arguments.references:
                row = load(session, node, reference, keep=True, adapters=arguments.adapter)
                new = [row, *(_on(node, row) if arguments.adapter else [])]
                rows += new
                for each in new:
                    session.output.say(summary(each))
            with _until_asked_to_end():
                _tell(session, node, rows)
                while True:
                    signal.pause()
        finally:
            _unload(node, rows)
    return 0


def _on(node: "Connection", base: Row) -> list[Row]:
    """The adapters of a model."""
    from p2phub.client import calls

    loaded = node.answer(calls.loaded())["models"]
    return [row for row in loaded if row.get("base_release") == base["release"]]


def _tell(session: Session, node: "Connection", rows: Sequence[Row]) -> None:
    url = f"{node.node.url}/v1"
    if session.output.json:
        session.output.record({"event": "ready", "url": url, "models": list(rows)})
        return
    session.output.line(f"answering at {url} until Ctrl-C; for example:")
    for row in rows:
        session.output.line(example(url, row))


def example(url: str, row: Row) -> str:
    """A request to a model, for a shell.

    >>> example("http://127.0.0.1:8642/v1", {"id": "lab/x", "task": "feature-extraction"})
    'curl http://127.0.0.1:8642/v1/embeddings --json \\'{"model": "lab/x", "input": "Hello"}\\''
    """
    import json

    path, body = "chat/completions", dict[str, Any](model=row["id"])
    if row["task"] == "text-generation":
        body["messages"] = [{"role": "user", "content": "Hello"}]
    else:
        path, body["input"] = "embeddings", "Hello"
    return f"curl {url}/{path} --json {shlex.quote(json.dumps(body))}"


@contextmanager
def _until_asked_to_end() -> Iterator[None]:
    """Ctrl-C, and a signal that asks this process to end, end the block and nothing else."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _unload(node: "Connection", rows: Sequence[Row]) -> None:
    from p2phub.client import calls

    gone = {row["release"] for row in rows}
    for row in (row for row in rows if row.get("base_release") not in gone):
        with suppress(P2PHubError):  # the node may be gone, and the model with it
            node.answer(calls.unload(row["id"]))
