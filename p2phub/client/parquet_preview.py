"""The first rows of a Parquet file of a release: a program of its own, for who must not be harmed.

    python -m p2phub.client.parquet_preview URL p2p://lab/set@main/rows.parquet ROWS < TOKEN

It prints one JSON object, `columns` and `rows`, and ends with 0; with 3 where pyarrow or fsspec are
not installed, else with 1 and what happened. A Parquet file is a stranger's bytes in a library
written in C++: whatever they do to it, they do to this process, which has little memory and time.
Only the footer and the pages that hold the rows are fetched.
"""

import base64
import json
import resource
import sys
from datetime import date, datetime, time
from math import isfinite
from typing import Any, Final

MEMORY: Final = 4 << 30
"""Bytes of address space."""
SECONDS: Final = 20
"""Of the processor."""
MAX_ANSWER: Final = 4 << 20
"""Characters of an answer."""
BATCH: Final = 64
"""Rows that are decoded at once."""
NOT_INSTALLED: Final = 3


def main(arguments: list[str]) -> int:
    """Print the rows; the exit code."""
    url, path, most = arguments[0], arguments[1], int(arguments[2])
    token = sys.stdin.readline().strip()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        import pyarrow.parquet as parquet

        from p2phub.client.filesystem import P2PFileSystem
    except ImportError as error:
        print(error.name, file=sys.stderr)
        return NOT_INSTALLED
    try:
        with P2PFileSystem(url=url, token=token).open(path, "rb") as file:
            told = first_rows(parquet.ParquetFile(file), most)
    except (OSError, ValueError, MemoryError) as error:  # pyarrow's own errors are these
        print(error, file=sys.stderr)
        return 1
    print(told)
    return 0


def first_rows(table: Any, most: int) -> str:
    """The rows as JSON, fewer if they are large."""
    rows: list[Any] = []
    names = [str(name) for name in table.schema_arrow.names]
    for batch in table.iter_batches(batch_size=min(BATCH, most)):
        rows += batch.to_pylist()
        if len(rows) >= most:
            break
    rows = rows[:most]
    while True:
        partial = len(rows) < table.metadata.num_rows
        told = {"columns": names, "rows": plain(rows), "partial": partial}
        text = json.dumps(told)
        if len(text) <= MAX_ANSWER or not rows:
            return text
        rows = rows[: len(rows) // 2]


def plain(value: object) -> Any:
    """A value as JSON has it: what JSON has no word for is text, or null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value[:10_000]).decode()
        case _:
            return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
