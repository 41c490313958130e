"""Finds secrets where they must not be: in what was printed, logged, answered or stored.

A secret of bytes is looked for raw, in hex, in base64 at any alignment, as Python writes bytes, and
as a list of numbers; ten bytes of its beginning, middle or end are enough. A phrase is found by any
three of its words in a row, whatever stands between them.

>>> leaks = Leaks({"seed": bytes(range(32))}, {"phrase": "one two three four"})
>>> leaks.found("seed=" + bytes(range(32)).hex())
['seed: hex']
>>> leaks.found('["two", "three", "four"]'), leaks.found("two or three")
(['phrase: words'], [])
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Final

WINDOW: Final = 10
"""Bytes of a secret that are enough to call it a leak."""
IN_A_ROW: Final = 3
"""Words of a phrase that are."""
_WORD: Final = re.compile(rb"[a-z]+")


class Leaks:
    """The secrets of one test, by name."""

    def __init__(self, secrets: Mapping[str, bytes], phrases: Mapping[str, str]) -> None:
        self._needles = {
            needle: f"{name}: {form}"
            for name, secret in secrets.items()
            for at in {0, (len(secret) - WINDOW) // 2, len(secret) - WINDOW}
            for form, needle in _forms(bytes(secret[at : at + WINDOW]))
        }
        self._rows = {
            row: name for name, phrase in phrases.items() for row in _rows(phrase.lower().encode())
        }

    def found(self, told: bytes | str) -> list[str]:
        """What leaks in these bytes, each as the name of the secret and its form."""
        data = told if isinstance(told, bytes) else told.encode("utf-8", "surrogatepass")
        found = {called for needle, called in self._needles.items() if needle in data}
        rows = self._rows.keys() & set(_rows(data.lower()))
        return sorted(found | {f"{self._rows[row]}: words" for row in rows})


def _forms(part: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", part
    yield "hex", part.hex().encode()
    yield "hex", part.hex().upper().encode()
    yield "repr", repr(part)[2:-1].encode()
    yield "numbers", ", ".join(map(str, part)).encode()
    yield "numbers", ",".join(map(str, part)).encode()
    for shift in range(3):
        first, last = -(-8 * shift // 6), 8 * (shift + len(part)) // 6
        for encoded in (b64encode, urlsafe_b64encode):
            yield "base64", encoded(bytes(shift) + part)[first:last]


def _rows(text: bytes) -> Iterator[tuple[bytes, ...]]:
    words = _WORD.findall(text)
    return zip(*(words[at:] for at in range(IN_A_ROW)), strict=False)
