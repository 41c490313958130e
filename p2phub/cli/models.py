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
    session: Session,
    node: "Connection",
    reference: str,
    *,
    keep: bool = False,
    adapters: Sequence[str] = (),
    task: str | None = None,
) -> Mapping[str, Any]:
    """Bring and load a model in the node, with adapters on it, telling how it goes; its line of
    `ps`. A model that is not for `task` is refused before that.

    Raises what a pull raises, `UnsupportedError`, `NoMemoryError`, `EngineError`, and `UsageError`
    for an adapter that was made for another release.
    """
    from p2phub.client import calls

    call = calls.load_model(reference, keep=keep, adapters=adapters, task=task)
    return follow(node.events(call), session.output, f"loading {reference}")


def summary(row: Row) -> str:
    """A loaded model in one line; of an adapter, on what it runs.

    >>> summary({"id": "lab/x", "verdict": "verified", "engine": "transformers", "device": "cpu",
    ...     "dtype": "bfloat16", "release": "ab" * 32, "load_seconds": 1.25})
    'lab/x abababababab verified: transformers on cpu, bfloat16, loaded in 1.2 s'
    """
    if row.get("base"):
        base = f"{row['base']} {row['base_release'][:12]}"
        return f"{row['id']} {row['release'][:12]} {row['verdict']}: an adapter on {base}"
    how = f"{row['engine']} on {row['device']}"
    parts = [how, kind(row), kernels(row)]
    seconds = f"loaded in {row['load_seconds']:.1f} s" if row["load_seconds"] else ""
    name = " ".join(filter(None, [row["id"], row["release"][:12], row["verdict"]]))
    return f"{name}: {', '.join(filter(None, [*parts, seconds]))}"


def kind(row: Row) -> str:
    """The type that a model computes in, and that of its weights if it is another.

    >>> kind({"dtype": "bfloat16", "quantization": "int8"}), kind({"dtype": "float32"})
    ('bfloat16, int8 weights', 'float32')
    """
    smaller = row.get("quantization", "")
    weights = f"{smaller} weights" if smaller and smaller != row["dtype"] else ""
    return ", ".join(filter(None, [row["dtype"], weights]))


def kernels(row: Row) -> str:
    """What a model runs with.

    >>> kernels({"attention": "sdpa", "threads": 2, "compiled": True})
    'sdpa, 2 threads, compiled'
    >>> kernels({"attention": "flash_attention_2", "threads": 0}), kernels({"threads": 1})
    ('flash_attention_2', '1 thread')
    >>> kernels({"compiled": True, "compile_seconds": 3.21}), kernels({"not_compiled": "no g++"})
    ('compiled in 3.2 s', 'not compiled: no g++')
    """
    count = row.get("threads", 0)
    threads = f"{count} thread{'s' if count > 1 else ''}" if count else ""
    compiled = "compiled" if row.get("compiled") else ""
    if compiled and row.get("compile_seconds"):
        compiled += f" in {row['compile_seconds']:.1f} s"
    if row.get("not_compiled"):
        compiled = f"not compiled: {row['not_compiled']}"
    return ", ".join(filter(None, [row.get("attention", ""), threads, compiled]))


@contextmanager
def answer(
    node: "Connection", model: str, messages: Sequence[Row], options: Row
) -> Iterator[tuple[Mapping[str, str], Iterator[str]]]:
    """The pedigree of an answer, and its text piece by piece. The end of the block ends it."""
    from p2phub.client.chat import CHAT, chat_body, pedigree, piece_of

    body = chat_body(model, messages, stream=True, options=options)
    with node.asking(CHAT, body) as (headers, lines):
        yield pedigree(headers), filter(None, map(piece_of, lines))
