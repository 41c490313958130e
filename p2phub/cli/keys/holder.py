"""Hold a share of a root that several people sign together.

Writes FILE, which is public: it names you when a publisher is made (`p2phub init --holder FILE …`)
or given to several people (`p2phub key rotate --holder FILE …`), and everybody who signs for that
root checks by it. Tell the others its fingerprint by another way than the file took.

Your share is a recovery phrase of 24 words, shown once on a terminal; --new-phrase-file writes it
instead, --phrase-file takes words that you have already. With a passphrase the share is kept on
this machine too, locked. Hold shares of several publishers under several names.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from p2phub.cli.handover import add_new_phrase_file, new_master
from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_new_passphrase,
    ask_passphrase,
    ask_phrase,
    at_terminal,
)
from p2phub.cli.session import Session

if TYPE_CHECKING:
    from p2phub.store.keyring import Keyring
    from p2phub.trust.hidden import SecretText
    from p2phub.trust.secrets import Master

NAME = "holder"
"""What a share is called where nobody says otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file, such as ann.holder")
    parser.add_argument(
        "--name", metavar="NAME", default=NAME, help=f"what the share is called here ({NAME})"
    )
    add_new_phrase_file(parser)
    add_phrase_file(parser, "read the words of your share there")
    add_passphrase_file(parser, "that locks the share on this machine")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.holders import require_free, write_holder_file
    from p2phub.node.offline import layout_of
    from p2phub.node.parcel_files import require_new
    from p2phub.store.keyring import Keyring
    from p2phub.trust.holders import Holder, check_name

    check_name(arguments.file.stem)
    require_new(arguments.file)
    keyring = Keyring(layout_of(session.config(), session.home))
    require_free(keyring, arguments.name)
    master, lock = _master(arguments, session, keyring)
    holder = Holder.of(arguments.file.stem, master)
    if lock is not None:
        keyring.save_locked(arguments.name, master.secret, lock)
    write_holder_file(arguments.file, holder)
    made = {
        "name": holder.name,
        "file": str(arguments.file),
        "fingerprint": holder.fingerprint,
        "kept": arguments.name in keyring.names(),
    }
    session.output.pairs(made, {"name": "name", "file": "file", "fingerprint": "fingerprint"})
    if not made["kept"]:
        session.output.say(
            "The share is not kept on this machine: `p2phub key sign --phrase-file` takes the words"
        )
    return 0


def _master(
    arguments: argparse.Namespace, session: Session, keyring: "Keyring"
) -> "tuple[Master, SecretText | None]":
    """The share, and the passphrase to keep it with; None where it is kept already or not to be."""
    from p2phub.node.holders import kept_holder
    from p2phub.trust.secrets import Master

    name = arguments.name
    kept = kept_holder(
        keyring,
        name,
        lambda: ask_passphrase(session, arguments.passphrase_file, what=f"the key {name}"),
    )
    if kept is not None:
        return kept, None
    if arguments.phrase_file is not None:
        master = Master.from_phrase(ask_phrase(session, arguments.phrase_file))
    else:
        master = new_master(session, arguments.new_phrase_file)
    if arguments.passphrase_file is None and not at_terminal(session.output):
        return master, None
    return master, ask_new_passphrase(session, arguments.passphrase_file, what="the share")
