"""A list of whom to trust, that one lab hands to another: aliases, publisher ids, rules.

It is JSON, so that people can read and write it:

    {"p2phub": "trust list", "version": 1, "publishers": [
        {"alias": "lab", "publisher_id": "…52 characters…", "policy": "enforce", "stale": "warn"}]}

`publisher_id` must be there. Without `alias` the publisher is called by its id; `policy` (off,
warn, enforce) and `stale` (warn, refuse) are its rule, and stand together or not at all.

Rules it keeps:
 * a list is good as a whole or not at all: a typing error in the last line pins nobody;
 * what is known here is never changed by a list: neither whom an alias means, nor a rule. Where a
   list says otherwise, that is a conflict, and is named;
 * it is bounded, and a key that this version does not know is refused.

>>> lab = Entry(PublisherId(bytes(32)), "lab", Rule("warn"))
>>> read_list(write_list([lab])) == (lab,)
True
>>> compare([lab], Aliases(), {}).new == (lab,)
True
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2phub.errors import UsageError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.formats.limits import MAX_TRUST_ENTRIES, MAX_TRUST_LIST
from p2phub.trust.aliases import Aliases
from p2phub.trust.policy import Rule, check_policy, check_stale

KIND: Final = "trust list"
VERSION: Final = 1
_KEYS: Final = frozenset({"alias", "publisher_id", "policy", "stale"})
_REMEDY: Final = "ask whoever gave you the file for a new one; nothing was changed"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list says of one publisher."""

    publisher: PublisherId
    alias: str | None = None
    rule: Rule | None = None

    @property
    def called(self) -> str:
        """The alias, or the id where there is none."""
        return self.alias or str(self.publisher)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where a list says something else than what is known here."""

    called: str
    here: str
    """Whom the alias means here, or the rule that was laid down here."""
    listed: str
    """What the list says instead."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A list beside what is known here."""

    new: tuple[Entry, ...]
    """What it would add: an alias, a rule, or both; the rest is left out of these entries."""
    known: int
    """Entries that say what is known here anyway."""
    conflicts: tuple[Conflict, ...]


def write_list(entries: Iterable[Entry]) -> str:
    """A list as text."""
    publishers = [_written(each) for each in entries]
    document = {"p2phub": KIND, "version": VERSION, "publishers": publishers}
    return json.dumps(document, indent=2) + "\n"


def _written(entry: Entry) -> dict[str, str]:
    written = {"alias": entry.alias} if entry.alias is not None else {}
    written["publisher_id"] = str(entry.publisher)
    if entry.rule is not None:
        written |= {"policy": entry.rule.policy, "stale": entry.rule.stale}
    return written


def read_list(text: str) -> tuple[Entry, ...]:
    """What a list says. Raises `UsageError` naming the entry: the list is worth nothing then."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TRUST_LIST:
        raise _wrong(f"it has more than {MAX_TRUST_LIST >> 20} MiB")
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        raise _wrong("it is not JSON") from None
    if not isinstance(document, dict) or document.get("p2phub") != KIND:
        raise _wrong(f'it does not say "p2phub": "{KIND}"')
    if type(document.get("version")) is not int or document["version"] != VERSION:
        version = str(document.get("version"))[:20]
        remedy = "install a newer p2phub, or ask for a list of version 1"
        raise UsageError(f"the trust list has version {version}, not {VERSION}", remedy=remedy)
    listed = document.get("publishers")
    if not isinstance(listed, list) or set(document) != {"p2phub", "version", "publishers"}:
        raise _wrong("it must have p2phub, version and a list of publishers, and nothing else")
    if len(listed) > MAX_TRUST_ENTRIES:
        raise _wrong(f"it names more than {MAX_TRUST_ENTRIES} publishers")
    entries = tuple(_read(number, each) for number, each in enumerate(listed, 1))
    _check_together(entries)
    return entries


def _read(number: int, listed: object) -> Entry:
    if not isinstance(listed, dict) or not all(isinstance(each, str) for each in listed.values()):
        raise _wrong(f"entry {number} is not a map of texts")
    if not {"publisher_id"} <= set(listed) <= _KEYS or ("policy" in listed) != ("stale" in listed):
        raise _wrong(f"entry {number} must have publisher_id, and may have alias, policy and stale")
    try:
        rule = None
        if "policy" in listed:
            rule = Rule(check_policy(listed["policy"]), check_stale(listed["stale"]))
        alias = check_alias(listed["alias"]) if "alias" in listed else None
        return Entry(PublisherId.parse(listed["publisher_id"]), alias, rule)
    except UsageError as error:
        raise _wrong(f"entry {number}: {error.message}") from None


def _check_together(entries: Sequence[Entry]) -> None:
    """Raise `UsageError` where one list says two things."""
    aliases, rules = dict[str, PublisherId](), dict[PublisherId, Rule]()
    for entry in entries:
        alias, rule, publisher = entry.alias, entry.rule, entry.publisher
        if alias is not None and aliases.setdefault(alias, publisher) != publisher:
            raise _wrong(f"it names two publishers {alias}")
        if rule is not None and rules.setdefault(publisher, rule) != rule:
            raise _wrong(f"it has two rules for {publisher}")


def compare(
    entries: Iterable[Entry], aliases: Aliases, rules: Mapping[PublisherId, Rule]
) -> Comparison:
    """What `entries` would add to what is known here, and where they conflict with it."""
    new, conflicts, known = list[Entry](), list[Conflict](), 0
    for entry in entries:
        pinned = aliases.pins.get(entry.alias) if entry.alias is not None else None
        rule = rules.get(entry.publisher)
        if pinned is not None and pinned != entry.publisher:
            conflicts.append(Conflict(entry.called, str(pinned), str(entry.publisher)))
            continue  # the rule of somebody else than is meant here is of no use
        if entry.rule is not None and rule not in (None, entry.rule):
            assert rule is not None
            conflicts.append(Conflict(entry.called, shown_rule(rule), shown_rule(entry.rule)))
        alias = entry.alias if pinned is None else None
        wanted = entry.rule if rule is None else None
        if alias is not None or wanted is not None:
            new.append(Entry(entry.publisher, alias, wanted))
        elif entry.rule in (None, rule):
            known += 1
    return Comparison(tuple(new), known, tuple(conflicts))


def shown_rule(rule: Rule) -> str:
    """A rule as people read it.

    >>> shown_rule(Rule("warn", "refuse"))
    'warn, stale refuse'
    """
    return f"{rule.policy}, stale {rule.stale}"


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _wrong(said: str) -> UsageError:
    return UsageError(f"not a trust list that can be used: {said}", remedy=_REMEDY)
