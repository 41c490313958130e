"""The SQL of the store: loaded from `sql/`, each statement known by `<file>.<name>`.

No other module holds SQL. `sql/schema/` is what an empty store is made of;
`sql/migrations/NN-*.sql` is the way there from every older version, and the highest NN is the
version of the schema (`user_version`). `sql/queries/*.sql` are the statements, each under a line
`-- name: <name>`.

>>> query("index.begin")
'BEGIN IMMEDIATE;'
>>> [number for number, text in migrations()][:1]
[1]
"""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: ([a-z0-9_]+)\n", re.MULTILINE)


def query(name: str) -> str:
    """The statement called `name`; an unknown name is a `KeyError`."""
    return _queries()[name]


@cache
def schema() -> str:
    """What makes an empty store, all of it."""
    return "\n".join(text for _, text in _texts("schema"))


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Every step from version NN - 1 to NN, in order."""
    return tuple((int(name.partition("-")[0]), text) for name, text in _texts("migrations"))


def version() -> int:
    """The schema version that this code reads and writes."""
    return migrations()[-1][0]


@cache
def _queries() -> dict[str, str]:
    found = {}
    for name, text in _texts("queries"):
        parts = _NAME.split(text)[1:]
        for statement, body in zip(parts[::2], parts[1::2], strict=True):
            found[f"{name.removesuffix('.sql')}.{statement}"] = body.strip()
    return found


def _texts(folder: str) -> list[tuple[str, str]]:
    place: Traversable = files("p2phub.store").joinpath("sql").joinpath(folder)
    found = [item for item in place.iterdir() if item.name.endswith(".sql")]
    return sorted((item.name, item.read_text(encoding="utf-8")) for item in found)
