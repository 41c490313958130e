"""Pages of lists, and the fields of what is in them, as Hugging Face's clients ask for both.

A cursor is where the next page begins; it comes to the client in a `Link` header.

>>> expanded({"id": "lab/x", "sha": "0", "tags": []}, {"sha", "evalResults"})
{'id': 'lab/x', 'sha': '0'}
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from p2phub.errors import UsageError
from p2phub.gateway.hub_answers import Json

TRUE: Final = ("true", "True", "1")
"""How clients of several ages write it."""


def paged(request: Request, entries: list[Json], most: int) -> tuple[list[Json], dict[str, str]]:
    """One page of a list, and the headers that lead to the next one."""
    query = request.query_params
    first = whole(query.get("cursor") or "0")
    limit = max(1, min(most, whole(query.get("limit") or str(most))))
    page = entries[first : first + limit]
    if first + limit >= len(entries):
        return page, {}
    return page, {"Link": next_link(request, str(first + limit))}


def next_link(request: Request, cursor: str) -> str:
    """The `Link` header to the page that begins at a cursor; absolute, as clients want it."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([*(each for each in pairs if each[0] != "cursor"), ("cursor", cursor)])
    path = request.scope["raw_path"].decode("ascii", "replace")
    return f'<{request.url.scheme}://{request.headers["host"]}{path}?{query}>; rel="next"'


def expanded(told: Json, wanted: Collection[str]) -> Json:
    """The fields that are asked for, or all; a client may ask for what we do not have."""
    if not wanted:
        return told
    return {key: value for key, value in told.items() if key in {"_id", "id", *wanted}}


def whole(text: str) -> int:
    """A whole number in a query. Raises `UsageError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"{text[:40]!r} is no whole number")
    return int(text)
