from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2phub.inference.worker.stops import StopMatcher

TEXTS = st.text("ab", max_size=30)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple)


def run(stops: tuple[str, ...], bits: list[str]) -> tuple[str, str]:
    matcher = StopMatcher(stops)
    out = "".join([matcher.feed(bit) for bit in bits]) + matcher.flush()
    return out, matcher.found


def cut_after_first_end(text: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """The plain way: look at every beginning of the text in turn."""
    for end in range(len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            longest = max(ended, key=len)
            return text[: end - len(longest)], longest
    return text, ""


@given(TEXTS, STOPS, st.lists(st.integers(0, 30), max_size=6))
def test_a_stop_text_is_found_wherever_the_borders_fall(text, stops, cuts):
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    bits = [text[a:b] for a, b in pairwise(borders)]
    assert run(stops, bits) == cut_after_first_end(text, stops)


@given(TEXTS, STOPS)
def test_no_beginning_of_a_stop_text_leaks(text, stops):
    matcher = StopMatcher(stops)
    wanted = cut_after_first_end(text, stops)[0]
    out = ""
    for letter in text:
        out += matcher.feed(letter)
        assert wanted.startswith(out)


def test_without_stop_texts_everything_goes_through_at_once():
    matcher = StopMatcher(())
    assert matcher.feed("any") == "any"
    assert matcher.flush() == ""
    assert matcher.found == ""


def test_nothing_comes_after_a_stop_text():
    matcher = StopMatcher(("|",))
    assert matcher.feed("a|b") == "a"
    assert (matcher.feed("c"), matcher.flush(), matcher.found) == ("", "", "|")
