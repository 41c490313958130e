"""The first rows of a table in text: CSV, TSV and lines of JSON, from the beginning of a file.

A stranger's file: what is read of it is bounded, and what is no table is said to be none. A row
that the beginning cuts off is left out.

>>> preview("rows.csv", b"n,word\\n1,one\\n2,tw", whole=False, most=10)
Preview(columns=('n', 'word'), rows=({'n': '1', 'word': 'one'},), partial=True)
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import MalformedError, UnsupportedError

HEAD: Final = 1 << 20
"""Bytes of a file that are looked at."""
MAX_COLUMNS: Final = 1000
MAX_CELL: Final = 10_000
"""Characters of one value that are shown."""
_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
_LINES: Final = (".jsonl", ".ndjson")
TEXTS: Final = (*_SEPARATORS, *_LINES)
PARQUET: Final = ".parquet"


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a table."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    partial: bool
    """Whether the file has more."""


def ending(name: str) -> str:
    """The kind of table that a file of this name is; empty if it is none.

    >>> ending("data/A.CSV"), ending("model.safetensors")
    ('.csv', '')
    """
    return next((each for each in (*TEXTS, PARQUET) if name.lower().endswith(each)), "")


def preview(name: str, head: bytes, *, whole: bool, most: int) -> Preview:
    """At most `most` rows of a file that begins with `head`; `whole`: that is all of it.

    Raises `UnsupportedError` for a file that is no such table by its name, `MalformedError` for
    one that is none by its bytes.
    """
    kind = ending(name)
    if kind in _SEPARATORS:
        found = _separated(head, whole, _SEPARATORS[kind])
    elif kind in _LINES:
        found = _objects(head, whole)
    else:
        raise UnsupportedError(
            f"{name} is no table of the kinds {', '.join(TEXTS)}", remedy="name another file"
        )
    rows: list[dict[str, Any]] = []
    for row in found:
        if len(rows) == most:
            return Preview(_columns(rows), tuple(rows), partial=True)
        rows.append(row)
    return Preview(_columns(rows), tuple(rows), partial=not whole)


def _text(head: bytes, whole: bool) -> str:
    """The lines that are complete."""
    cut = len(head) if whole else head.rfind(b"\n") + 1
    return head[:cut].decode("utf-8-sig", errors="replace")


def _separated(head: bytes, whole: bool, separator: str) -> Iterator[dict[str, Any]]:
    text = _text(head, whole)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=False)
    try:
        names = next(lines, [])
        _check_columns(names)
        before = lines.line_num
        for cells in lines:
            if not whole and lines.line_num - before > 1 and lines.line_num >= text.count("\n"):
                return  # a value in quotes that goes on behind the beginning
            before = lines.line_num
            if cells:
                yield {name: _short(cell) for name, cell in zip(names, cells, strict=False)}
    except csv.Error as error:
        raise MalformedError(f"this is no table: {error}") from None


def _objects(head: bytes, whole: bool) -> Iterator[dict[str, Any]]:
    for line in _text(head, whole).splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise MalformedError("a line of this file is not JSON") from None
        if not isinstance(row, dict):
            raise MalformedError("a line of this file is no JSON object")
        _check_columns(list(row))
        yield {_short(name): _short(value) for name, value in row.items()}


def _check_columns(names: Sequence[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise MalformedError(f"a table of {len(names)} columns; {MAX_COLUMNS} is the most")


def _short(value: Any) -> Any:
    """A value as it is shown: a long text is cut, a large structure becomes its text."""
    if isinstance(value, dict | list):
        told = json.dumps(value, ensure_ascii=False)
        return value if len(told) <= MAX_CELL else told[:MAX_CELL]
    return value[:MAX_CELL] if isinstance(value, str) else value


def _columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))
