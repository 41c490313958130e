"""Make this machine's identity: a publisher, a node, settings and a store.

Run it once. The root key, a release key and the node's own key are kept under keys/ in the home
folder; a backup file holds them too, and with them the only copy of the next root key. Move that
file to a safe place away from this machine. Running it again changes nothing and tells the ids.
"""

import argparse
import time
from pathlib import Path

from p2phub.cli.output import Output
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="ALIAS", help="a short name for your own publisher")
    parser.add_argument(
        "--backup",
        metavar="FILE",
        type=Path,
        help="where to write the backup of the keys (p2phub-backup.json in the home folder)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.initialise import initialise
    from p2phub.node.values import as_json

    made = as_json(
        initialise(
            session.config(), session.home, arguments.name, arguments.backup, int(time.time())
        )
    )
    names = {"publisher_id": "publisher id", "peer_id": "peer id", "alias": "alias"}
    session.output.pairs(made, names)
    if made["backup"] is not None:
        _tell_backup(session.output, str(made["backup"]))
    elif not made["created"]:
        session.output.say("This machine had an identity already; nothing was changed.")
    return 0


def _tell_backup(output: Output, path: str) -> None:
    output.say(f"The keys are backed up in {path}.")
    output.say(
        "Move that file away from this machine now: it is the only copy of the key that can"
        " replace a stolen one, and whoever has it can publish as you."
    )
