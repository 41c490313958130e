"""Pages of the cache that requests may share: only those that the same adapter has computed.

Transformers shares pages of keys and values between requests whose prompts begin alike. It knows a
page by a hash of its tokens and of the page before it, and nothing of adapters. So the tokens that
it hashes for a request with an adapter carry that adapter's number, in bits that no token has.

The number of the adapter stands in the id of the request, and lives as long as that: a page that is
finished after its request was given up is still known for what it is.

>>> named(5, 0), named(5, 12), number_in("r5"), number_in("r5.12")
('r5', 'r5.12', 0, 12)
>>> marked([1, 2, 3, 4], 0), [each >> 21 for each in marked([1, 2, 3, 4], 1025)]
([1, 2, 3, 4], [1, 1, 0, 0])
"""

from collections.abc import Sequence
from typing import Any, Final

_TOKEN_BITS: Final = 21
_DIGIT_BITS: Final = 10
"""Both together are what is hashed of a token: 31 bits and a sign."""
_DIGITS: Final = 3
"""Tokens that carry a part of the number; a page has more."""


def named(request: int, adapter: int) -> str:
    """The id of a request that uses the adapter with that number; 0: none."""
    return f"r{request}.{adapter}" if adapter else f"r{request}"


def number_in(id: str) -> int:
    """The number of the adapter of the request with this id; 0: none."""
    return int(id.partition(".")[2] or 0)


def marked(tokens: Sequence[int], adapter: int) -> list[int]:
    """The tokens, unlike those of any other adapter."""
    made = list(tokens)
    for at in range(min(_DIGITS, len(made)) if adapter else 0):
        digit = adapter >> (_DIGIT_BITS * at) & ((1 << _DIGIT_BITS) - 1)
        made[at] |= digit << _TOKEN_BITS
    return made


def keep_apart(cache: Any) -> None:
    """Let the cache of a batch share pages only between requests of one adapter."""
    search = cache.search_prefix_match

    def search_marked(id: str, prompt: list[int]) -> int:
        return int(search(id, marked(prompt, number_in(id))))

    cache.search_prefix_match = search_marked
    for allocator in cache.cache_allocators.values():
        _mark_pages(allocator)


def _mark_pages(allocator: Any) -> None:
    mark = allocator.mark_complete_blocks

    def mark_marked(id: str, tokens: list[int], count: int) -> None:
        mark(id, marked(tokens, number_in(id)), count)

    allocator.mark_complete_blocks = mark_marked
