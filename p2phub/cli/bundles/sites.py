"""The sites across an air gap that left an inventory, and the receipts that were signed.

A receipt says that a site has releases, verified, which another had put on a medium. Those that
this site signed are listed with those that are for it.
"""

import argparse
from typing import Any

from p2phub.cli.output import Column, moment
from p2phub.cli.session import Session

_SITES = (
    Column("site", "site"),
    Column("name", "name"),
    Column("releases", "releases"),
    Column("as of", "when"),
)
_RECEIPTS = (
    Column("got by", "site"),
    Column("from", "sender"),
    Column("releases", "count"),
    Column("size", "bytes", bytes=True),
    Column("when", "when"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it takes none


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        found: dict[str, Any] = dict(node.answer(calls.sites()))
    if session.output.json:
        session.output.record(found)
        return 0
    sites = [{**row, "when": moment(row["made"])} for row in found["sites"]]
    session.output.table(sites, _SITES)
    receipts = [
        {**row, "when": moment(row["made"]), "count": len(row["commits"])}
        for row in found["receipts"]
    ]
    if receipts:
        session.output.line("")
        session.output.table(receipts, _RECEIPTS)
    return 0
