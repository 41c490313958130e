"""Show the models that are in memory: what each takes, how it runs, and how long it stays.

An adapter stands below the model that it is on, which has the memory and the requests of both.
Without a running node nothing is.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from p2phub.cli.models import kernels, kind
from p2phub.cli.output import Column
from p2phub.cli.session import Session

COLUMNS = (
    Column("model", "id"),
    Column("verdict", "verdict"),
    Column("engine", "engine"),
    Column("device", "device"),
    Column("type", "type"),
    Column("runs with", "kernels"),
    Column("weights", "weight_bytes", bytes=True),
    Column("cache", "cache_bytes", bytes=True),
    Column("in all", "memory_bytes", bytes=True),
    Column("busy", "load"),
    Column("stays", "stays"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none of its own."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    answer = session.answer(calls.loaded())
    rows = list(answer["models"]) if answer is not None else []
    if answer is None:
        session.output.say("no node runs here: `p2phub serve REF` starts one")
    shown = rows if session.output.json else [_shown(row) for row in rows]
    session.output.table(shown, COLUMNS)
    return 0


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people read it."""
    row = {**row, "type": kind(row), "kernels": kernels(row)}
    if row.get("base"):
        stays_on = f"an adapter on {row['base']}"
        return {**row, "cache_bytes": None, "memory_bytes": None, "load": "", "stays": stays_on}
    load = f"{row['busy']} of {row['slots']}"
    waiting = f", {row['waiting']} wait" if row["waiting"] else ""
    return {**row, "load": load + waiting, "stays": stays(row["keep_seconds"])}


def stays(seconds: float | None) -> str:
    """How long a model stays in memory.

    >>> stays(None), stays(90)
    ('until unloaded', '90 s after the last request')
    """
    return "until unloaded" if seconds is None else f"{seconds:g} s after the last request"
