"""Make this machine's identity: a publisher, a node, settings and a store.

Run it once. You get a recovery phrase of 24 words, which is the publisher itself: every root key
comes from it. On a terminal it is shown once and never again; elsewhere it is written to a file.
A backup file has the release key, sealed so that only the phrase opens it. Keep the two in two safe
places away from this machine. With a passphrase the root is kept here as well, locked; without one
this machine can publish, and only the phrase can change who may.

--recovery names keys of people you trust, or of your own in other places (`p2phub key new` makes
them): enough of them together can replace a root that was lost or stolen.

--holder names people who hold the root together, so that nobody alone can change who publishes:
there is no phrase here then, each has a share (`p2phub key holder`). What they are to sign is
written to the file of --prepare.

--restore FILE makes this machine the publisher of that backup again, with its phrase. If the backup
is lost, give the file that `p2phub key export FILE --publisher ID` writes on any machine that knows
the publisher.

Running it again changes nothing and tells the ids.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.holders import add_holder_options, begin, require_holders
from p2phub.cli.identity import add_prepare, public_key
from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_new_passphrase,
    ask_phrase,
    at_terminal,
    confirm,
    show_phrase,
)
from p2phub.cli.session import Session
from p2phub.errors import P2PHubError, UsageError
from p2phub.trust.hidden import SecretText

if TYPE_CHECKING:
    from p2phub.formats.publisher import KeySet
    from p2phub.node.initialise import Initialised
    from p2phub.store.keyring import Keyring

_NAMES = {"publisher_id": "publisher id", "peer_id": "peer id", "alias": "alias"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="ALIAS", help="a short name for your own publisher")
    parser.add_argument(
        "--backup",
        metavar="FILE",
        type=Path,
        help="where to write the backup of the keys (p2phub-backup.json in the home folder)",
    )
    add_phrase_file(
        parser,
        "write the recovery phrase there instead of showing it (without a terminal: beside the"
        " backup); with --restore: read it from there",
    )
    add_passphrase_file(parser, "that locks the root on this machine")
    parser.add_argument(
        "--recovery",
        metavar="PUBKEY",
        action="append",
        default=[],
        help="a key that can help to replace a lost root, 64 hex digits; can be given 5 times",
    )
    parser.add_argument(
        "--recovery-threshold",
        metavar="M",
        type=int,
        help="how many of the recovery keys it takes (more than half of them)",
    )
    add_holder_options(parser)
    add_prepare(parser)
    parser.add_argument(
        "--restore", metavar="FILE", type=Path, help="be the publisher of this backup again"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.values import as_json

    if require_holders(arguments, ("--restore", "--backup", "--phrase-file", "--passphrase-file")):
        return begin(arguments, session, _recovery(arguments))
    made = _restore(arguments, session) if arguments.restore else _make(arguments, session)
    told = as_json(made)
    session.output.pairs(told, _NAMES)
    _tell(session, told, restored=arguments.restore is not None)
    return 0


def _make(arguments: argparse.Namespace, session: Session) -> "Initialised":
    from p2phub.node.initialise import Wishes, initialise

    shown = at_terminal(session.output) and arguments.phrase_file is None
    recovery = _recovery(arguments)
    passphrase = None
    if arguments.passphrase_file is not None:
        passphrase = ask_new_passphrase(session, arguments.passphrase_file)

    def tell(phrase: SecretText) -> SecretText | None:
        _hand_over(session, phrase)
        if passphrase is not None:
            return passphrase
        session.output.say(
            "With a passphrase the root is kept on this machine, locked. Leave it empty to keep it"
            " on paper only."
        )
        return ask_new_passphrase(session, None)

    wishes = Wishes(
        recovery=recovery,
        phrase_file=arguments.phrase_file,
        passphrase=passphrase,
        tell=tell if shown else None,
    )
    return initialise(
        session.config(),
        session.home,
        arguments.name,
        arguments.backup,
        int(time.time()),
        wishes,
    )


def _recovery(arguments: argparse.Namespace) -> "KeySet | None":
    from p2phub.trust.changes import recovery_set

    return recovery_set(map(public_key, arguments.recovery), arguments.recovery_threshold)


def _hand_over(session: Session, phrase: SecretText) -> None:
    show_phrase(session, phrase)
    session.output.say(
        "Write these 24 words on paper now. They are shown this once. Whoever has them is this"
        " publisher; without them a lost or stolen key can never be replaced."
    )
    if not confirm(session, "Did you write all of them down?"):
        raise UsageError(
            "nothing was made: the recovery phrase was not written down",
            remedy="run `p2phub init` again with paper and pen; you get another phrase",
        )


def _restore(arguments: argparse.Namespace, session: Session) -> "Initialised":
    from p2phub.node.restore import restore

    if arguments.backup or arguments.recovery or arguments.recovery_threshold is not None:
        raise UsageError(
            "--restore takes neither --backup nor --recovery",
            remedy="restore first; `p2phub key` changes the publisher afterwards",
        )

    def passphrase() -> SecretText | None:
        if arguments.passphrase_file is None and not at_terminal(session.output):
            return None
        return ask_new_passphrase(session, arguments.passphrase_file)

    return restore(
        session.config(),
        session.home,
        arguments.restore,
        lambda: ask_phrase(session, arguments.phrase_file),
        passphrase,
        arguments.name,
        int(time.time()),
    )


def _tell(session: Session, made: Mapping[str, Any], *, restored: bool) -> None:
    output = session.output
    if restored:
        output.say(
            "The keys are back. Connect to peers that know this publisher before you publish"
            " anything: what it said last is not in a backup, and comes from them."
        )
        _tell_of_a_lost_key(session)
    elif made["backup"] is None:
        output.say("This machine had an identity already; nothing was changed.")
        _warn_of_a_plain_root(session)
    elif made["phrase_file"] is not None:
        output.say(f"The keys are backed up in {made['backup']}.")
        output.say(f"The recovery phrase that opens the backup is in {made['phrase_file']}.")
        output.say(
            "Move these two files away from this machine now, to two safe places: whoever has both"
            " is this publisher, and the phrase alone can replace a lost or stolen key."
        )
    else:
        output.say(f"The keys are backed up in {made['backup']}; the recovery phrase opens it.")
        output.say("Move that file away from this machine, to another place than the phrase.")
    if made["created"] and not made["root_kept"]:
        output.say(
            "The root is not kept on this machine: commands that need it ask for the phrase."
        )


def _tell_of_a_lost_key(session: Session) -> None:
    from p2phub.node.initialise import RELEASE

    if not any(name.split("-")[0] == RELEASE for name in _keyring(session).names()):
        session.output.say(
            "No release key came back, so nothing can be published here yet: `p2phub key new"
            " release` makes one, and `p2phub key allow PUBKEY` lets it in."
        )


def _keyring(session: Session) -> "Keyring":
    from p2phub.store.keyring import Keyring
    from p2phub.store.layout import Layout

    return Keyring(Layout.of(session.home))


def _warn_of_a_plain_root(session: Session) -> None:
    from p2phub.store.keyring import ROOT

    keyring = _keyring(session)
    try:
        plain = ROOT in keyring.names() and not keyring.is_locked(ROOT)
    except P2PHubError as error:
        session.output.warn(error)
        return
    if plain:
        session.output.warn(
            f"{keyring.path(ROOT)} is not locked: whoever can read this disk can take the"
            " publisher. Run `p2phub key lock`."
        )
