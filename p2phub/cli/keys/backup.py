"""Write a fresh backup file: the keys and documents of today, which the recovery phrase opens.

Where the root is kept on this machine, its passphrase is asked for and the phrase is shown, on a
terminal only; elsewhere the phrase is asked for. --phrase-file FILE reads the phrase from that
file, or writes it there if there is none.
"""

import argparse
import time
from pathlib import Path

from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_root,
    at_terminal,
    show_phrase,
)
from p2phub.cli.session import Session
from p2phub.errors import RefusedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        help="where to write the backup (a new file with today's date in the home folder)",
    )
    add_phrase_file(parser, "read the recovery phrase there; if there is no such file, write it")
    add_passphrase_file(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.backups import new_backup_path, own_secrets
    from p2phub.node.values import as_json

    now = int(time.time())
    path = (arguments.file or new_backup_path(session.home, now)).absolute()
    _require_new(path)
    words: Path | None = arguments.phrase_file
    known = words if words is not None and words.exists() else None
    with own_secrets(session.config(), session.home) as own:
        newest = own.newest_root()
        root = ask_root(session, own.keyring, arguments.passphrase_file, known, newest)
        own.require_own(root)
        if words is not None and known is None:
            own.write_phrase(root, words)
        made = as_json(own.back_up(root, path, now))
        kept = own.root_is_kept()
    made["phrase_file"] = None if words is None else str(words.absolute())
    session.output.pairs(made, {"backup": "backup", "keys": "key in it"})
    if words is None and kept and root.master is not None:
        _show(session, root.master.phrase())
    return 0


def _require_new(path: Path) -> None:
    if path.exists():
        raise RefusedError(
            f"{path} exists and is never overwritten", remedy="give another name with --file"
        )


def _show(session: Session, phrase: str) -> None:
    if at_terminal(session.output):
        show_phrase(session, phrase)
        session.output.say("Whoever has these words is this publisher. Keep them on paper only.")
    else:
        session.output.say(
            "The recovery phrase is shown on a terminal only; --phrase-file FILE writes it."
        )
