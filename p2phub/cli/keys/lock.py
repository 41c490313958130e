"""Keep the root on this machine, locked with a new passphrase.

For the first time (then the recovery phrase is asked for), instead of another passphrase, or around
the plain root key that an older p2phub left.
"""

import argparse
from pathlib import Path

from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_new_passphrase,
    ask_root,
)
from p2phub.cli.session import Session
from p2phub.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--new-passphrase-file",
        metavar="FILE",
        type=Path,
        help="the passphrase from now on, one line in a file that only you can read",
    )
    add_phrase_file(parser, "read the recovery phrase there")
    add_passphrase_file(parser, "that the root is locked with now")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.backups import own_secrets

    with own_secrets(session.config(), session.home) as own:
        newest = own.newest_root()
        root = ask_root(
            session, own.keyring, arguments.passphrase_file, arguments.phrase_file, newest
        )
        own.require_own(root)
        passphrase = ask_new_passphrase(session, arguments.new_passphrase_file)
        if passphrase is None:
            raise UsageError(
                "the root is locked with a passphrase, and none was typed",
                remedy="run the command again; the recovery phrase needs no lock on this machine",
            )
        publisher = own.lock(root, passphrase)
    if session.output.json:
        session.output.record({"publisher_id": str(publisher), "root_kept": True})
    session.output.say("The root is kept on this machine, locked with that passphrase.")
    return 0
