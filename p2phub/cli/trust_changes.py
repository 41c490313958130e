"""The changes of `p2phub trust`: pin, unpin, lay down a rule. What weakens trust is asked first."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from p2phub.cli.confirm import choose, confirm
from p2phub.cli.secrets import at_terminal
from p2phub.cli.session import Session, as_objects
from p2phub.cli.trusting import domain_of, rule_of
from p2phub.errors import NotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from p2phub.client.calls import Call
    from p2phub.client.connection import Connection
    from p2phub.node.trust_editor import TrustEditor

Object = Mapping[str, Any]
DEFAULT: Final = "default"


def add(session: Session, alias: str, who: str) -> None:
    """Pin an alias to the id that was typed, or to one that a domain names and a person confirms.

    Raises `AliasTakenError` if the alias means somebody else, `RefusedError` for a domain in a
    pipe.
    """
    if "." in who:
        who = _named_by(session, alias, who)
    tell(session, pin(session, alias, who), "means")
    row = next((row for row in pins(session) if row["alias"] == alias), None)
    if row is not None and not row["seq"]:
        session.output.say("nothing of this publisher was seen here yet: compare its id once more")


def pin(session: Session, alias: str, publisher_id: str) -> Object:
    """Pin an alias, in the node that runs or in the store."""
    from p2phub.client import calls

    return change(
        session, calls.trust_add(alias, publisher_id), lambda trust: trust.add(alias, publisher_id)
    )


def pin_one_who_claims(session: Session, node: "Connection", reference: str) -> bool:
    """Whether the alias in `reference`, which nobody has here, was pinned to one of those who claim
    it: a person at the terminal has typed the beginning of an id.
    """
    from p2phub.client import calls
    from p2phub.formats.ids import Reference

    parsed = Reference.parse(reference)
    if parsed.publisher is None or parsed.publisher_id is not None:
        return False
    if not at_terminal(session.output):
        return False
    found = list(node.answer(calls.trust_candidates(parsed.publisher))["candidates"])
    if not found:
        return False
    session.output.warn(f"nobody is called {parsed.publisher} here; these say that they are:")
    for each in found:
        says = ", ".join(filter(None, [each["name"], domain_of(each)]))
        session.output.warn(f"{each['publisher_id']}  {says}")
    session.output.warn("anybody can claim a name: ask its owner which id is right")
    ids = [str(each["publisher_id"]) for each in found]
    chosen = choose(session, ids, f"whom shall {parsed.publisher} mean from now on?")
    if chosen is None:
        return False
    node.answer(calls.trust_add(parsed.publisher, chosen))
    return True


def remove(session: Session, alias: str, *, yes: bool) -> None:
    """Unpin an alias, after a yes: whoever comes next may be called so."""
    from p2phub.client import calls

    meant = next((row for row in pins(session) if row["alias"] == alias), None)
    if meant is not None:
        confirm(
            session,
            [f"{alias} means {meant['publisher_id']}", "after this it means nobody"],
            f"forget the alias {alias}?",
            yes=yes,
        )
    found = change(session, calls.trust_remove(alias), lambda trust: trust.remove(alias))
    tell(session, found, "no longer means")


def policy(
    session: Session,
    who: str,
    wanted: str | None,
    stale: str | None,
    code: str | None = None,
    *,
    yes: bool,
) -> None:
    """Tell the rule for a publisher, or lay one down; a weaker one after a yes."""
    from p2phub.client import calls

    before = session.answer(calls.trust_policy(who))
    if before is None:
        with session.offline() as offline:
            before = as_objects([offline.rule_of(who)])[0]
    if wanted is not None or stale is not None or code is not None:
        if is_weaker(before, wanted, stale, code):
            options = [f"--stale {stale}" if stale else "", f"--code {code}" if code else ""]
            after = " ".join(filter(None, [wanted, *options]))
            called = before["alias"] or before["publisher_id"]
            lines = [f"now: {called} {rule_of(before)}", f"after this: {after}"]
            confirm(session, lines, f"lay down a weaker rule for {called}?", yes=yes)
        before = change(
            session,
            calls.trust_policy(who, wanted, stale, code),
            lambda trust: trust.set_policy(who, wanted, stale, code),
        )
    if session.output.json:
        session.output.record(before)
    else:
        called = before["alias"] or before["publisher_id"]
        session.output.line(f"{called} {rule_of(before)}")


def is_weaker(
    before: Object, wanted: str | None, stale: str | None, code: str | None = None
) -> bool:
    """Whether a rule that is asked for may let through what would be held back without it, today
    or when the rule for everybody is changed.
    """
    from p2phub.trust.policy import Rule, check_policy, check_stale

    if code == "allow" and before.get("code") != "allow":
        return True
    if wanted is None and stale is None:
        return False
    if wanted == DEFAULT:
        if stale is not None:
            raise UsageError("the default rule has no --stale of its own", remedy="Leave it out.")
        return bool(before["own_rule"])
    here = Rule(check_policy(before["policy"]), check_stale(before["stale"]))
    after = Rule(
        check_policy(wanted) if wanted is not None else here.policy,
        check_stale(stale) if stale is not None else here.stale,
    )
    if after == here and before["own_rule"]:
        return False
    return after.weakens(here) or after.weakens(Rule())


def pins(session: Session) -> list[Object]:
    """The rows of `trust ls`."""
    from p2phub.client import calls

    answer = session.answer(calls.trust_list())
    if answer is not None:
        return list(answer["pins"])
    with session.offline() as offline:
        return list(as_objects(offline.trust_list()))


def change(session: Session, call: "Call[Any]", edit: "Callable[[TrustEditor], object]") -> Object:
    """Change something in the node that runs, or in the store if none does."""
    answer = session.answer(call)
    if answer is not None:
        return answer
    from p2phub.node.offline import edit_trust
    from p2phub.node.values import as_json

    with edit_trust(session.config(), session.home) as trust:
        return as_json(edit(trust))


def tell(session: Session, found: Object, meaning: str) -> None:
    """An alias and whom it means, or no longer means."""
    if session.output.json:
        session.output.record(found)
    else:
        session.output.line(f"{found['alias']} {meaning} {found['publisher_id']}")


def _named_by(session: Session, alias: str, text: str) -> str:
    """The publisher that a domain names, after a yes or a choice on a terminal."""
    from p2phub.client import calls
    from p2phub.trust.domains import read_domain

    domain = read_domain(text)
    if not at_terminal(session.output):
        raise RefusedError(
            f"a domain alone pins nobody where nobody can be asked: {domain}",
            remedy=f"run it on a terminal, or write the id: `p2phub trust add {alias} ID`",
        )
    with session.node() as node:
        said = node.answer(calls.trust_domain(domain))
    for problem in said["problems"]:
        session.output.warn(problem)
    named = list(said["publishers"])
    if not named:
        raise NotFoundError(
            f"{domain} names no publisher",
            remedy="ask whoever runs it for the publisher id, and for `p2phub trust proof`",
        )
    lines = [f"{each['publisher_id']}  by {' and '.join(each['ways'])}" for each in named]
    ids = [str(each["publisher_id"]) for each in named]
    if len(ids) == 1:
        said_so = [f"{domain} names:", *lines]
        confirm(session, said_so, f"shall {alias} mean this publisher?", yes=False)
        return ids[0]
    for line in (f"{domain} names several:", *lines):
        session.output.warn(line)
    chosen = choose(session, ids, f"which of them shall {alias} mean?")
    if chosen is None:
        raise RefusedError("none was chosen: nothing was changed")
    return chosen
