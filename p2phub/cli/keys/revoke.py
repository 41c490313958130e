"""Take back a release key, a release, or every release that has a certain file.

--key: nothing that the key signed after its last good index counts any more; what it signed before
stays good and is signed again by the key of this machine. The last good index is the newest one
here, or the one that --last-good names. --release and --file are refused everywhere from now on.

All of it needs the root, but for --release: where only a release key is here, it takes its own
signature back (a withdrawal), which ends the release unless enough others have signed it.
"""

import argparse
from typing import TYPE_CHECKING, Final

from p2phub.cli.identity import add_change_options, change, hand_over, tell
from p2phub.cli.secrets import at_terminal, confirm
from p2phub.cli.session import Session
from p2phub.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from p2phub.formats.parcel import Parcel
    from p2phub.node.desk import LocalDesk
    from p2phub.trust.secrets import RootSecret

SHOWN: Final = 8
"""Repos of the last good index that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", metavar="ID", help="a release key, or how it begins")
    what.add_argument("--release", metavar="REF", help="a release of yours")
    what.add_argument("--file", metavar="SHA256", help="a file, by its SHA-256 in hex")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for everybody")
    parser.add_argument(
        "--last-good",
        metavar="COMMIT|SEQ",
        help="with --key: the last commit or index that is good, or none",
    )
    parser.add_argument(
        "--withdraw", action="store_true", help="with --release: as the release key, not the root"
    )
    add_change_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node import changing

    if arguments.last_good is not None and arguments.key is None:
        raise UsageError("--last-good belongs to --key", remedy="See `p2phub key revoke --help`.")
    if arguments.withdraw and arguments.release is None:
        raise UsageError("--withdraw belongs to --release", remedy="a key or file needs the root")
    if arguments.withdraw and arguments.prepare is not None:
        raise UsageError("--withdraw needs no root", remedy="leave --prepare away")
    if arguments.key is not None:

        def revoked(desk: "LocalDesk", secret: "RootSecret | None") -> "Parcel":
            _say_what_is_good(arguments, session, desk)
            return changing.revoke_key(
                desk, secret, arguments.key, arguments.reason, arguments.last_good
            )

        return change(arguments, session, revoked)
    if arguments.file is not None:
        return _file(arguments, session)
    return _release(arguments, session)


def _say_what_is_good(arguments: argparse.Namespace, session: Session, desk: "LocalDesk") -> None:
    """Up to where the key is trusted; at a terminal a person must agree, if nobody said so."""
    from p2phub.node import changing
    from p2phub.node.desk import require_own_papers
    from p2phub.trust.verdict import moment

    papers = require_own_papers(desk.store.documents)
    last = changing.last_good_index(desk, papers, arguments.last_good)
    if last is None:
        session.output.say("Nothing that this key ever signed counts as good.")
        return
    names = ", ".join(entry.name for entry in last.entries[:SHOWN])
    more = f" and {len(last.entries) - SHOWN} more" if len(last.entries) > SHOWN else ""
    session.output.say(
        f"All that the key signed up to index {last.index.seq} of {moment(last.index.created)}"
        f" counts as good: {names}{more}. --last-good names an earlier one."
    )
    asked = arguments.last_good is None and at_terminal(session.output)
    if asked and not confirm(session, "Is that index from before the theft?"):
        raise RefusedError(
            "nothing was revoked", remedy="say with --last-good up to where all is good, or none"
        )


def _file(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.formats.digest import from_hexadecimal
    from p2phub.formats.notices import RevokedFile
    from p2phub.node import changing

    digest = from_hexadecimal(arguments.file.lower())
    if digest is None:
        raise UsageError(
            f"{arguments.file[:80]!r} is no SHA-256",
            remedy="give 64 hex digits, as `ls` prints them",
        )
    return change(
        arguments,
        session,
        lambda desk, secret: changing.revoke(desk, secret, RevokedFile(digest), arguments.reason),
    )


def _release(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.formats.notices import RevokedRelease
    from p2phub.node import changing
    from p2phub.node.desk import open_desk
    from p2phub.store.keyring import ROOT

    with open_desk(session.config(), session.home, read_only=True) as desk:
        digest = changing.own_release(desk, arguments.release)
        given = arguments.phrase_file or arguments.prepare
        root_is_here = ROOT in desk.keyring.names() or given is not None
        if arguments.withdraw or not root_is_here:
            parcel = changing.withdraw(desk, digest, arguments.reason)
    if not arguments.withdraw and root_is_here:
        return change(
            arguments,
            session,
            lambda desk, secret: changing.revoke(
                desk, secret, RevokedRelease(digest), arguments.reason
            ),
        )
    if not arguments.withdraw:
        session.output.say(
            "The root is not on this machine: the release key takes its own signature back. To"
            " revoke the release for all keys, give --phrase-file or --prepare."
        )
    tell(session, hand_over(session, parcel))
    return 0
