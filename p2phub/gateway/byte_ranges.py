"""The `Range` header of a request for a file (RFC 9110, section 14).

What is no range of bytes is as good as not sent, as the RFC wants it. Ranges that overlap or touch
are made one, so that nobody gets more bytes than the file has; more than `MAX_PARTS` are refused.

>>> parse("bytes=0-99,50-149,-10", 1000)
[(0, 150), (990, 1000)]
>>> parse("bytes=5-", 10), parse("lines=1-2", 10), parse("bytes=10-", 10)
([(5, 10)], None, [])
"""

import re
from typing import Final

from p2phub.errors import UsageError
from p2phub.formats.ranges import Range, spans

MAX_PARTS: Final = 64
"""Ranges that one request may ask for."""
MAX_LENGTH: Final = 4096
"""Characters of a header that is read."""
_RANGE = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})")


class TooManyRangesError(UsageError):
    """More ranges than anybody needs."""


def parse(header: str, size: int) -> list[Range] | None:
    """The ranges [start, stop) of a file of `size` bytes that are asked for, in its order.

    None: all of it. Empty: none of them is in the file (416). Raises `TooManyRangesError`.
    """
    unit, equals, texts = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    if len(header) > MAX_LENGTH or texts.count(",") >= MAX_PARTS:
        raise TooManyRangesError(
            f"more than {MAX_PARTS} ranges in one request", remedy="ask for fewer at a time"
        )
    wanted = []
    for text in texts.split(","):
        found = _RANGE.fullmatch(text.strip())
        if found is None:
            return None
        first, last, tail = found.groups()
        if tail is not None:
            wanted.append((max(size - int(tail), 0), size))
        elif last and int(last) < int(first):
            return None
        else:
            wanted.append((int(first), min(int(last) + 1, size) if last else size))
    return list(spans(sorted((start, stop) for start, stop in wanted if start < stop)))
