"""What this site has and wants, signed by its node: a few KB, for the channel back.

The other side gives it to `p2phub bundle export --since` or `p2phub swap --inventory`, and so puts
on the medium only what is lacked here. Without an option it is printed as text, which can be mailed
or typed off; --to writes a file; --qr shows QR codes, which a telephone reads as text (several, in
any order, for a site with many releases).
"""

import argparse
from pathlib import Path
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.session import Session
from p2phub.errors import RefusedError, UnsupportedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FILE", type=Path, help="write it there, as text")
    parser.add_argument("--qr", action="store_true", help="show it as QR codes")
    parser.add_argument("--name", metavar="TEXT", help="what this site calls itself")
    parser.add_argument(
        "--want",
        metavar="REPO",
        action="append",
        default=[],
        help="[publisher/]name of a repo it asks for; without one it asks for whatever there is",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        made = node.answer(calls.inventory(arguments.want, arguments.name))
    output = session.output
    if arguments.to is not None:
        _write(arguments.to, made["text"])
    if output.json:
        output.record(made)
    elif arguments.qr:
        _show(made, session)
    elif arguments.to is None:
        for line in made["text"].splitlines():
            output.line(line)
    output.say(f"{made['releases']} releases, {size(made['bytes'])}, signed by {made['site']}")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}", remedy="name another file"
        ) from None


def _show(made: Any, session: Session) -> None:
    import segno

    if not made["codes"]:
        raise UnsupportedError(
            f"{size(made['bytes'])} are too many for QR codes", remedy="use --to FILE, or the text"
        )
    for number, code in enumerate(made["codes"], 1):
        session.output.line(f"code {number} of {len(made['codes'])}")
        for row in _drawn(segno.make_qr(code, error="l").matrix_iter(border=2)):
            session.output.line(row)


def _drawn(matrix: Any) -> list[str]:
    """A code for a terminal: two rows of it in one line, dark on light.

    >>> _drawn([[0, 1], [1, 1], [0, 0]])
    ['▀ ', '██']
    """
    rows = [list(map(bool, row)) for row in matrix]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    marks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return [
        "".join(marks[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
