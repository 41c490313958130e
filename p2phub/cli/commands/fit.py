"""Tell how much memory a model needs on this machine, before any weights are fetched.

Only the headers of its files are read. Where a repo has several variants, all are listed, and the
one is marked that `serve` would take: one that is on this disk, else the largest that fits into
what models may take here in all. REF:VARIANT asks for one of them. The exit code is 1 if none fits.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from p2phub.cli.output import Column, size
from p2phub.cli.session import Session

VARIANTS = (
    Column("variant", "name"),
    Column("type", "dtype"),
    Column("memory", "bytes_needed", bytes=True),
    Column("fits", "fits"),
    Column("here", "here"),
    Column("chosen", "chosen"),
)
TOO_LARGE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision][:variant]")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        report = node.answer(calls.fit(arguments.reference))
    needed = needed_by(report)
    fits = needed + report["loading_bytes"] <= report["available_bytes"]
    if session.output.json:
        session.output.record({**report, "bytes_needed": needed, "fits": fits})
        return 0 if fits else TOO_LARGE
    for line in _lines(report, needed, fits=fits):
        session.output.line(line)
    if len(report["variants"]) > 1:
        session.output.table(list(report["variants"]), VARIANTS)
    if fits and needed > report["free_bytes"] > 0:
        session.output.say(
            f"only {size(report['free_bytes'])} are free just now: unload a model, or end what"
            " takes the memory"
        )
    return 0 if fits else TOO_LARGE


def needed_by(report: Mapping[str, Any]) -> int:
    """Bytes of weights, cache and all the rest."""
    return int(report["weight_bytes"] + report["cache_bytes"] + report["other_bytes"])


def _lines(report: Mapping[str, Any], needed: int, *, fits: bool) -> list[str]:
    verdict = "fits" if fits else "does not fit"
    chosen = f" ({report['chosen']})" if report["chosen"] else ""
    tokens = f" for {report['context']} tokens" if report["cache_bytes"] else ""
    loading = report["loading_bytes"]
    more = [f"loading  {size(loading)} more, until its weights are smaller"] if loading else []
    return [
        f"{report['ref']}{chosen} {verdict} on {report['device']}: {size(needed)} of"
        f" {size(report['available_bytes'])} that models may take",
        f"weights  {size(report['weight_bytes'])} {report['dtype']}",
        f"cache    {size(report['cache_bytes'])}{tokens} in {report['slots']} requests at once",
        f"rest     {size(report['other_bytes'])}",
        *more,
    ]
