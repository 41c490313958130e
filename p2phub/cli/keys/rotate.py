"""Replace the root by the next one, which the present root has committed to.

Needs the recovery phrase, or the root that is locked here. A new phrase is made with --new-phrase,
with --stolen, and for a publisher that an older p2phub made (give its backup with --old-backup);
then there are two new roots at once, so that the new phrase alone makes the newest.

--stolen says that somebody else has the present root. Then nothing that it signed is taken over
unasked: --keep names the release keys and the revocations that are honest (`all`, `none`, or how
they begin), and revocations by it count no more. If the thief has the recovery phrase as well,
rotating does not help: see `p2phub key recover`.

--holder gives the root to several people, of whom --root-threshold must sign, or to others than
before (--old-holder names those). What they are to sign is written to the file of --prepare: each
runs `p2phub key sign` on it, and you `p2phub key adopt`. The root that a single person had then
counts no more.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.handover import add_new_phrase_file, new_master
from p2phub.cli.holders import add_holder_options, next_steps, require_holders
from p2phub.cli.identity import (
    add_change_options,
    hand_over,
    keep_of,
    public_key,
    require_alone,
    tell,
    write_prepared,
)
from p2phub.cli.secrets import ask_passphrase, ask_phrase, ask_root, at_terminal, confirm
from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.formats.publisher import KeySet
    from p2phub.node.desk import LocalDesk
    from p2phub.node.rotating import Keep
    from p2phub.trust.keys import SigningKey
    from p2phub.trust.papers import Papers
    from p2phub.trust.secrets import RootSecret


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stolen", action="store_true", help="somebody else has the root key")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="WHAT",
        help="with --stolen: a release key or revocation that stays; all; none",
    )
    add_recovery_options(parser)
    parser.add_argument("--new-phrase", action="store_true", help="make a new recovery phrase")
    add_new_phrase_file(parser)
    parser.add_argument(
        "--old-backup", metavar="FILE", type=Path, help="the backup that an older p2phub wrote"
    )
    add_holder_options(parser)
    parser.add_argument(
        "--old-holder",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="with --holder: somebody who held the root so far, if others do from now on",
    )
    add_change_options(parser)


def add_recovery_options(parser: argparse.ArgumentParser) -> None:
    """Who may recover the publisher from now on."""
    parser.add_argument(
        "--recovery",
        metavar="PUBKEY",
        action="append",
        default=[],
        help="a key that can help to recover; replaces those there are; up to 5",
    )
    parser.add_argument(
        "--recovery-threshold", metavar="M", type=int, help="how many of them it takes"
    )
    parser.add_argument("--no-recovery", action="store_true", help="no recovery keys from now on")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.desk import open_desk, require_own_papers

    if arguments.keep and not arguments.stolen:
        raise UsageError("--keep belongs to --stolen", remedy="See `p2phub key rotate --help`.")
    shared = require_holders(arguments, ("--new-phrase", "--new-phrase-file"))
    if arguments.old_holder and not shared:
        raise UsageError("--old-holder belongs to --holder", remedy="name who holds it from now on")
    with open_desk(session.config(), session.home, read_only=True) as desk:
        papers = require_own_papers(desk.store.documents)
        recovery = recovery_of(arguments, papers.identity.root.recovery)
        keep = _keep(arguments, session, desk, papers)
        make = _shared if shared else _alone
        return make(arguments, session, desk, papers, recovery, keep)


def _shared(
    arguments: argparse.Namespace,
    session: Session,
    desk: "LocalDesk",
    papers: "Papers",
    recovery: "KeySet | None",
    keep: "Keep | None",
) -> int:
    """Prepare roots that several people hold."""
    from p2phub.node import rotating
    from p2phub.node.parcel_files import require_new

    require_new(arguments.prepare)
    v = papers.identity.root.v

    def own() -> "SigningKey":
        return _secret(arguments, session, desk, papers).root_key(v + 1)

    steps, following = next_steps(arguments, papers, own)
    parcel = rotating.rotate(desk, steps, following, recovery, keep)
    needed = max(step.keys.threshold for step in steps)
    write_prepared(session, arguments.prepare, papers.publisher, parcel, needed)
    return 0


def _alone(
    arguments: argparse.Namespace,
    session: Session,
    desk: "LocalDesk",
    papers: "Papers",
    recovery: "KeySet | None",
    keep: "Keep | None",
) -> int:
    """The next root of one owner, signed and handed over."""
    from p2phub.formats.publisher import KeySet
    from p2phub.node import rotating

    require_alone(papers.identity.root)
    secret, v = _secret(arguments, session, desk, papers), papers.identity.root.v
    revealed = secret.root_key(v + 1)
    rotating.require_committed(papers, revealed)
    steps = [rotating.Step.of(revealed)]
    renewed = _renewed(arguments, session, secret)
    if renewed is not secret:  # one root of the old phrase, and one that the new one makes
        steps.append(rotating.Step.of(renewed.root_key(v + 2)))
    following = KeySet((renewed.root_key(v + 1 + len(steps)).public,))
    parcel = rotating.rotate(desk, steps, following, recovery, keep)
    if renewed is not secret:
        _lock_again(arguments, session, desk, renewed)
    made = hand_over(session, parcel)
    if renewed is not secret:
        made["backup"] = str(back_up(session, renewed))
    tell(session, made)
    _say(session, made)
    return 0


def recovery_of(arguments: argparse.Namespace, before: "KeySet | None") -> "KeySet | None":
    """The recovery keys from now on. Raises `UsageError`."""
    from p2phub.trust.changes import recovery_set

    if arguments.no_recovery:
        if arguments.recovery or arguments.recovery_threshold is not None:
            raise UsageError("--no-recovery goes with no recovery keys", remedy="choose one")
        return None
    keys = [public_key(text) for text in arguments.recovery]
    if not keys and arguments.recovery_threshold is not None and before is not None:
        return recovery_set(before.keys, arguments.recovery_threshold)
    return recovery_set(keys, arguments.recovery_threshold) or before


def _secret(
    arguments: argparse.Namespace, session: Session, desk: "LocalDesk", papers: "Papers"
) -> "RootSecret":
    from p2phub.store.backup import read_backup

    if arguments.old_backup is not None:
        found = read_backup(
            arguments.old_backup, lambda: ask_phrase(session, arguments.phrase_file)
        )
        return found.root
    return ask_root(
        session,
        desk.keyring,
        arguments.passphrase_file,
        arguments.phrase_file,
        papers.identity.root,
    )


def _renewed(arguments: argparse.Namespace, session: Session, secret: "RootSecret") -> "RootSecret":
    """What makes the root keys from now on: the same, or a new master."""
    from p2phub.trust.secrets import RootSecret

    if not (arguments.stolen or arguments.new_phrase or secret.master is None):
        return secret
    return RootSecret(new_master(session, arguments.new_phrase_file))


def _keep(
    arguments: argparse.Namespace, session: Session, desk: "LocalDesk", papers: "Papers"
) -> "Keep | None":
    """What stays of what a stolen root has signed; None if it was not stolen."""
    if not arguments.stolen:
        return None
    return keep_of(arguments.keep) or ask_what_to_keep(session, desk, papers)


def ask_what_to_keep(session: Session, desk: "LocalDesk", papers: "Papers") -> "Keep":
    """What a person says is honest. Raises `UsageError` where nobody can be asked."""
    from p2phub.node import rotating

    doubted = {
        key.hex(): f"release key {key.hex()[:16]}" for key in rotating.others_keys(desk, papers)
    }
    for digest, notice in rotating.revocations(desk, papers):
        doubted[digest.hex()] = f"revocation {digest.hex()[:16]} ({notice.reason})"
    if doubted and not at_terminal(session.output):
        raise UsageError(
            "the stolen root has signed this, and only you know what of it is honest: "
            + "; ".join(doubted.values()),
            remedy="name what stays with --keep, or say --keep all or --keep none",
        )
    kept = [each for each, what in doubted.items() if confirm(session, f"Keep {what}?")]
    return rotating.Keep(prefixes=tuple(kept))


def _lock_again(
    arguments: argparse.Namespace, session: Session, desk: "LocalDesk", renewed: "RootSecret"
) -> None:
    """The new secret in place of the one that is locked here, with the same passphrase."""
    from p2phub.store.keyring import ROOT

    if ROOT in desk.keyring.names() and desk.keyring.is_locked(ROOT):
        passphrase = ask_passphrase(session, arguments.passphrase_file)
        desk.keyring.load_locked(ROOT, passphrase)
        desk.keyring.keep_root_instead(renewed, passphrase)


def back_up(session: Session, renewed: "RootSecret") -> Path:
    """A backup that the new phrase opens."""
    import time

    from p2phub.node.backups import new_backup_path, own_secrets

    now = int(time.time())
    path = new_backup_path(session.home, now)
    with own_secrets(session.config(), session.home) as own:
        own.back_up(renewed, path, now)
    return path


def _say(session: Session, made: dict[str, Any]) -> None:
    if "backup" in made:
        session.output.say(
            f"A new backup is in {made['backup']}; the new phrase opens it. Move it away from this"
            " machine. The old phrase and backup are worth nothing now."
        )
    else:
        session.output.say(
            "The recovery phrase stays the same. `p2phub key backup` writes a backup."
        )
