"""Finding repos in the local catalog, offline.

Every word must occur: in the name, publisher, task, library, licence, languages, tags or summary,
also as the beginning of a longer word; a word that is an alias of ours finds that publisher, too.
A filter must hold exactly (but for upper and lower case). Where there is text, filters are also
given to the full-text index, which leaves few rows to look at; where there is none, each order
walks its own index.

>>> match_of("mini lm", Filters(task="feature-extraction"), {})
'"mini"* AND "lm"* AND task : "feature-extraction"'
>>> match_of('say "hi"', EVERYTHING, {})
'"say"* AND "hi"*'
>>> match_of("lab bert", EVERYTHING, {"lab": "a" * 52})[:40]
'("lab"* OR publisher : "aaaaaaaaaaaaaaaa'
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from p2phub.formats.ids import Kind, PublisherId, RepoId, commit_id
from p2phub.store.index import Statements, Value

Order = Literal["relevance", "created", "size", "name"]

MAX_WORDS = 16
"""Words of a query that are looked for; more only make it slow."""
MAX_HITS = 10_000
_FACETS = ("task", "license", "library", "language")
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

    @property
    def commit(self) -> str:
        return commit_id(self.digest)


def search(
    statements: Statements, text: str, filters: Filters, order: Order, limit: int
) -> list[Hit]:
    """Listed repos that match; see the module's words."""
    aliases: dict[str, str] = dict(statements.all("search.aliases")) if text else {}
    match = match_of(text, filters, aliases)
    given: dict[str, Value] = {
        "task": filters.task,
        "license": filters.license,
        "library": filters.library,
        "language": filters.language,
        "publisher": str(filters.publisher) if filters.publisher else None,
        "kind": filters.kind,
        "max_size": filters.max_size,
    }
    values = {name: value for name, value in given.items() if value is not None}
    has_text = bool(words(text))
    if order == "relevance" and not has_text:
        order = "created"
    parts = ["by_text" if has_text else "every", *values, f"order_{order}"]
    values["limit"] = max(0, min(limit, MAX_HITS))
    if has_text:
        values["match"] = match
    rows = statements.compose([f"search.{part}" for part in parts], values)
    found = (statements.one("search.hit", id) for (id,) in rows)
    return [_hit(*row) for row in found if row is not None]


def words(text: str) -> list[str]:
    """The words of a query; what has no letter or digit is no word.

    >>> words("BERT-base (v1.5)  --- 日本語")
    ['BERT-base', 'v1.5', '日本語']
    """
    return _WORD.findall(text)[:MAX_WORDS]


def match_of(text: str, filters: Filters, aliases: Mapping[str, str]) -> str:
    """The query for the full-text index."""
    terms = []
    for word in words(text):
        publisher = aliases.get(word.lower())
        also = f' OR publisher : "{publisher}"' if publisher else ""
        terms.append(f'("{word}"*{also})' if also else f'"{word}"*')
    for column, value in (
        ("task", filters.task),
        ("license", filters.license),
        ("library", filters.library),
        ("languages", filters.language),
    ):
        if value and words(value):
            quoted = value.replace('"', '""')
            terms.append(f'{column} : "{quoted}"')
    return " AND ".join(terms)


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
    )
