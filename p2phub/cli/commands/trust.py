"""Who may say what: the aliases that name publishers on this machine.

`trust add lab ID` pins the name lab to the publisher with that id, which its owner tells you by a
way you trust. From then on lab/… means releases that this publisher signed, and nobody else's.
"""

import argparse
from typing import Any

from p2phub.cli.output import Column
from p2phub.cli.session import Session, as_objects
from p2phub.errors import UsageError

_COLUMNS = (Column("alias", "alias"), Column("publisher", "publisher_id"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "p2phub trust [options] ls | add ALIAS ID | rm ALIAS"
    parser.add_argument("verb", choices=("ls", "add", "rm"), help="list, pin, or forget")
    parser.add_argument("alias", metavar="ALIAS", nargs="?", help="a short name of your choice")
    parser.add_argument("publisher_id", metavar="ID", nargs="?", help="a publisher id, in full")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    _check(arguments)
    match arguments.verb:
        case "ls":
            answer = session.answer(calls.trust_list())
            pins = answer["pins"] if answer is not None else _pins(session)
            session.output.table(pins, _COLUMNS)
        case "add":
            alias, publisher_id = arguments.alias, arguments.publisher_id
            pin = session.answer(calls.trust_add(alias, publisher_id))
            _tell(session, pin or _add(session, alias, publisher_id), "means")
        case "rm":
            pin = session.answer(calls.trust_remove(arguments.alias))
            _tell(session, pin or _remove(session, arguments.alias), "no longer means")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    given = sum(each is not None for each in (arguments.alias, arguments.publisher_id))
    needed = {"ls": 0, "add": 2, "rm": 1}[arguments.verb]
    if given != needed:
        form = {"ls": "ls", "add": "add ALIAS ID", "rm": "rm ALIAS"}[arguments.verb]
        raise UsageError(
            f"`p2phub trust {arguments.verb}` takes {needed} names, not {given}",
            remedy=f"Write `p2phub trust {form}`.",
        )


def _tell(session: Session, pin: Any, meaning: str) -> None:
    if session.output.json:
        session.output.record(pin)
    else:
        session.output.line(f"{pin['alias']} {meaning} {pin['publisher_id']}")


def _pins(session: Session) -> list[dict[str, Any]]:
    with session.offline() as offline:
        return as_objects(offline.trust_list())


def _add(session: Session, alias: str, publisher_id: str) -> dict[str, Any]:
    from p2phub.node.offline import edit_trust
    from p2phub.node.values import as_json

    with edit_trust(session.config(), session.home) as trust:
        return as_json(trust.add(alias, publisher_id))


def _remove(session: Session, alias: str) -> dict[str, Any]:
    from p2phub.node.offline import edit_trust
    from p2phub.node.values import as_json

    with edit_trust(session.config(), session.home) as trust:
        return as_json(trust.remove(alias))
