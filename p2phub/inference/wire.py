"""What the pool and a worker say to each other, over a pair of connected sockets.

A frame is the length of its JSON and that of its blob (u32 each, little-endian), the JSON, the
blob. The JSON is a row: the name of the message, then its fields. Tokens are what is sent most, so
a `Part` has a short form of its own, and many frames may share one write.

    node                          worker
    load(spec)             ->
    tabled, arrived, moved ->                        as files that still come grow
                           <-     loading            any number
                           <-     ready, or failed(0)
    ask(id, method, value) ->
    cancel(id)             ->
                           <-     part(id)           pieces, then the end
                           <-     answer(id), or failed(id)
    ping                   ->     pong
    close                  ->                        and the end of the stream

Rules it keeps:
 * no length is believed: a frame over `MAX_JSON` or `MAX_BLOB` is `GarbageError` before any memory
   is spent on it, and `UsageError` where it would be sent;
 * every error of ours crosses by its code, with its sentence; a code that is not known is
   `EngineError`.

>>> reader = Reader()
>>> sent = encode(Part(7, Piece("Paris"))) + encode(Ping(1))
>>> [*reader.feed(sent[:9]), *reader.feed(sent[9:])]
[Part(id=7, value=Piece(text='Paris', tokens=(), tool_calls=())), Ping(number=1)]
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from struct import Struct
from typing import Any, Final, Literal, cast, get_type_hints

from p2phub.errors import BusyError, EngineError, GarbageError, P2PHubError, UsageError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.wire_values import pack, unpack

MAX_JSON: Final = 256 << 20
"""Bytes of the JSON of a frame: a prompt of 100 MB, each byte of it escaped, is no reason to end
a worker."""
MAX_BLOB: Final = 512 << 20
"""Bytes beside it: piece tables, images, sounds, vectors."""
MAX_MESSAGE: Final = 16 << 10
"""Characters of the sentence of an error."""
WHOLE: Final = 0
"""The id of a failure that is about no request: the model did not load."""
_HEAD: Final = Struct("<II")
_PART: Final = "p"

Method = Literal["generate", "embed", "run", "count", "attach", "detach"]


@dataclass(frozen=True, slots=True)
class Load:
    """The first message: what to load."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Loading:
    """How it goes: what is done now, bytes done, bytes in all."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ready:
    """It is loaded."""

    info: ModelInfo


@dataclass(frozen=True, slots=True)
class Arrived:
    """Bytes `start` to `stop` of a file that was not complete are on the disk now."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A file is complete and lies elsewhere now; `where` is its absolute path."""

    name: str
    where: str


@dataclass(frozen=True, slots=True)
class Tabled:
    """The piece table of a file came that was not there when the load began."""

    name: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `id`: 1 or more, never used twice."""

    id: int
    method: Method
    value: Generate | Embed | TaskRequest | Adapter | str
    """A text to `detach`: the name of the adapter, or the digest of its release."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this answer any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer to `generate`; `Finished` is the last."""

    id: int
    value: Piece | Finished


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one of the other methods: a number to `count`, and what the model is now to
    `attach` and `detach`."""

    id: int
    value: Embeddings | TaskAnswer | int | ModelInfo


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed, or (`WHOLE`) the load."""

    id: int
    error: P2PHubError


@dataclass(frozen=True, slots=True)
class Ping:
    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    number: int


@dataclass(frozen=True, slots=True)
class Close:
    """End yourself."""


Message = (
    Part
    | Load
    | Loading
    | Ready
    | Arrived
    | Moved
    | Tabled
    | Ask
    | Cancel
    | Answer
    | Failed
    | Ping
    | Pong
    | Close
)


@dataclass(frozen=True, slots=True)
class _Told:
    """An error of ours, as it crosses."""

    code: str
    message: str
    remedy: str = ""
    retry_after: float = 0.0


_NAMES: Final[dict[type, str]] = {
    Load: "load",
    Loading: "loading",
    Ready: "ready",
    Arrived: "arrived",
    Moved: "moved",
    Tabled: "tabled",
    Cancel: "cancel",
    Ping: "ping",
    Pong: "pong",
    Close: "close",
}
"""Messages whose fields each have one type."""
_MESSAGES: Final[dict[str, type]] = {name: kind for kind, name in _NAMES.items()}
_FIELDS: Final = {
    kind: [(each.name, get_type_hints(kind)[each.name]) for each in fields(kind)] for kind in _NAMES
}
_ASKED: Final[dict[str, type]] = {
    "generate": Generate,
    "embed": Embed,
    "run": TaskRequest,
    "count": Generate,
    "attach": Adapter,
    "detach": str,
}
_ANSWERS: Final[dict[str, type]] = {
    "vectors": Embeddings,
    "task": TaskAnswer,
    "number": int,
    "info": ModelInfo,
}
_ANSWER_NAMES: Final = {kind: name for name, kind in _ANSWERS.items()}
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_from_json = json.JSONDecoder().decode


def encode(message: Message) -> bytes:
    """The frame of a message. Raises `UsageError` for one that is too large or too deep."""
    parts: list[bytes] = []
    try:
        data = _to_json(_row(message, parts)).encode("ascii")
    except RecursionError:
        raise UsageError("the request is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"the request is no JSON: {error}") from None
    size = sum(map(len, parts))
    if len(data) > MAX_JSON or size > MAX_BLOB:
        raise UsageError(
            f"{len(data) + size} bytes are more than a model is given, or gives, at once",
            remedy="send less in one request",
        )
    return b"".join((_HEAD.pack(len(data), size), data, *parts))


def _row(message: Message, parts: list[bytes]) -> list[Any]:
    """What a message is as JSON; its bytes go to `parts`."""

    def packed(kind: Any, value: Any) -> Any:
        made, blob = pack(kind, value)
        parts.append(blob)
        return made

    match message:
        case Part(id, Piece(text, (), ())):
            return [_PART, id, text]
        case Part(id, value):
            return [_PART, id, type(value) is Piece, packed(type(value), value)]
        case Ask(id, method, value):
            return ["ask", id, method, packed(_ASKED[method], value)]
        case Answer(id, value):
            return ["answer", id, _ANSWER_NAMES[type(value)], packed(type(value), value)]
        case Failed(id, error):
            return ["failed", id, packed(_Told, _told(error))]
        case _:
            kind = type(message)
            rest = [packed(hint, getattr(message, name)) for name, hint in _FIELDS[kind]]
            return [_NAMES[kind], *rest]


def _told(error: P2PHubError) -> _Told:
    retry = error.retry_after if isinstance(error, BusyError) else 0.0
    return _Told(error.code, error.message[:MAX_MESSAGE], error.remedy[:MAX_MESSAGE], retry)


def decode(data: bytes, blob: bytes = b"") -> Message:
    """The message of a frame. Raises `GarbageError`."""
    try:
        row = _from_json(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise GarbageError("a frame that is no JSON") from None
    match row:
        case [str(tag), int(id), str(text)] if tag == _PART:
            return Part(id, Piece(text))
        case [str(tag), int(id), bool(more), made] if tag == _PART:
            return Part(id, unpack(Piece, made, blob) if more else unpack(Finished, made, blob))
        case ["ask", int(id), str(method), made] if method in _ASKED:
            return Ask(id, cast(Method, method), unpack(_ASKED[method], made, blob))
        case ["answer", int(id), str(name), made] if name in _ANSWERS:
            return Answer(id, unpack(_ANSWERS[name], made, blob))
        case ["failed", int(id), made]:
            return Failed(id, _error(unpack(_Told, made, blob)))
        case [str(name), *rest] if name in _MESSAGES:
            return _plain(_MESSAGES[name], rest, blob)
        case _:
            raise GarbageError(f"no message that is known: {repr(row)[:80]}")


def _plain(kind: type, rest: list[Any], blob: bytes) -> Message:
    """A message with fields of one type each; only the last may have bytes beside it."""
    hints = [hint for _, hint in _FIELDS[kind]]
    if len(rest) != len(hints):
        raise GarbageError(f"{kind.__name__} has {len(hints)} fields, not {len(rest)}")
    blobs = [b""] * (len(hints) - 1) + [blob]
    made: Message = kind(*(unpack(*each) for each in zip(hints, rest, blobs, strict=False)))
    return made


def _error(told: _Told) -> P2PHubError:
    kind = _codes(P2PHubError).get(told.code, EngineError)
    if issubclass(kind, BusyError):
        return kind(told.message, remedy=told.remedy, retry_after=told.retry_after)
    return kind(told.message, remedy=told.remedy)


def _codes(kind: type[P2PHubError]) -> dict[str, type[P2PHubError]]:
    """Every error that has a code of its own."""
    found = {kind.code: kind} if "code" in vars(kind) else {}
    for each in kind.__subclasses__():
        found |= _codes(each)
    return found


@dataclass(slots=True)
class Reader:
    """Makes messages of what comes, however it was cut."""

    _held: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now. Raises `GarbageError`; then nothing more can be read."""
        held, at = self._held, 0
        held += data
        try:
            while len(held) - at >= _HEAD.size:
                size, beside = _HEAD.unpack_from(held, at)
                if size > MAX_JSON or beside > MAX_BLOB:
                    raise GarbageError(f"a frame of {size} and {beside} bytes is too large")
                start, end = at + _HEAD.size, at + _HEAD.size + size + beside
                if end > len(held):
                    break
                at = end
                yield decode(bytes(held[start : start + size]), bytes(held[start + size : end]))
        finally:
            del held[:at]

    @property
    def between(self) -> bool:
        """Whether no part of a frame is held: nothing is lost if it ends here."""
        return not self._held
