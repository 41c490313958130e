"""Replace a lost or stolen root, with the help of those who hold the recovery keys.

1. `p2phub key recover --prepare FILE [WHO]`, on any machine that knows the publisher (WHO: an
   alias, a publisher id, or a file that `p2phub key export` wrote): makes a new recovery phrase and
   writes the new root to FILE. If the newest root is a thief's, --after V names the last that is
   not.
2. Each helper runs `p2phub key sign FILE`, one after another or each on a copy of it.
3. `p2phub key recover --finish FILE…` on the machine that is to publish from now on, with the new
   phrase. It gets a release key; those there were stay, unless --stolen says that somebody else had
   the root: then only what --keep names stays.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from p2phub.cli.handover import add_new_phrase_file, new_master
from p2phub.cli.identity import hand_over, keep_of, read_parcel, tell
from p2phub.cli.keys.rotate import add_recovery_options, ask_what_to_keep, back_up, recovery_of
from p2phub.cli.secrets import (
    add_passphrase_file,
    add_phrase_file,
    ask_new_passphrase,
    ask_phrase,
    at_terminal,
)
from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.formats.parcel import Parcel
    from p2phub.trust.secrets import RootSecret


def add_arguments(parser: argparse.ArgumentParser) -> None:
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--prepare", metavar="FILE", type=Path, help="write the new root there")
    step.add_argument(
        "--finish",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="the file, or copies, with signatures",
    )
    parser.add_argument("who", metavar="WHO", nargs="?", help="whose root, with --prepare")
    parser.add_argument(
        "--after", type=int, metavar="V", help="the last root that is not a thief's"
    )
    add_recovery_options(parser)
    add_new_phrase_file(parser)
    parser.add_argument("--stolen", action="store_true", help="somebody else has the old root")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="WHAT",
        help="with --stolen: a release key or revocation that stays; all; none",
    )
    add_phrase_file(parser, "with --finish: read the new recovery phrase there")
    add_passphrase_file(parser, "that locks the new root on this machine")


def run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.keep and not arguments.stolen:
        raise UsageError("--keep belongs to --stolen", remedy="See `p2phub key recover --help`.")
    if arguments.finish is not None:
        return _finish(arguments, session)
    return _prepare(arguments, session)


def _prepare(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.formats.ids import PublisherId
    from p2phub.node import recovering
    from p2phub.node.parcel_files import write_parcel_file
    from p2phub.trust.papers import find_papers
    from p2phub.trust.parcels import envelopes

    if arguments.prepare.exists():
        raise UsageError(f"{arguments.prepare} exists already", remedy="give another file name")
    public = _public(arguments.who, session)
    papers = find_papers(envelopes(public))
    recovering.require_recoverable(papers, arguments.after)
    wanted = recovery_of(arguments, None)
    master = new_master(session, arguments.new_phrase_file)
    parcel = recovering.prepare(public, master, wanted, arguments.after)
    write_parcel_file(arguments.prepare, parcel)
    before = papers.identity.chain[(arguments.after or len(papers.roots)) - 1].root
    helpers = before.recovery
    assert helpers is not None, "it was asked for above"
    made = {
        "publisher_id": str(PublisherId(papers.publisher.digest)),
        "file": str(arguments.prepare),
        "root_v": before.v + 1,
        "needed": helpers.threshold,
        "helpers": [key.hex() for key in helpers.keys],
    }
    session.output.pairs(
        made,
        {
            "publisher_id": "publisher id",
            "root_v": "new root",
            "needed": "signatures needed",
            "helpers": "of these keys",
            "file": "file",
        },
    )
    session.output.say(f"Let the helpers run `p2phub key sign {arguments.prepare.name}`.")
    return 0


def _public(who: str | None, session: Session) -> "Parcel":
    """The public documents of whoever is to be recovered."""
    from p2phub.node.desk import open_desk
    from p2phub.node.publics import public_documents

    if who is not None and Path(who).is_file():
        return read_parcel(Path(who))
    with open_desk(session.config(), session.home, read_only=True) as desk:
        return public_documents(desk, who)[1]


def _finish(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node import recovering
    from p2phub.node.desk import open_desk
    from p2phub.trust.secrets import Master, RootSecret

    files = [read_parcel(path) for path in arguments.finish]
    master = Master.from_phrase(ask_phrase(session, arguments.phrase_file))
    secret = RootSecret(master)
    with open_desk(session.config(), session.home, read_only=True) as desk:
        keep = None
        if arguments.stolen:
            papers = recovering.papers_before(files, master)
            keep = keep_of(arguments.keep) or ask_what_to_keep(session, desk, papers)
        parcel = recovering.finish(desk, files, master, keep)
    made = hand_over(session, parcel)
    made["backup"] = str(back_up(session, secret))
    _lock(arguments, session, secret)
    tell(session, made)
    session.output.say(f"A backup is in {made['backup']}; the new phrase opens it.")
    return 0


def _lock(arguments: argparse.Namespace, session: Session, secret: "RootSecret") -> None:
    """Keep the new root here if its owner wants that; an old one of this publisher gives way."""
    from p2phub.node.desk import open_desk
    from p2phub.store.keyring import ROOT

    if arguments.passphrase_file is None and not at_terminal(session.output):
        return
    passphrase = ask_new_passphrase(session, arguments.passphrase_file)
    if passphrase is None:
        return
    with open_desk(session.config(), session.home, read_only=True) as desk:
        if ROOT in desk.keyring.names():
            desk.keyring.keep_root_instead(secret, passphrase)
        else:
            desk.keyring.keep_root(secret, passphrase)
