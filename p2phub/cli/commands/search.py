"""Search the local catalog: what this node has heard of. No network is used."""

import argparse

from p2phub.cli.output import Column
from p2phub.cli.session import Session, as_objects

_COLUMNS = (
    Column("repo", "ref"),
    Column("task", "task"),
    Column("library", "library"),
    Column("license", "license"),
    Column("size", "bytes", bytes=True),
    Column("verdict", "verdict"),
)
_FILTERS = ("task", "library", "license", "language", "publisher", "max_size", "max_params")
_HOW = ("kind", "tags", "sort", "limit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", nargs="*", help="words to find; none lists all")
    for name in ("task", "library", "license", "language"):
        parser.add_argument(f"--{name}", help=f"only repos whose card says this {name}")
    parser.add_argument("--publisher", metavar="ID", help="an alias or a publisher id")
    parser.add_argument("--max-size", metavar="SIZE", type=_bytes, help='such as "500 MB" or "4G"')
    parser.add_argument(
        "--max-params",
        metavar="N",
        type=_parameters,
        help='such as "500M" or "7B"; leaves out what does not say how many it has',
    )
    parser.add_argument(
        "--kind", choices=("model", "dataset", "space"), help="only repos of this kind"
    )
    parser.add_argument(
        "--tag", dest="tags", metavar="TAG", action="append", help="only repos with it; repeatable"
    )
    parser.add_argument(
        "--sort", choices=("relevance", "name", "size", "updated"), help="the order of the hits"
    )
    parser.add_argument("--limit", metavar="N", type=_count, help="at most so many hits (50)")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls
    from p2phub.node.values import SearchQuery

    given = {key: getattr(arguments, key) for key in (*_FILTERS, *_HOW)}
    filters = {key: value for key, value in given.items() if value is not None}
    text = " ".join(arguments.text)
    answer = session.answer(calls.search(text, **filters))
    if answer is None:
        with session.offline() as offline:
            filters["tags"] = tuple(filters.get("tags", ()))
            hits = as_objects(offline.search(SearchQuery(text=text, **filters)))
    else:
        hits = answer["hits"]
    session.output.table(hits, _COLUMNS)
    if not hits:
        session.output.say("nothing found in the local catalog")
    return 0


def _parameters(text: str) -> int:
    from p2phub.kinds import read_amount

    try:
        return read_amount(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bytes(text: str) -> int:
    from p2phub.kinds import read_size

    try:
        return read_size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no size such as "500 MB"') from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number from 1 to 10000')
    return int(text)
