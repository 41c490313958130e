"""`p2phub key backup` and `p2phub key lock`: the secrets that a publisher's owner keeps.

*backup* writes a fresh backup file with the release keys and documents of today. Where the root is
kept on this machine, it asks for its passphrase and shows the recovery phrase, on a terminal only;
elsewhere the phrase is asked for. --phrase-file FILE reads the phrase from that file, or writes it
there if there is none.

*lock* keeps the root on this machine, locked with a new passphrase: for the first time, instead of
another passphrase, or around the plain root key of an older p2phub.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_new_passphrase,
    ask_root,
    at_terminal,
    show_phrase,
)
from p2phub.cli.session import Session
from p2phub.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from p2phub.node.backups import OwnSecrets
    from p2phub.trust.secrets import RootSecret


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        help="where to write the backup (a new file with today's date in the home folder)",
    )
    add_phrase_file(parser, "read the recovery phrase there; if there is no such file, write it")
    add_passphrase_file(parser)


def add_lock_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--new-passphrase-file",
        metavar="FILE",
        type=Path,
        help="the passphrase from now on, one line in a file that only you can read",
    )
    add_phrase_file(parser, "read the recovery phrase there")
    add_passphrase_file(parser, "that the root is locked with now")


def back_up(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.backups import own_secrets
    from p2phub.node.values import as_json

    now = int(time.time())
    path = _backup_path(arguments.file, session.home, now)
    words: Path | None = arguments.phrase_file
    known = words if words is not None and words.exists() else None
    with own_secrets(session.config(), session.home) as own:
        own.require_publisher()
        root = _root(arguments, session, own, known)
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


def lock(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.backups import own_secrets

    with own_secrets(session.config(), session.home) as own:
        own.require_publisher()
        root = _root(arguments, session, own, arguments.phrase_file)
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


def _backup_path(asked: Path | None, home: Path, now: int) -> Path:
    day = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    path = (asked or home / f"p2phub-backup-{day}.json").absolute()
    if path.exists():
        raise RefusedError(
            f"{path} exists and is never overwritten", remedy="give another name with --file"
        )
    return path


def _root(
    arguments: argparse.Namespace, session: Session, own: "OwnSecrets", words: Path | None
) -> "RootSecret":
    return ask_root(session, own.keyring, arguments.passphrase_file, words)


def _show(session: Session, phrase: str) -> None:
    if at_terminal(session.output):
        show_phrase(session, phrase)
        session.output.say("Whoever has these words is this publisher. Keep them on paper only.")
    else:
        session.output.say(
            "The recovery phrase is shown on a terminal only; --phrase-file FILE writes it."
        )
