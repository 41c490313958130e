"""A new master secret, handed to its owner as a recovery phrase: before anything depends on it.

On a terminal the words are shown once and must be confirmed; elsewhere they go to a new file.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from p2phub.cli.secrets import at_terminal, confirm, show_phrase
from p2phub.cli.session import Session
from p2phub.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from p2phub.trust.secrets import Master


def add_new_phrase_file(parser: argparse.ArgumentParser) -> None:
    """The option `--new-phrase-file`, as `arguments.new_phrase_file`."""
    parser.add_argument(
        "--new-phrase-file",
        metavar="FILE",
        type=Path,
        help="write the new recovery phrase there instead of showing it",
    )


def new_master(session: Session, file: Path | None) -> "Master":
    """A new master, whose phrase its owner has. Raises `RefusedError`, `UsageError`."""
    import secrets

    from p2phub.node.backups import write_phrase
    from p2phub.store.disk import Disk
    from p2phub.trust.hidden import SecretBytes, SecretText
    from p2phub.trust.keys import SEED_SIZE
    from p2phub.trust.secrets import Master

    master = Master(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    if file is not None:
        write_phrase(Disk(), file, SecretText(master.phrase()))
        session.output.say(f"The new recovery phrase is in {file}. Move it to a safe place.")
        return master
    if not at_terminal(session.output):
        raise RefusedError(
            "a new recovery phrase is made, and there is no terminal to show it on",
            remedy="give --new-phrase-file FILE",
        )
    show_phrase(session, master.phrase())
    session.output.say("Write these 24 words on paper now. They are shown this once.")
    if not confirm(session, "Did you write all of them down?"):
        raise UsageError(
            "nothing was changed: the new recovery phrase was not written down",
            remedy="run the command again with paper and pen; you get another phrase",
        )
    return master
