"""What commands that run models have in common: load one with progress, ask it piece by piece."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from p2phub.cli.progress import follow
from p2phub.cli.session import Session

if TYPE_CHECKING:
    from p2phub.client.connection import Connection

Row = Mapping[str, Any]


def load(
    session: Session, node: "Connection", reference: str, *, keep: bool = False
) -> Mapping[str, Any]:
    """Bring and load a model in the node, telling how it goes; its line of `ps`.

    Raises what a pull raises, `UnsupportedError`, `NoMemoryError`, `EngineError`.
    """
    from p2phub.client import calls

    return follow(
        node.events(calls.load_model(reference, keep=keep)), session.output, f"loading {reference}"
    )


def summary(row: Row) -> str:
    """A loaded model in one line.

    >>> summary({"id": "lab/x", "verdict": "verified", "engine": "transformers", "device": "cpu",
    ...     "dtype": "bfloat16", "release": "ab" * 32, "load_seconds": 1.25})
    'lab/x abababababab verified: transformers on cpu, bfloat16, loaded in 1.2 s'
    """
    how = f"{row['engine']} on {row['device']}, {row['dtype']}"
    seconds = f"loaded in {row['load_seconds']:.1f} s"
    return f"{row['id']} {row['release'][:12]} {row['verdict']}: {how}, {seconds}"


@contextmanager
def answer(
    node: "Connection", model: str, messages: Sequence[Row], options: Row
) -> Iterator[tuple[Mapping[str, str], Iterator[str]]]:
    """The pedigree of an answer, and its text piece by piece. The end of the block ends it."""
    from p2phub.client.chat import CHAT, chat_body, pedigree, piece_of

    body = chat_body(model, messages, stream=True, options=options)
    with node.asking(CHAT, body) as (headers, lines):
        yield pedigree(headers), filter(None, map(piece_of, lines))
