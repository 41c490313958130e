"""Lists of repos, as Hugging Face's clients ask for them: words, filters, pages.

What is known of repos is the local catalog: `search`, `author`, `filter` (tags, and the kinds of
tag that the Hub writes as `license:mit`), `pipeline_tag` and the like. There are no likes here, and
downloads are counted by nobody, so those orders are that of time. What a filter asks that is known
of no repo (`gated`, `inference_provider`) leaves none.

>>> of_filters(["license:mit", "language:en", "pytorch", "region:us"])
({'license': 'mit', 'language': 'en'}, ('pytorch',))
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import Kind
from p2phub.gateway.hub_answers import row
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paging import TRUE, expanded, next_link, whole
from p2phub.gateway.ports import NodeApi
from p2phub.kinds import read_amount
from p2phub.node.values import Hit, SearchQuery, Sort
from p2phub.trust.verdict import Verdict

PAGE: Final = 500
"""Repos in one answer."""
MOST: Final = 10_000
"""Repos that all pages have together."""
_ORDERS: Final[dict[str, Sort]] = {
    "downloads": "relevance",
    "likes": "relevance",
    "trendingScore": "relevance",
    "trending_score": "relevance",
    "lastModified": "updated",
    "last_modified": "updated",
    "createdAt": "updated",
    "created_at": "updated",
}
_KINDS_OF_TAG: Final = {
    "license": "license",
    "language": "language",
    "library": "library",
    "task": "task",
    "task_categories": "task",
    "pipeline_tag": "task",
}
REFUSED: Final = frozenset(
    each.value for each in Verdict if not each.good and each is not Verdict.UNSIGNED
)
"""Verdicts with which nothing is handed out."""
_NOBODY: Final = ("apps", "inference", "inference_provider")
"""What is asked of hosted services, which nothing here is on."""
_RANGE: Final = "write it like min:1M,max:9B"


class Listing:
    """Lists the repos of a kind."""

    def __init__(self, node: NodeApi, kind: Kind) -> None:
        self._node, self._kind = node, kind

    async def answer(self, request: Request) -> Response:
        """One page of what the query asks for. Raises `UsageError`."""
        query = request.query_params
        first = whole(query.get("cursor") or "0")
        limit = min(PAGE, whole(query.get("limit") or str(PAGE)))
        if limit == 0 or query.get("gated") in TRUE or any(query.get(name) for name in _NOBODY):
            return Told([])
        hits = await self._hits(request, min(first + limit + 1, MOST))
        wanted = set(query.getlist("expand") + query.getlist("expand[]"))
        full = bool(wanted) or query.get("full") in TRUE or query.get("cardData") in TRUE
        shown = [hit for hit in hits[first : first + limit] if hit.verdict not in REFUSED]
        page = [expanded(row(hit, full=full), wanted) for hit in shown]
        more = len(hits) > first + limit
        headers = {"Link": next_link(request, str(first + limit))} if more else {}
        return Told(page, headers=headers)

    async def _hits(self, request: Request, most: int) -> Sequence[Hit]:
        query = request.query_params
        sort = query.get("sort") or "trendingScore"
        if sort not in _ORDERS:
            raise UsageError(f"cannot sort by {sort[:40]}; by {', '.join(_ORDERS)}")
        filters, tags = of_filters(query.getlist("filter") + query.getlist("tags"))
        for name in ("pipeline_tag", "library", "language", "license", "task"):
            if value := query.get(name):
                filters[_KINDS_OF_TAG[name]] = value
        least, most_of_them = between(query.get("num_parameters") or "")
        asked = SearchQuery(
            min_params=least,
            max_params=most_of_them,
            text=" ".join(query.getlist("search")),
            publisher=query.get("author"),
            kind=self._kind,
            tags=tags,
            sort=_ORDERS[sort],
            limit=most,
            **filters,
        )
        try:
            return await self._node.search(asked)
        except (NotFoundError, UsageError):
            if asked.publisher is None:
                raise
            return []  # an author whom nobody here knows


def between(text: str) -> tuple[int | None, int | None]:
    """The bounds that the Hub writes as `min:1M,max:9B`. Raises `UsageError`.

    >>> between("min:1.5M,max:9B"), between("max:70m"), between("")
    ((1500000, 9000000000), (None, 70000000), (None, None))
    """
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, amount = part.strip().partition(":")
        try:
            found[name] = read_amount(amount)
        except ValueError:
            name = ""
        if name not in ("min", "max"):
            raise UsageError(f"{text[:40]!r} is no range of parameters", remedy=_RANGE)
    return found.get("min"), found.get("max")


def of_filters(filters: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What filters mean for a search, and the tags that they ask for."""
    found: dict[str, Any] = {}
    tags = []
    for text in filters:
        kind, colon, value = text.partition(":")
        if colon and kind in _KINDS_OF_TAG:
            found[_KINDS_OF_TAG[kind]] = value
        elif not (colon and kind == "region"):
            tags.append(text)
    return found, tuple(tags)
