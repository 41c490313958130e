"""Where an answer stops: the texts that end it, found in text that comes bit by bit.

Rules it keeps:
 * a stop text is found wherever the borders of the bits fall;
 * nothing of it, and nothing after it, is ever let out; what could become one waits;
 * the one that is complete first ends it; of several complete at once, the one that began first.

Text it is; which tokens it came from is for `text_answer`.

>>> matcher = StopMatcher(("END",))
>>> matcher.feed("a lot E"), matcher.feed("Nd E"), matcher.feed("ND of it")
('a lot ', 'ENd ', '')
>>> matcher.found
'END'
"""

from typing import Final


class StopMatcher:
    """Lets text through until one of the stop texts comes."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops: Final = stops
        self._held = ""
        self.found = ""
        """The stop text that came; empty: none so far."""

    def feed(self, text: str) -> str:
        """What may be let out now that `text` came."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        self._held = ""
        first = self._first(text)
        if first is not None:
            at, self.found = first
            return text[:at]
        kept = max(_beginning_at_the_end(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """What was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        return "" if self.found else held

    def _first(self, text: str) -> tuple[int, str] | None:
        """Where the stop text that is complete first begins, and which it is."""
        ends = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(ends)[1:] if ends else None


def _beginning_at_the_end(text: str, stop: str) -> int:
    """The most characters at the end of `text` that are the beginning of `stop`, and not all.

    >>> _beginning_at_the_end("so aaa", "aab")
    2
    """
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
