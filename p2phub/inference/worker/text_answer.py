"""One answer under way: its tokens come in, its pieces and its end go out.

Rules it keeps:
 * exactly one end, whoever is first: the model, a stop text, `cancel`, or an error; nothing after;
 * text goes out as soon as it is whole and cannot be a part of a stop text or of a call;
 * the log probability of a token goes out with the text that it completes, never before, and not
   at all if its text was cut off.

It may be called from any thread. Which tokens come is for `sampling`; who computes them, for
`text_batch` and `text_alone`.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tokenizers.decoders import ByteLevel

from p2phub.errors import P2PHubError
from p2phub.inference.requests import Chosen, Finished, FinishReason, Json, Piece
from p2phub.inference.worker.backend import Sink
from p2phub.inference.worker.chat_tools import MARKS, ToolReader
from p2phub.inference.worker.sampling import Chooser, Likely
from p2phub.inference.worker.stops import StopMatcher
from p2phub.inference.worker.text_decode import ByteDetokenizer, Detokenizer, Reader


class Vocabulary:
    """The tokens of one tokenizer as text. `ends`: tokens that end an answer."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._fast: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        self._of_bytes = self._fast is not None and isinstance(self._fast.decoder, ByteLevel)
        self._known: dict[int, bytes] = {}
        added = tokenizer.added_tokens_decoder
        special = {token for token, each in added.items() if each.special}
        self.ends: Final = frozenset(ends)
        self.silent: Final = frozenset(special | set(tokenizer.all_special_ids) | self.ends)
        """Tokens that are no text."""
        marks = {token for token, each in added.items() if str(each) in MARKS}
        self.silent_with_tools: Final = self.silent - marks

    def decode(self, tokens: Sequence[int]) -> str:
        """Their text, special tokens as they are written."""
        if self._fast is not None:
            return str(self._fast.decode(list(tokens), skip_special_tokens=False))
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def reader(self, prompt: Sequence[int], *, tools: bool) -> Reader:
        """Makes text of an answer to `prompt`; with `tools`, the marks of calls are text."""
        skip = self.silent_with_tools if tools else self.silent
        if self._of_bytes:
            return ByteDetokenizer(self._read, skip=skip)
        return Detokenizer(self.decode, skip=skip, prompt=prompt)

    def _read(self, token: int) -> bytes:
        """The bytes of a token of a byte-level tokenizer; none of one that it does not have."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = _bytes_of(self._fast.id_to_token(token) or "")
        return known

    def told(self, token: int, likely: Likely) -> Chosen:
        others = tuple(self._one(each, logprob) for each, logprob in likely.others)
        one = self._one(token, likely.logprob)
        return Chosen(one.text, one.logprob, one.token, others, token)

    def _one(self, token: int, logprob: float) -> Chosen:
        text = self.decode([token])
        return Chosen(text, logprob, self._bytes(token, text), id=token)

    def _bytes(self, token: int, text: str) -> bytes:
        """The bytes of a token, those that are no whole character too."""
        if "\N{REPLACEMENT CHARACTER}" not in text:
            return text.encode()
        name = str(self._tokenizer.convert_ids_to_tokens(token))
        if name.startswith("<0x") and name.endswith(">"):
            return bytes.fromhex(name[3:-1])
        return _bytes_of(name)


def _byte_letters() -> dict[str, int]:
    """The letters by which byte-level tokenizers write bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + at): byte for at, byte in enumerate(rest)}


_BYTES: Final = _byte_letters()


def _bytes_of(name: str) -> bytes:
    """The bytes of a byte-level token, by its name; an added token is written as it is.

    >>> _bytes_of("\u0120caf\u00c3"), _bytes_of("a b")
    (b' caf\\xc3', b'a b')
    """
    known = [_BYTES.get(letter) for letter in name]
    return name.encode() if None in known else bytes(each or 0 for each in known)


@dataclass(frozen=True, slots=True)
class Ask:
    """What one answer needs to know of its request."""

    prompt: list[int]
    limit: int
    """New tokens at most."""
    chooser: Chooser
    stop: tuple[str, ...] = ()
    tools: ToolReader | None = None
    echo: str = ""
    logprobs: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What the model is given beside tokens: pixels."""
    adapter: int = 0
    """The number of the adapter that it uses; 0: none."""


class Answer:
    """Takes the tokens of one request, and tells its sink."""

    def __init__(self, ask: Ask, vocabulary: Vocabulary, sink: Sink) -> None:
        self.ask: Final = ask
        self.count = 0
        """Tokens that came."""
        self.cached = 0
        """Tokens of the prompt that were in the cache."""
        self._vocabulary, self._sink = vocabulary, sink
        self._decoder = vocabulary.reader(ask.prompt, tools=ask.tools is not None)
        self._stops = StopMatcher(ask.stop)
        self._lock = threading.Lock()
        self._over = False
        self._called = False
        self._waiting: list[tuple[int, Chosen]] = []
        self._read = self._let = 0
        if ask.echo:
            sink.piece(Piece(ask.echo))

    @property
    def over(self) -> bool:
        return self._over

    def take(self, tokens: Sequence[int]) -> bool:
        """`tokens` came. True if that ended it: by a stop text."""
        with self._lock:
            if self._over:
                return True
            text = ""
            for token in tokens:
                text += self._one(token)
                if self._stops.found:
                    break
            self._tell(text, *self._ready())
            if self._stops.found:
                self._finish("stop")
            return self._over

    def finish(self, last: int | None) -> None:
        """The model ended it; `last`: its last token."""
        with self._lock:
            if self._over:
                return
            rest = self._decoder.flush()
            self._read += len(rest)
            text = self._stops.feed(rest) + self._stops.flush()
            self._let += len(text)
            self._tell(text, *self._ready())
            ended = last in self._vocabulary.ends or self._stops.found
            self._finish("stop" if ended else "length")

    def fail(self, error: P2PHubError) -> None:
        with self._lock:
            if not self._over:
                self._over = True
                self._sink.failed(error)

    def _one(self, token: int) -> str:
        text = self._decoder.feed(token)
        self._read += len(text)
        if self.ask.logprobs:
            told = self._vocabulary.told(token, self.ask.chooser.likely[self.count])
            if token not in self._vocabulary.ends:
                self._waiting.append((self._read, told))
        self.count += 1
        out = self._stops.feed(text)
        self._let += len(out)
        return out

    def _ready(self) -> list[Chosen]:
        """The tokens whose text is out."""
        ready = [told for end, told in self._waiting if end <= self._let]
        self._waiting = self._waiting[len(ready) :]
        return ready

    def _tell(self, text: str, *chosen: Chosen) -> None:
        calls: tuple[Json, ...] = ()
        if self.ask.tools is not None and text:
            text, calls = self.ask.tools.feed(text)
        self._called = self._called or bool(calls)
        if text or chosen or calls:
            self._sink.piece(Piece(text, chosen, calls))

    def _finish(self, reason: FinishReason) -> None:
        if self.ask.tools is not None:
            text, calls = self.ask.tools.flush()
            self._called = self._called or bool(calls)
            if text or calls:
                self._sink.piece(Piece(text, (), calls))
        self._over = True
        reason = "tool_calls" if self._called and reason == "stop" else reason
        prompt = len(self.ask.prompt)
        self._sink.finished(Finished(reason, prompt, self.count, self.cached, self._stops.found))
