from hypothesis import given
from hypothesis import strategies as st

from p2phub.inference.worker.text_pages import keep_apart, marked, named, number_in

TOKENS = st.lists(st.integers(0, (1 << 21) - 1), min_size=3, max_size=8)
NUMBERS = st.integers(0, (1 << 30) - 1)


@given(st.integers(0, 10**9), NUMBERS)
def test_the_number_comes_back_from_the_id(request, adapter):
    assert number_in(named(request, adapter)) == adapter


@given(TOKENS, NUMBERS, TOKENS, NUMBERS)
def test_tokens_of_two_adapters_are_never_alike(tokens, adapter, others, other):
    same = (tokens, adapter) == (others, other)
    assert (marked(tokens, adapter) == marked(others, other)) == same
    assert all(0 <= each < 1 << 31 for each in marked(tokens, adapter))


def test_tokens_without_an_adapter_are_as_they_were():
    assert marked([5, 6, 7], 0) == [5, 6, 7]


class Allocator:
    def __init__(self):
        self.seen = []

    def mark_complete_blocks(self, id, tokens, count):
        self.seen.append((id, tokens, count))


class Cache:
    def __init__(self):
        self.cache_allocators = {"full": Allocator()}
        self.seen = []

    def search_prefix_match(self, id, prompt):
        self.seen.append((id, prompt))
        return 32


def test_pages_are_looked_for_and_kept_under_the_same_marks():
    cache = Cache()
    keep_apart(cache)
    assert cache.search_prefix_match("r1.7", [1, 2, 3, 4]) == 32
    allocator = cache.cache_allocators["full"]
    allocator.mark_complete_blocks("r1.7", [1, 2, 3, 4, 9], 1)
    prompt = [1 | 7 << 21, 2, 3, 4]
    assert cache.seen == [("r1.7", prompt)]
    assert allocator.seen == [("r1.7", [*prompt, 9], 1)]
