"""What the node is doing: peers, repos, bytes, transfers and rates.

While no node runs, it tells what is on this disk.
"""

import argparse
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.session import Session, as_objects

_NAMES = {
    "running": "running",
    "peers": "peers",
    "repos": "repos",
    "bytes": "held",
    "transfers": "transfers",
    "up_rate": "up",
    "down_rate": "down",
    "up_limit": "up limit",
    "down_limit": "down limit",
    "up_limit_per_peer": "up limit, each peer",
    "down_limit_per_peer": "down limit, each source",
    "announce_lag": "announce lag",
    "data_address": "data address",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    answer = session.answer(calls.status())
    told = {"running": True, **answer} if answer is not None else _at_rest(session)
    if session.output.json:
        session.output.record(told)
        return 0
    told |= {"running": "yes" if told["running"] else "no"}
    told |= {"bytes": size(told["bytes"]), "announce_lag": f"{told['announce_lag']:.0f} s"}
    told |= {key: f"{size(told[key])}/s" for key in ("up_rate", "down_rate")}
    limits = [key for key in _NAMES if "limit" in key]
    told |= {key: f"{size(told[key])}/s" if told.get(key) else None for key in limits}
    session.output.pairs(told, _NAMES)
    return 0


def _at_rest(session: Session) -> dict[str, Any]:
    """The same keys for a node that does not run."""
    with session.offline() as offline:
        rows = as_objects(offline.ls(None))
    held = {
        "repos": len({row["ref"].rpartition("@")[0] for row in rows}),
        "bytes": sum(row["bytes_here"] for row in rows),
    }
    still = {"transfers": 0, "up_rate": 0.0, "down_rate": 0.0, "announce_lag": 0.0}
    return {"running": False, "peers": 0, **held, **still}
