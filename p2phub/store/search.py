"""Finding repos in the local catalog, offline, however many there are.

Every word must occur: in the name, publisher, task, library, licence, languages, tags or summary,
also as the beginning of a longer word; a word that is an alias of ours finds that publisher, too.
A filter must hold exactly (but for upper and lower case).

The most relevant are, in this order: the repo of that very name; those that have every word in
their name; those that have them somewhere; those that have the beginnings. Among equals a short
name comes first, then a new release.

No search takes long: of what matches, the `MOST` that were met last are looked at, and what few
enough repos have is looked up while what many have is met soon on a walk in the order asked for.

>>> match_of("mini lm", Filters(task="feature-extraction"))
'"mini"* AND "lm"* AND task : "feature-extraction"'
>>> match_of('say "hi"', EVERYTHING, "name")
'name : "say" AND name : "hi"'
>>> match_of("lab bert", EVERYTHING, "word", {"lab": "a" * 52})[:40]
'("lab" OR publisher : "aaaaaaaaaaaaaaaaa'
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from p2phub.formats.ids import Kind, PublisherId, RepoId, commit_id
from p2phub.store.index import Statements, Value

Order = Literal["relevance", "created", "size", "name"]
How = Literal["name", "word", "beginning"]
"""Where a word must occur: whole in the name, whole anywhere, or as the beginning of any word."""

MAX_WORDS = 16
"""Words of a query that are looked for; more only make it slow."""
MAX_HITS = 10_000
MOST = 10_000
"""Matches that are looked at."""
ENOUGH = 1000
"""Matches that pass every filter, out of which the most relevant are taken."""
_LARGEST = 2**63 - 1
_WORD = re.compile(r"[\w.+-]*\w", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Filters:
    """What must hold. None lets everything through."""

    task: str | None = None
    library: str | None = None
    license: str | None = None
    language: str | None = None
    publisher: PublisherId | None = None
    kind: Kind | None = None
    max_size: int | None = None
    """Bytes of all files of the newest release."""
    tags: tuple[str, ...] = ()
    """Each must be one of its tags or languages, its task or its library."""
    min_parameters: int | None = None
    max_parameters: int | None = None
    """Numbers in its tensors. What does not say how many it has passes neither."""


EVERYTHING = Filters()


@dataclass(frozen=True, slots=True)
class Hit:
    """A repo that was found, with the ref that people mean first. Empty text: not said."""

    repo: RepoId
    kind: Kind
    ref: str
    digest: bytes
    """Of the release that the ref names."""
    task: str
    license: str
    library: str
    languages: tuple[str, ...]
    tags: tuple[str, ...]
    bytes: int
    created: int
    parameters: int

    @property
    def commit(self) -> str:
        return commit_id(self.digest)


def search(
    statements: Statements, text: str, filters: Filters, order: Order, limit: int
) -> list[Hit]:
    """Listed repos that match; see the module's words."""
    question = _Question(statements, text, filters, max(0, min(limit, MAX_HITS)))
    if not words(text):
        ids = question.browse("created" if order == "relevance" else order)
    elif order == "relevance":
        ids = question.most_relevant()
    else:
        ids = question.matching("beginning", order, MOST)
    rows = [statements.one("search.hit", id) for id in ids]
    with statements.decoding():
        return [_hit(*row) for row in rows if row is not None]


class _Question:
    """What is asked, and the ways to answer it. All of them give ids of repos, in order."""

    def __init__(self, statements: Statements, text: str, filters: Filters, limit: int) -> None:
        self._statements, self._text, self._given, self._limit = statements, text, filters, limit
        self._aliases: dict[str, str] = dict(statements.all("search.aliases")) if text else {}
        values: dict[str, Value] = {
            "task": filters.task,
            "license": filters.license,
            "library": filters.library,
            "language": filters.language,
            "publisher": str(filters.publisher) if filters.publisher else None,
            "kind": filters.kind,
            "max_size": _bound(filters.max_size),
            "min_parameters": _bound(filters.min_parameters),
            "max_parameters": _bound(filters.max_parameters),
            "tags": json.dumps([tag.lower() for tag in filters.tags]) if filters.tags else None,
        }
        self._filters = {name: value for name, value in values.items() if value is not None}

    def most_relevant(self) -> list[int]:
        parts = ["named", *self._filters, "order_created"]
        ids = dict.fromkeys(self._ask(parts, text=self._text.strip()))
        hows: tuple[How, ...] = ("name", "word", "beginning")
        for how in hows:
            if len(ids) < self._limit:
                ids |= dict.fromkeys(self.matching(how, "relevance", max(ENOUGH, self._limit)))
        return list(ids)[: self._limit]

    def matching(self, how: How, order: Order, enough: int) -> list[int]:
        """By the text index. `enough`: how many that pass every filter are put in order."""
        match = match_of(self._text, self._given, how, self._aliases)
        parts = ["matching", *self._filters, "enough", f"order_{order}"]
        return self._ask(parts, match=match, most=MOST, enough=enough)

    def browse(self, order: Order) -> list[int]:
        """Without text: what few have is looked up, else the repos are gone through in order."""
        match = match_of("", self._given)
        if match and self._ask(["count_matching"], match=match, most=MOST) < [MOST]:
            return self.matching("word", order, MOST)
        few = "max_size" in self._filters and self._ask(["count_small"], most=MOST) < [MOST]
        walk = "every_size" if few else f"every_{order}"
        return self._ask([walk, *self._filters, f"order_{order}"])

    def _ask(self, parts: Sequence[str], **values: Value) -> list[int]:
        rows = self._statements.compose(
            [f"search.{part}" for part in parts], {**self._filters, **values, "limit": self._limit}
        )
        return [number for (number,) in rows]


def _bound(number: int | None) -> int | None:
    """A number that a row can be compared with: SQLite has 64 bits for it."""
    return None if number is None else max(-_LARGEST, min(number, _LARGEST))


def words(text: str) -> list[str]:
    """The words of a query; what has no letter or digit is no word.

    >>> words("BERT-base (v1.5)  --- 日本語")
    ['BERT-base', 'v1.5', '日本語']
    """
    return _WORD.findall(text)[:MAX_WORDS]


def match_of(
    text: str, filters: Filters, how: How = "beginning", aliases: Mapping[str, str] | None = None
) -> str:
    """The query for the full-text index; empty if it can tell nothing."""
    terms = []
    for word in words(text):
        term = {"name": f'name : "{word}"', "word": f'"{word}"', "beginning": f'"{word}"*'}[how]
        publisher = (aliases or {}).get(word.lower())
        terms.append(f'({term} OR publisher : "{publisher}")' if publisher else term)
    for column, value in (
        ("task", filters.task),
        ("license", filters.license),
        ("library", filters.library),
        ("languages", filters.language),
        ("publisher", str(filters.publisher) if filters.publisher else None),
    ):
        if value and words(value):
            quoted = _quoted(value)
            terms.append(f'{column} : "{quoted}"')
    for tag in filters.tags:
        if words(tag):
            quoted = _quoted(tag)
            terms.append(f'{{task library languages tags}} : "{quoted}"')
    return " AND ".join(terms)


def _quoted(value: str) -> str:
    """A value inside quotes of the full-text index, which ends a text at a NUL."""
    return value.replace('"', '""').replace("\0", " ")


def _hit(
    publisher: str,
    name: str,
    kind: Kind,
    task: str,
    license: str,
    library: str,
    languages: str,
    tags: str,
    size: int,
    created: int,
    parameters: int,
    ref: str,
    digest: bytes,
) -> Hit:
    return Hit(
        RepoId(PublisherId.parse(publisher), name),
        kind,
        ref,
        digest,
        task,
        license,
        library,
        tuple(json.loads(languages)),
        tuple(json.loads(tags)),
        size,
        created,
        parameters,
    )
