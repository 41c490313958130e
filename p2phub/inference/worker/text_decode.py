"""Tokens become text, as they come: whole characters only, with the spaces of the whole text.

A token may be a part of a character, and how a token reads may depend on the one before it (a
sentencepiece tokenizer drops the space of the first). So the last tokens that read well are read
again with the new ones, and what is new is the difference.

Byte-level tokenizers (GPT-2, Llama 3, Qwen, …) need none of this: their tokens are bytes, and
`ByteDetokenizer` reads them twenty times as fast.

Rules it keeps:
 * the bits together are what the tokenizer makes of all the tokens, a broken character at the
   very end included;
 * a token costs two readings of a handful of tokens, however long the answer is.

What is skipped (special tokens) is said by whoever makes it; stop texts are `stops`.

>>> letters = {1: b"x", 2: b"\\xc3", 3: b"\\xa9"}
>>> decoder = Detokenizer(lambda ids: b"".join(letters[i] for i in ids).decode(errors="replace"))
>>> decoder.feed(1), decoder.feed(2), decoder.feed(3), decoder.flush()
('x', '', 'é', '')
"""

import codecs
from collections.abc import Callable, Sequence
from typing import Final, Protocol

Decode = Callable[[Sequence[int]], str]
"""The text of tokens, with a replacement character for what is no whole character."""
_BROKEN: Final = "\N{REPLACEMENT CHARACTER}"
_PROMPT_TAIL: Final = 4
"""Tokens of the prompt that are read with the first new one."""
_LONGEST_CHARACTER: Final = 16
"""Tokens after which a replacement character is believed: the model wrote no whole character."""


class Reader(Protocol):
    """Makes text of the tokens of one answer."""

    def feed(self, token: int) -> str:
        """The text that is complete with `token`."""
        ...

    def flush(self) -> str:
        """The rest, now that no token comes any more."""
        ...


class ByteDetokenizer:
    """The text of one answer, where each token stands for bytes. `skip`: tokens that are none.

    >>> reader = ByteDetokenizer({1: b"x", 2: b"\\xc3", 3: b"\\xa9"}.__getitem__)
    >>> reader.feed(1), reader.feed(2), reader.feed(3), reader.feed(2), reader.flush()
    ('x', '', 'é', '', '\N{REPLACEMENT CHARACTER}')
    """

    def __init__(
        self, bytes_of: Callable[[int], bytes], *, skip: frozenset[int] = frozenset()
    ) -> None:
        self._bytes_of = bytes_of
        self._skip = skip
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that is complete with `token`."""
        return "" if token in self._skip else self._decoder.decode(self._bytes_of(token))

    def flush(self) -> str:
        """The rest, now that no token comes any more."""
        return self._decoder.decode(b"", True)


class Detokenizer:
    """The text of one answer. `skip`: tokens that are no text."""

    def __init__(
        self,
        decode: Decode,
        *,
        skip: frozenset[int] = frozenset(),
        prompt: Sequence[int] = (),
    ) -> None:
        self._decode = decode
        self._skip = skip
        self._read = [token for token in prompt[-_PROMPT_TAIL:] if token not in skip]
        self._read_text = decode(self._read) if self._read else ""
        self._new: list[int] = []

    def feed(self, token: int) -> str:
        """The text that is complete with `token`."""
        if token in self._skip:
            return ""
        self._new.append(token)
        text = self._decode([*self._read, *self._new])
        if text.endswith(_BROKEN) and len(self._new) < _LONGEST_CHARACTER:
            return ""
        return self._take(text)

    def flush(self) -> str:
        """The rest, now that no token comes any more."""
        return self._take(self._decode([*self._read, *self._new])) if self._new else ""

    def _take(self, text: str) -> str:
        fresh = text[len(self._read_text) :]
        self._read, self._new = self._new, []
        self._read_text = self._decode(self._read)
        return fresh
