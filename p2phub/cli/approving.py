"""Sign for what waits at the gate of a node, with a key of this home folder; and show what waits.

The key is the release key that this machine publishes with, unless `--sign-with` names another one.
A key that is locked is opened with its passphrase.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.output import age, moment, size
from p2phub.cli.secrets import ask_passphrase
from p2phub.cli.session import Session
from p2phub.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from p2phub.formats.ids import PublisherId
    from p2phub.node.approving import Asked
    from p2phub.trust.keys import SigningKey


def add_signing_options(parser: argparse.ArgumentParser) -> None:
    """Who signs, with what."""
    parser.add_argument("--as", dest="name", metavar="NAME", help="which approver you are")
    parser.add_argument("--sign-with", metavar="KEY", help="the key, as `p2phub key ls` names it")
    parser.add_argument(
        "--despite",
        metavar="CHECK",
        action="append",
        default=[],
        help="let it in although this check failed: you answer for it; may be repeated",
    )
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=Path, help="opens a key that is locked"
    )


def signed(
    arguments: argparse.Namespace, session: Session, asked: "Asked", rejects: str | None = None
) -> bytes:
    """What the key of this home says of a release; `rejects`: why it is to be kept out.

    Raises `NotFoundError` without a key, `UsageError` if nobody is known by it.
    """
    from p2phub.node.approving import signed_approval

    publisher, key = _key(arguments, session)
    name = arguments.name or asked.name_of(publisher, key.public)
    return signed_approval(
        asked, key, name, int(time.time()), despite=arguments.despite, rejects=rejects
    )


def _key(
    arguments: argparse.Namespace, session: Session
) -> "tuple[PublisherId | None, SigningKey]":
    from p2phub.node.desk import key_in_force, open_desk, own_papers
    from p2phub.store.keyring import OMS, ROOT
    from p2phub.trust.keys import SigningKey

    with open_desk(session.config(), session.home, read_only=True) as desk:
        papers, keyring = own_papers(desk.store.documents), desk.keyring
        own = papers.publisher if papers is not None else None
        if arguments.sign_with is None:
            found = None if papers is None else key_in_force(keyring, papers.identity, desk.now())
            if found is None:
                raise NotFoundError(
                    "no release key of this home signs for its publisher",
                    remedy="--sign-with names a key that `p2phub key ls` shows",
                )
            return own, found[1]
        name: str = arguments.sign_with
        if name in (ROOT, OMS, "node"):
            raise UsageError(f"the key {name} signs no approvals", remedy="name a key of your own")
        if keyring.is_locked(name):
            secret = ask_passphrase(session, arguments.passphrase_file, what=f"the key {name}")
            return own, SigningKey(keyring.load_locked(name, secret))
        seed = keyring.load(name)
        if seed is None:
            raise NotFoundError(f"there is no key {name} here", remedy="`p2phub key ls`")
        return own, SigningKey(seed)


def show(session: Session, row: Mapping[str, Any]) -> None:
    """A release that waits, on several lines; with `--json` as one object."""
    if session.output.json:
        session.output.record(row)
        return
    line = session.output.line
    line(f"{row['ref']}  {row['state']}")
    line(f"  from {row['origin']}, {age(time.time() - row['since'])} ago")
    licence = row["license"] or "no licence"
    line(f"  {row['files']} files, {size(row['bytes'])}, {licence}, {row['verdict']}")
    for check in row["checks"]:
        line(f"  {'passed' if check['ok'] else 'FAILED'} {check['name']}: {check['detail']}")
    for each in row["approvals"]:
        despite = f", despite {' '.join(each['despite'])}" if each["despite"] else ""
        line(f"  approved by {each['approver']}, {moment(each['created'])}{despite}")
    if row["state"] == "waiting":
        many = "approvals are" if row["needed"] != 1 else "approval is"
        line(f"  {row['needed']} more {many} needed")
    if row["reason"]:
        line(f"  {row['reason']}")


def show_asked(session: Session, asked: "Asked") -> None:
    """What a person is asked to sign, on standard error."""
    say = session.output.say
    say(f"{asked.publisher}/{asked.name}")
    say(f"  commit: {asked.commit}")
    say(f"  licence: {asked.license or 'none is named'}")
    for check in asked.checks:
        say(f"  {'passed' if check.ok else 'FAILED'} {check.name}: {check.detail}")
