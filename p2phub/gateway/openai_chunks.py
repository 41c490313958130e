"""What OpenAI's clients read: choices of whole answers, and the chunks of those that stream.

A chunk differs from the next in its text alone, so what stands around the text is made once for a
stream and the text is put in between.

>>> head = Head("chatcmpl-1", "chat.completion", 0, "lab/smol", "ab" * 32)
>>> print(ChatChunks(head, 0).piece(Piece("Hi")).decode().strip()[-86:])
"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}
"""

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.inference.requests import Chosen, Finished, Json, Piece
from p2phub.node.served import Served

DONE: Final = b"data: [DONE]\n\n"
LEAST_LOGPROB: Final = -9999.0
"""What JSON has for minus infinity; OpenAI's servers say the same."""
quoted = json.JSONEncoder().encode
"""A text as JSON, in ASCII."""


def compact(value: Any) -> str:
    """JSON without spaces, in ASCII: no client can take a character of it for the end of a line."""
    return json.dumps(value, separators=(",", ":"))


def new_id(prefix: str) -> str:
    """A name that nobody can guess."""
    return f"{prefix}{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Head:
    """What every answer and every chunk of it begins with."""

    id: str
    object: str
    created: int
    model: str
    release: str

    def fields(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fp_{self.release[:16]}" if self.release else None,
        }


def head_of(served: Served, prefix: str, kind: str) -> Head:
    """The head of a new answer."""
    return Head(new_id(prefix), kind, int(time.time()), served.name, served.release)


class Chunks(ABC):
    """The chunks of one choice."""

    kind = ""
    """What `object` is in a chunk."""

    def __init__(self, head: Head, index: int, usage: bool = False) -> None:
        fields = head.fields() | {"object": self.kind or head.object}
        self._front = "data: " + compact(fields)[:-1]
        self._choice = f'{self._front},"choices":[{{"index":{index},'
        self._usage = ',"usage":null' if usage else ""
        self._close = f',"finish_reason":null}}]{self._usage}}}\n\n'
        self._plain = ',"logprobs":null' + self._close

    def piece(self, piece: Piece) -> bytes:
        """The chunk for a piece; empty if there is nothing to tell."""
        told = self.told(piece)
        if not told:
            return b""
        if not piece.tokens:
            return f"{self._choice}{told}{self._plain}".encode()
        logprobs = compact(self.logprobs(piece.tokens))
        return f'{self._choice}{told},"logprobs":{logprobs}{self._close}'.encode()

    @abstractmethod
    def told(self, piece: Piece) -> str:
        """What is new in the choice."""

    @abstractmethod
    def logprobs(self, tokens: Sequence[Chosen]) -> Json:
        """How likely its tokens were."""

    def first(self) -> bytes:
        """What comes before the first piece."""
        return b""

    def last(self, end: Finished, more: Mapping[str, Json]) -> bytes:
        """The chunk that tells how it ended; `more` are fields beside the choices."""
        empty = self.told(Piece("", tool_calls=())) or '"delta":{}'
        close = f',"logprobs":null,"finish_reason":"{end.reason}"}}]{self._usage}'
        return f"{self._choice}{empty}{close},{compact(more)[1:]}\n\n".encode()

    def usage(self, usage: Json, more: Mapping[str, Json]) -> bytes:
        """The chunk after the last choice, where the client asked for it."""
        fields = compact({"choices": [], "usage": usage} | dict(more))
        return f"{self._front},{fields[1:]}\n\n".encode()


class ChatChunks(Chunks):
    """Of the chat API."""

    kind = "chat.completion.chunk"

    def __init__(self, head: Head, index: int, usage: bool = False) -> None:
        super().__init__(head, index, usage)
        self._calls = 0

    def first(self) -> bytes:
        delta = '"delta":{"role":"assistant","content":""}'
        return f"{self._choice}{delta}{self._plain}".encode()

    def told(self, piece: Piece) -> str:
        if piece.tool_calls:
            delta = {"content": piece.text} if piece.text else {}
            return f'"delta":{compact(delta | {"tool_calls": self._numbered(piece)})}'
        if piece.text or piece.tokens:
            return f'"delta":{{"content":{quoted(piece.text)}}}'
        return ""

    def _numbered(self, piece: Piece) -> list[Json]:
        calls = [
            {"index": self._calls + place} | call for place, call in enumerate(piece.tool_calls)
        ]
        self._calls += len(calls)
        return calls

    def logprobs(self, tokens: Sequence[Chosen]) -> Json:
        return chat_logprobs(tokens)


class TextChunks(Chunks):
    """Of the older completions API."""

    def __init__(self, head: Head, index: int, usage: bool = False) -> None:
        super().__init__(head, index, usage)
        self._offset = 0

    def told(self, piece: Piece) -> str:
        if not piece.tokens:
            self._offset += len(piece.text)
        return f'"text":{quoted(piece.text)}'

    def logprobs(self, tokens: Sequence[Chosen]) -> Json:
        told = legacy_logprobs(tokens, self._offset)
        self._offset += sum(len(each.text) for each in tokens)
        return told


def logprob_of(token: Chosen) -> float:
    """How likely it was, as a number that JSON can hold."""
    logprob = token.logprob
    return max(logprob, LEAST_LOGPROB) if logprob == logprob else LEAST_LOGPROB


def _entry(token: Chosen) -> dict[str, Json]:
    spelled = list(token.token or token.text.encode("utf-8", "replace"))
    return {"token": token.text, "logprob": logprob_of(token), "bytes": spelled}


def chat_logprobs(tokens: Sequence[Chosen]) -> Json:
    """As the chat API has them."""
    content = [
        _entry(token) | {"top_logprobs": [_entry(other) for other in token.others]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def legacy_logprobs(tokens: Sequence[Chosen], offset: int = 0) -> Json:
    """As the completions API has them; `offset` is where the first token stands in the text."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [logprob_of(token) for token in tokens],
        "top_logprobs": [
            {other.text: logprob_of(other) for other in token.others} for token in tokens
        ],
        "text_offset": offsets,
    }
