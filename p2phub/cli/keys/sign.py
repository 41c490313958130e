"""Sign what somebody prepared: a recovery, a release of an organisation, a change of the root.

What the documents in FILE say is shown in plain words first. The keys of this machine that could
count sign: recovery keys, release keys, and the root. The signatures are added to FILE, which goes
back to whoever sent it. Without a terminal, --yes says that somebody has looked.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.identity import add_root_options, read_parcel
from p2phub.cli.secrets import ask_passphrase, ask_root, at_terminal, confirm
from p2phub.cli.session import Session
from p2phub.errors import NotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from p2phub.node.cosigning import Cosigning
    from p2phub.node.desk import LocalDesk
    from p2phub.trust.keys import SigningKey
    from p2phub.trust.secrets import RootSecret


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="what was prepared")
    parser.add_argument("--key", metavar="NAME", help="sign with this key only")
    parser.add_argument(
        "--holder",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="who holds the root, now and next: the file of each, to check a new root by",
    )
    parser.add_argument("--yes", action="store_true", help="sign without asking")
    add_root_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    if not arguments.yes and not at_terminal(session.output):
        raise RefusedError(
            "nobody is there to look at what is to be signed",
            remedy="run it on a terminal, or say --yes if somebody has looked",
        )
    for path in arguments.files:
        _sign(arguments, session, path)
    return 0


def _sign(arguments: argparse.Namespace, session: Session, path: Path) -> None:
    from p2phub.node.cosigning import Cosigning
    from p2phub.node.desk import open_desk
    from p2phub.node.holders import read_holder_file
    from p2phub.node.parcel_files import write_parcel_file
    from p2phub.node.values import as_json

    holders = [read_holder_file(each) for each in arguments.holder]
    with open_desk(session.config(), session.home, read_only=True) as desk:
        work = Cosigning(desk, read_parcel(path), holders)
        if not work.items:
            raise UsageError(
                f"nothing in {path} needs a signature",
                remedy="give it back to whoever sent it: it is complete",
            )
        for item in work.items:
            _show(session, as_json(item.says))
        _require_checked(work)
        if not arguments.yes and not confirm(session, "Sign this?"):
            raise RefusedError("nothing was signed", remedy="run it again when you have decided")
        keys = _keys(arguments, session, desk, work)
        parcel, told = work.signed(keys)
    if not any(each.signed_now for each in told):
        raise NotFoundError(
            f"no key of this machine counts for what is in {path}, or all have signed it",
            remedy="`p2phub key ls` shows the keys that are here",
        )
    write_parcel_file(path, parcel, replace=True)
    for document in told:
        _tell(session, path, as_json(document))


def _require_checked(work: "Cosigning") -> None:
    """Whose keys a root commits to is known. Raises `RefusedError`."""
    for item in work.items:
        if item.unchecked:
            raise RefusedError(
                f"{item.says.says[0].text}: this root commits to keys, and nothing here tells whose"
                " they are",
                remedy="give the file of everybody who holds the root from now on, --holder FILE"
                " for each; whoever is not among them could take the publisher",
            )


def _show(session: Session, document: Any) -> None:
    """What a person is asked to sign, on standard error."""
    session.output.say(f"{document['type']} of publisher {document['publisher_id'] or 'unknown'}")
    for line in document["says"]:
        session.output.say(f"  {line['label']}: {line['text']}")


def _tell(session: Session, path: Path, document: Any) -> None:
    if session.output.json:
        session.output.record({"file": str(path)} | document)
        return
    for key in document["signed_now"]:
        session.output.line(f"{document['type']} signed with {key}")
    if document["needed"] is not None:
        left = document["needed"]
        session.output.line(f"{left} more signatures are needed" if left else "it is complete")


def _keys(
    arguments: argparse.Namespace, session: Session, desk: "LocalDesk", work: "Cosigning"
) -> "list[SigningKey]":
    """The keys here that may count; those that are locked are asked for."""
    from p2phub.store.keyring import OMS, ROOT
    from p2phub.trust.keys import SigningKey
    from p2phub.trust.secrets import Master, RootSecret

    skipped = {OMS, ROOT, "node"}
    names = [name for name in desk.keyring.names() if name not in skipped]
    if arguments.key is not None:
        if arguments.key not in desk.keyring.names():
            raise NotFoundError(f"there is no key {arguments.key} here", remedy="`p2phub key ls`")
        names = [arguments.key] if arguments.key not in skipped else []
    found: list[SigningKey] = []
    for name in names:
        seed = None if desk.keyring.is_locked(name) else desk.keyring.load(name)
        if seed is None and (arguments.passphrase_file or at_terminal(session.output)):
            passphrase = ask_passphrase(session, arguments.passphrase_file, what=f"the key {name}")
            seed = desk.keyring.load_locked(name, passphrase)
        if seed is not None:
            found += (SigningKey(seed), *_root_keys(RootSecret(Master(seed)), work))
    if arguments.phrase_file is not None or arguments.key == ROOT:
        secret = ask_root(session, desk.keyring, arguments.passphrase_file, arguments.phrase_file)
        found += _root_keys(secret, work)
    return found


def _root_keys(secret: "RootSecret", work: "Cosigning") -> "list[SigningKey]":
    """The keys of the roots in the file that a secret makes."""
    from p2phub.trust.holders import KEYS

    wanted = work.counting()
    last = KEYS if secret.master is not None else max(v for v, _ in secret.lone)
    keys = [secret.root_key(v) for v in range(1, last + 1)]
    return [key for key in keys if key.public in wanted]
