"""What the command line prints, and where.

Results go to standard output, everything else to standard error. With `--json` standard output has
one JSON object a line and nothing else. People get tables on a terminal; in a pipe they get one
plain line a row, with tabs, and sizes as whole numbers of bytes.

Text that came from strangers (names, messages, tags) is shown without control characters, so that
it cannot steer a terminal.

>>> shown("a\\x1b[2Jb"), size(91_000_000)
('a\\ufffd[2Jb', '91.0 MB')
"""

import json
import os
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from p2phub.errors import P2PHubError

_STEERING = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def shown(text: object) -> str:
    """`text` on one line, without anything that steers a terminal."""
    return "".join(
        "\ufffd" if unicodedata.category(each) in _STEERING else each for each in str(text)
    )


def size(count: float) -> str:
    """A number of bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def moment(seconds: float) -> str:
    """A unix time as people read it.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def age(seconds: float) -> str:
    """How long something is ago, in its largest unit.

    >>> age(59), age(3 * 3600), age(12.5 * 86400), age(-5)
    ('59 seconds', '3 hours', '12 days', '0 seconds')
    """
    left = max(int(seconds), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if left >= length:
            return f"{left // length} {unit}{'s' if left >= 2 * length else ''}"
    return f"{left} second{'' if left == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, the key of its values, and whether they are bytes."""

    heading: str
    key: str
    bytes: bool = False


class Output:
    """Standard output and standard error, as the global options want them."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self._out = out or sys.stdout
        self.err = err or sys.stderr

    @property
    def terminal(self) -> bool:
        """Whether people read the results as they come."""
        return self._out.isatty()

    @property
    def watched(self) -> bool:
        """Whether people watch what is said beside the results, where a line can be drawn again."""
        return self.err.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")

    def record(self, value: Mapping[str, Any]) -> None:
        """One JSON object, at once."""
        print(json.dumps(value, ensure_ascii=False), file=self._out, flush=True)

    def line(self, text: object) -> None:
        """One line of a result, for people."""
        print(shown(text), file=self._out, flush=True)

    def text(self, text: str) -> None:
        """A part of a result that comes bit by bit: lines and tabs stay, nothing is added."""
        plain = "".join(each if each in "\n\t" else shown(each) for each in text)
        print(plain, end="", file=self._out, flush=True)

    def say(self, text: object) -> None:
        """One line beside the results, for people; nothing with `--quiet` or `--json`."""
        if not self.quiet and not self.json:
            print(shown(text), file=self.err, flush=True)

    def warn(self, text: object) -> None:
        """A warning, for people; nothing with `--quiet`."""
        if not self.quiet:
            print(f"warning: {shown(text)}", file=self.err, flush=True)

    def pairs(self, value: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """An object: as JSON whole; for people the keys of `names` that say something."""
        if self.json:
            self.record(value)
            return
        width = max(len(name) for name in names.values())
        for key, name in names.items():
            said = value.get(key)
            many = said if isinstance(said, list | tuple) else [said]
            for each in many:
                if each not in (None, ""):
                    self.line(f"{name:<{width}}  {each}")

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        """Rows: as JSON one object each; a table on a terminal; with tabs in a pipe."""
        if self.json:
            for row in rows:
                self.record(row)
        elif self.terminal:
            self._draw(rows, columns)
        else:
            for row in rows:
                self.line_of([row.get(each.key) for each in columns])

    def line_of(self, cells: Sequence[object]) -> None:
        """One plain row; a tab between cells."""
        print("\t".join(shown(_plain(each)) for each in cells), file=self._out, flush=True)

    def _draw(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for each in columns:
            table.add_column(each.heading, justify="right" if each.bytes else "left")
        for row in rows:
            table.add_row(*(Text(_cell(row.get(each.key), each)) for each in columns))
        Console(file=self._out).print(table)

    def error(self, error: P2PHubError) -> None:
        """What went wrong, and what to do next."""
        if self.json:
            told = {"code": error.code, "exit": error.exit}
            self.record({"error": told | {"message": error.message, "remedy": error.remedy}})
            return
        print(f"error: {shown(error.message)}", file=self.err)
        if error.remedy:
            print(f"hint: {shown(error.remedy)}", file=self.err)
        self.err.flush()


def _cell(value: object, column: Column) -> str:
    if column.bytes and isinstance(value, int):
        return size(value)
    return shown(_plain(value))


def _plain(value: object) -> object:
    """What stands in a table for people and for pipes: never the spelling of Python."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return value
