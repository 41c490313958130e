"""What a README says about a model: its YAML front matter, read as Hugging Face reads it.

Nothing is constructed from the YAML: only the texts of the few keys that search needs are picked
from the stream of events, aliases are refused, and size, depth and number of events are limited, so
that a README can neither run nor swell anything. A card that cannot be read is an empty card and a
warning, never an error: a model with an untidy README is still a model. Plain `no` stays Norwegian:
values are taken as they are written.

>>> card, warning = card_from_readme("---\\nlicense: mit\\nlanguage: [en, no]\\n---\\n# Hello")
>>> card.license, card.languages
('mit', ('en', 'no'))
>>> card_from_readme("---\\nlicense: [mit\\n---\\n")[1]
'the front matter of the README is not valid YAML (line 3); nothing of it is used'
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice
from math import isfinite
from typing import Any, Final, NamedTuple
from unicodedata import normalize

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from p2phub.formats import limits
from p2phub.formats.documents import has_control
from p2phub.formats.manifest import Card

_FRONT_MATTER = re.compile(
    r"\s*---(?:\r\n|\r|\n)(.*?)(?:\r\n|\r|\n)---[ \t]*(?:\r|\n|$)", re.DOTALL
)
_EMPTY_FRONT_MATTER = re.compile(r"\s*---(?:\r\n|\r|\n)---[ \t]*(?:\r|\n|$)")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_MAX_NESTING: Final = 64


class _UnreadableError(Exception):
    """Why a card is not read."""


class _Wish(NamedTuple):
    """One key of the front matter: how many values of how many bytes we keep of it."""

    most: int
    size: int


_WISHES: Final = {
    "license": _Wish(1, limits.MAX_WORD),
    "pipeline_tag": _Wish(1, limits.MAX_WORD),
    "task_categories": _Wish(1, limits.MAX_WORD),
    "library_name": _Wish(1, limits.MAX_WORD),
    "language": _Wish(limits.MAX_LANGUAGES, limits.MAX_LANGUAGE),
    "tags": _Wish(limits.MAX_TAGS, limits.MAX_WORD),
    "base_model": _Wish(limits.MAX_BASES, limits.MAX_FOREIGN_NAME),
    "base_model_relation": _Wish(1, limits.MAX_WORD),
    "datasets": _Wish(limits.MAX_DATASETS, limits.MAX_FOREIGN_NAME),
}


def card_from_readme(text: str) -> tuple[Card, str]:
    """The card in a README, and a warning for its author; the warning is empty if all is well."""
    try:
        found = _collect(_front_matter(text))
    except _UnreadableError as error:
        return Card(), f"{error}; nothing of it is used"
    warnings: list[str] = []
    kept = {name: _tidy(name, values, warnings) for name, values in found.items()}
    card = Card(
        license=_first(kept, "license"),
        task=_first(kept, "pipeline_tag") or _first(kept, "task_categories"),
        library=_first(kept, "library_name"),
        languages=kept.get("language", ()),
        tags=kept.get("tags", ()),
        base=kept.get("base_model", ()),
        base_relation=_first(kept, "base_model_relation"),
        datasets=kept.get("datasets", ()),
    )
    return card, "; ".join(warnings)


def metadata_from_readme(text: str) -> dict[str, Any]:
    """The whole front matter as JSON has it: empty if there is none, or it cannot be read.

    Dates become ISO 8601 text; what JSON has no word for becomes null.

    >>> metadata_from_readme("---\\nlicense: mit\\nsince: 2024-05-01\\nn: [1, no]\\n---\\n")
    {'license': 'mit', 'since': '2024-05-01', 'n': [1, False]}
    """
    try:
        front = _front_matter(text)
        for _ in _bounded(yaml.parse(front, Loader=_LOADER)):
            pass
        found = yaml.load(front, Loader=_LOADER)
    except (_UnreadableError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return _as_json(found) if isinstance(found, dict) else {}


def _as_json(value: object) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None
        case date():
            return value.isoformat()
        case dict():
            return {str(key): _as_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_as_json(item) for item in value]
        case _:
            return None


def _front_matter(text: str) -> str:
    """The YAML between the first two lines of dashes; empty if the text does not begin with one."""
    start = text.removeprefix("\ufeff")[: limits.MAX_FRONT_MATTER]
    match = _EMPTY_FRONT_MATTER.match(start)
    if match or not start.lstrip().startswith("---"):
        return ""
    match = _FRONT_MATTER.match(start)
    if match is None and len(text) > limits.MAX_FRONT_MATTER:
        raise _UnreadableError(
            f"the front matter of the README is longer than {limits.MAX_FRONT_MATTER} characters"
        )
    return match.group(1) if match else ""


def _collect(text: str) -> dict[str, list[str]]:
    """The texts of each key that we wish for; of a key that comes twice, the last."""
    found: dict[str, list[str]] = {}
    try:
        events = _bounded(yaml.parse(text, Loader=_LOADER))
        first = next(islice(events, 2, None), None)
        if not isinstance(first, MappingStartEvent):
            if first is None or (isinstance(first, ScalarEvent) and not _texts(first)):
                return {}
            raise _UnreadableError("the front matter of the README is not a map of keys")
        for key in events:
            if isinstance(key, MappingEndEvent):
                break
            names, values = _value(key, events), _value(next(events), events)
            if isinstance(key, ScalarEvent) and key.value in _WISHES and names:
                found[key.value] = values
        for _ in events:
            pass
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 2})"
        raise _UnreadableError(
            f"the front matter of the README is not valid YAML{where}"
        ) from error
    return found


def _bounded(events: Iterable[Event]) -> Iterator[Event]:
    depth = 0
    for count, event in enumerate(events):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent):
            raise _UnreadableError("the front matter of the README has an alias in it (*name)")
        if depth > _MAX_NESTING or count > limits.MAX_FRONT_MATTER_EVENTS:
            raise _UnreadableError("the front matter of the README is too deep or too long")
        yield event


def _value(first: Event, events: Iterator[Event]) -> list[str]:
    """The texts of one value, a scalar's or a list's; of a map, none. Takes its events."""
    if isinstance(first, ScalarEvent):
        return _texts(first)
    found: list[str] = []
    depth = 1
    while depth:
        event = next(events)
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth == 1 and isinstance(event, ScalarEvent) and isinstance(first, SequenceStartEvent):
            found += _texts(event)
    return found


def _texts(scalar: ScalarEvent) -> list[str]:
    plain = scalar.implicit[0]
    return [] if plain and scalar.value in _NULL else [scalar.value]


def _tidy(name: str, values: list[str], warnings: list[str]) -> tuple[str, ...]:
    """What a card may keep of `values`: clean, short, none twice, not too many."""
    wish = _WISHES[name]
    tidy = dict.fromkeys(" ".join(normalize("NFC", value).split()) for value in values)
    kept = [value for value in tidy if not has_control(value)]
    kept = [value for value in kept if 0 < len(value.encode()) <= wish.size]
    dropped = len([value for value in tidy if value]) - len(kept[: wish.most])
    if dropped and wish.most > 1:
        warnings.append(f"{dropped} of the values of {name} are left out: too long or too many")
    elif dropped:
        warnings.append(f"{name} is cut to its first value of at most {wish.size} bytes")
    return tuple(kept[: wish.most])


def _first(kept: dict[str, tuple[str, ...]], name: str) -> str:
    return next(iter(kept.get(name, ())), "")
