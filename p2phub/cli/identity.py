"""How the commands of `p2phub key` change who we are: make it here, hand it to whoever runs.

The root's secret is used in this process alone. What it signed is public, and goes to the node that
runs for this home, or into the store if none does.
"""

import argparse
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.secrets import add_passphrase_file, add_phrase_file, ask_root
from p2phub.cli.session import Session
from p2phub.errors import UsageError

if TYPE_CHECKING:
    from p2phub.formats.ids import PublisherId
    from p2phub.formats.parcel import Parcel
    from p2phub.formats.publisher import Root
    from p2phub.node.desk import LocalDesk
    from p2phub.node.rotating import Keep
    from p2phub.trust.secrets import RootSecret

NAMES = {
    "publisher_id": "publisher id",
    "root_v": "root",
    "delegation_version": "delegation",
    "release_key": "release key here",
    "seq": "index",
    "notices": "taken back",
    "signed_again": "signed again",
    "dropped": "dropped",
    "lacking": "not here",
}
_UNITS = {"d": 24 * 3600, "w": 7 * 24 * 3600, "h": 3600, "y": 365 * 24 * 3600}


def add_root_options(parser: argparse.ArgumentParser) -> None:
    """Where the secret of the root comes from."""
    add_phrase_file(parser, "read the recovery phrase there")
    add_passphrase_file(parser)


def add_change_options(parser: argparse.ArgumentParser) -> None:
    """The same, and where a change goes that others are to sign."""
    add_root_options(parser)
    add_prepare(parser)


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """The option `--prepare`, as `arguments.prepare`."""
    parser.add_argument(
        "--prepare",
        metavar="FILE",
        type=Path,
        help="sign nothing here: write it to FILE, for whoever holds the root (`p2phub key sign`)",
    )


def change(
    arguments: argparse.Namespace,
    session: Session,
    make: "Callable[[LocalDesk, RootSecret | None], Parcel]",
) -> int:
    """Ask for the root, make a change with it, and let it be adopted; with `--prepare` write it to
    a file instead, which the holders of the root are to sign.
    """
    from p2phub.node.desk import open_desk, require_own_papers
    from p2phub.node.parcel_files import require_new

    if arguments.prepare is not None:
        require_new(arguments.prepare)
    with open_desk(session.config(), session.home, read_only=True) as desk:
        papers = require_own_papers(desk.store.documents)
        newest, secret = papers.identity.root, None
        if arguments.prepare is None:
            require_alone(newest)
            secret = ask_root(
                session, desk.keyring, arguments.passphrase_file, arguments.phrase_file, newest
            )
        parcel = make(desk, secret)
    if arguments.prepare is not None:
        write_prepared(session, arguments.prepare, papers.publisher, parcel, newest.keys.threshold)
    else:
        tell(session, hand_over(session, parcel))
    return 0


def require_alone(root: "Root") -> None:
    """One key is enough to sign for `root`. Raises `UsageError`."""
    if root.keys.threshold > 1:
        raise UsageError(
            f"root {root.v} is signed by {root.keys.threshold} of {len(root.keys.keys)} holders",
            remedy="write the change to a file with --prepare FILE; each of them runs `p2phub key"
            " sign FILE`, and you `p2phub key adopt FILE`",
        )


def write_prepared(
    session: Session, file: Path, publisher: "PublisherId", parcel: "Parcel", needed: int
) -> None:
    """Write what others are to sign, and say how it goes on."""
    from p2phub.node.parcel_files import write_parcel_file

    write_parcel_file(file, parcel)
    made = {"publisher_id": str(publisher), "file": str(file), "needed": needed}
    names = {"publisher_id": "publisher id", "file": "file", "needed": "signatures needed"}
    session.output.pairs(made, names)
    session.output.say(
        f"Let whoever holds the root run `p2phub key sign {file.name}`, then run `p2phub key adopt"
        f" {file.name}` here."
    )


def hand_over(session: Session, parcel: "Parcel") -> dict[str, Any]:
    """Let the node that runs adopt a parcel, or the store itself; what came of it."""
    from p2phub.client import calls

    data = parcel.to_bytes()
    answer = session.answer(calls.identity_adopt(b64encode(data).decode()))
    if answer is not None:
        return dict(answer)
    from p2phub.node.desk import open_desk
    from p2phub.node.identity import adopt
    from p2phub.node.values import as_json

    with open_desk(session.config(), session.home) as desk:
        made = as_json(adopt(desk, parcel))
    session.output.say("No node runs here; peers hear of it when one does.")
    return made


def tell(session: Session, made: dict[str, Any]) -> None:
    """What came of a change."""
    session.output.pairs(made, NAMES)
    for ref in made.get("dropped") or ():
        session.output.warn(f"{ref} was set by a key that is revoked; it names nothing now")
    if made.get("lacking"):
        session.output.warn(
            "releases that are not on this machine could not be signed again; pull them and run"
            " `p2phub key sign` on them, or publish them again"
        )


def read_parcel(path: Path) -> "Parcel":
    """The parcel in a file. Raises `NotFoundError`, `MalformedError`."""
    from p2phub.node.parcel_files import read_parcel_file

    return read_parcel_file(path)


def public_key(text: str) -> bytes:
    """The public key that somebody wrote in hex. Raises `UsageError`."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32 or len(text) != 64:
        raise UsageError(
            f"{text[:80]!r} is no public key",
            remedy="a public key is 64 hex digits; `p2phub key new NAME` prints one",
        )
    return key


def moment_of(text: str, now: int) -> int:
    """The unix second that `90d`, `12h`, `2w`, `1y` from `now` or a date (UTC) means.

    Raises `UsageError`.

    >>> moment_of("2d", 100), moment_of("1970-01-02", 0)
    (172900, 172799)
    """
    from datetime import UTC, datetime, timedelta

    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) < 6 and unit in _UNITS:
        return now + int(number) * _UNITS[unit]
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(
            f"{text[:40]!r} is no time",
            remedy="write 90d, 12h, 2w, 1y, or a date like 2027-01-31",
        ) from None
    return int((day + timedelta(days=1)).timestamp()) - 1


def keep_of(words: Sequence[str]) -> "Keep | None":
    """What `--keep` names; None if it was not given. Raises `UsageError`."""
    from p2phub.node.changing import MIN_PREFIX
    from p2phub.node.rotating import Keep

    if not words:
        return None
    prefixes = tuple(word.lower() for word in words if word not in ("all", "none"))
    for each in prefixes:
        if len(each) < MIN_PREFIX or set(each) - set("0123456789abcdef"):
            raise UsageError(
                f"{each[:80]!r} names neither a key nor a notice",
                remedy=f"give {MIN_PREFIX} or more hex digits, or all, or none",
            )
    return Keep("all" in words, prefixes)
