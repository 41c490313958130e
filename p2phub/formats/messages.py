"""What two peers say to each other on the control plane: questions, their answers, one error.

A message is one canonical map with `op`. Nobody signs it and nobody keeps it, so what a peer says
here is a claim until its digest or its signature proves it. Keys that this version does not know
are kept and written back: a later p2phub may say more to one that does not listen.

Rules it keeps:
 * every length and number is checked against `p2phub.formats.limits` while the message is read;
 * whatever is wrong with a peer's bytes becomes `GarbageError`: the peer's fault, never a crash;
 * what `encode_message` writes, `decode_request` or `decode_reply` reads back as the same value.

Framing, time limits and who may ask are the business of `p2phub.network.control`.

>>> question = HaveRequest((ContentId(2, bytes(32)),))
>>> decode_request(encode_message(question)) == question
True
>>> decode_reply(encode_message(ErrorReply(1, "no such document")))
ErrorReply(wire=1, message='no such document', extra={})
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final, Self, TypeVar, get_args

from p2phub.errors import GarbageError, MalformedError, P2PHubError, UsageError, as_wire, from_wire
from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.documents import Extra, Fields, has_control, joined
from p2phub.formats.ids import ContentId
from p2phub.formats.message_kind import Message
from p2phub.formats.news import CatalogReply, CatalogRequest, TellReply, TellRequest

VERSION: Final = 1
"""Of the control protocol: grows only when an old peer could misunderstand."""

ByteRanges = tuple[tuple[int, int], ...]
"""Ranges [start, stop) of a file: in order, not empty, not touching one another."""

_MOST_CONTENT: Final = 16 + 1 + 2 * limits.DIGEST
_MOST_WIRE: Final = 255


@dataclass(frozen=True, slots=True)
class HelloRequest(Message):
    """Who are you? `agent` names the program that asks."""

    OP: ClassVar[str] = "hello"
    agent: str
    version: int = VERSION
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        version = fields.number("version", 1)
        return cls(fields.text("agent", limits.MAX_AGENT), version, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"agent": self.agent, "version": self.version}


@dataclass(frozen=True, slots=True)
class HelloReply(Message):
    """This is who I am, where my data plane listens, and the ticket by which it will know you.

    `data_addresses` ("host:port") were configured; a peer without any is reached at the address
    where it is connected, on `data_port` (0: it has no data plane). The ticket is good for
    `ticket_seconds` from now."""

    OP: ClassVar[str] = "hello"
    agent: str
    ticket: bytes = field(repr=False)
    ticket_seconds: int
    data_port: int
    data_addresses: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    version: int = VERSION
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(
            agent=fields.text("agent", limits.MAX_AGENT),
            ticket=fields.data("ticket", limits.MAX_TICKET),
            ticket_seconds=fields.number("ticket_seconds"),
            data_port=fields.number("data_port", 0, 65535),
            data_addresses=fields.texts(
                "data", limits.MAX_ADDRESSES, limits.MAX_ADDRESS, optional=True
            ),
            capabilities=fields.texts(
                "capabilities", limits.MAX_CAPABILITIES, limits.MAX_WORD, optional=True
            ),
            version=fields.number("version", 1),
            extra=fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "agent": self.agent,
            "ticket": self.ticket,
            "ticket_seconds": self.ticket_seconds,
            "data_port": self.data_port,
            "data": self.data_addresses or None,
            "capabilities": self.capabilities or None,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class DocumentsRequest(Message):
    """Give me these documents, and the newest heads of these publishers. Both are sorted sets."""

    OP: ClassVar[str] = "documents"
    digests: tuple[bytes, ...] = ()
    heads: tuple[bytes, ...] = ()
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        digests = fields.digests("digests", limits.MAX_MESSAGE_DIGESTS)
        heads = fields.digests("heads", limits.MAX_MESSAGE_HEADS)
        return cls(digests, heads, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"digests": self.digests or None, "heads": self.heads or None}


@dataclass(frozen=True, slots=True)
class DocumentsReply(Message):
    """What I have of what you asked for.

    `documents`: by the digest that was asked for. `larger`: what did not fit into this message, or
    was not looked up any more for that reason; the data plane hands it out, if it is there.
    `heads`: records, of any of the publishers."""

    OP: ClassVar[str] = "documents"
    documents: Mapping[bytes, bytes] = field(default_factory=dict)
    larger: tuple[bytes, ...] = ()
    heads: tuple[bytes, ...] = ()
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        parts = fields.parts("documents", limits.MAX_MESSAGE_DIGESTS, optional=True)
        digests = [part.digest("digest") for part in parts]
        if not _strictly_sorted(digests):
            raise fields.wrong("documents", "is not sorted by digest, or has one twice")
        found = [part.data("data", limits.MAX_MESSAGE) for part in parts]
        if any(part.rest() for part in parts):
            raise fields.wrong("documents", "has more than a digest and its data")
        documents = dict(zip(digests, found, strict=True))
        larger = fields.digests("larger", limits.MAX_MESSAGE_DIGESTS)
        heads: tuple[bytes, ...] = ()
        if fields.has("heads"):
            heads = fields.data_list("heads", limits.MAX_MESSAGE_HEADS, limits.MAX_HEAD)
        return cls(documents, larger, heads, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        documents = [
            {"digest": digest, "data": data} for digest, data in sorted(self.documents.items())
        ]
        return {
            "documents": documents or None,
            "larger": self.larger or None,
            "heads": self.heads or None,
        }


@dataclass(frozen=True, slots=True)
class HaveRequest(Message):
    """What do you have of these files? With `follow`: and tell me of what you get from now on."""

    OP: ClassVar[str] = "have"
    contents: tuple[ContentId, ...]
    follow: bool = False
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        contents = _contents(fields, "contents")
        if not contents:
            raise fields.wrong("contents", "is empty")
        return cls(contents, fields.flag("follow"), fields.rest())

    def _write(self) -> Mapping[str, Value]:
        contents = [str(content) for content in self.contents]
        return {"contents": contents, "follow": self.follow or None}


@dataclass(frozen=True, slots=True)
class HaveReply(Message):
    """All of the `complete` ones, and these byte ranges of the `partial` ones.

    Who follows gets one such answer after another, until one says `complete`: `partial` names what
    is new since the one before."""

    OP: ClassVar[str] = "have"
    complete: tuple[ContentId, ...] = ()
    partial: Mapping[ContentId, ByteRanges] = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        complete = _contents(fields, "complete")
        partial: dict[ContentId, ByteRanges] = {}
        for text, value in fields.table(
            "partial", limits.MAX_MESSAGE_DIGESTS, optional=True
        ).items():
            content = _content(fields, "partial", text)
            partial[content] = _ranges(fields, content, value)
        if sum(map(len, partial.values())) > limits.MAX_RANGES:
            raise fields.wrong("partial", f"has more than {limits.MAX_RANGES} byte ranges")
        return cls(complete, partial, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        partial = {
            str(content): [edge for span in ranges for edge in span]
            for content, ranges in self.partial.items()
        }
        complete = [str(content) for content in self.complete]
        return {"complete": complete or None, "partial": partial or None}


@dataclass(frozen=True, slots=True)
class ExchangeRequest(Message):
    """Whom do you know that has or fetches this: a release, or a file by its SHA-256?

    Whoever asks wants it, and is told to others who ask."""

    OP: ClassVar[str] = "exchange"
    digest: bytes
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(fields.digest("digest"), fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"digest": self.digest}


@dataclass(frozen=True, slots=True)
class ExchangeReply(Message):
    """Addresses of peers as full multiaddrs (`/ip4/…/tcp/…/p2p/…`); one peer may have several.

    Whether a text is such an address is for whoever dials it to find out."""

    OP: ClassVar[str] = "exchange"
    peers: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        peers = fields.texts("peers", limits.MAX_EXCHANGED, limits.MAX_ADDRESS, optional=True)
        return cls(peers, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"peers": self.peers or None}


@dataclass(frozen=True, slots=True)
class ErrorReply(Message):
    """No, and why: the wire number of `p2phub.errors` and a sentence."""

    OP: ClassVar[str] = "error"
    wire: int
    message: str
    extra: Extra = field(default_factory=dict)

    @classmethod
    def of(cls, error: P2PHubError) -> Self:
        """What a peer is told of `error`."""
        wire, message = as_wire(error)
        return cls(wire, plain_text(message, limits.MAX_ERROR_TEXT) or "it failed")

    def as_error(self) -> P2PHubError:
        """The error to raise here because the peer raised it there."""
        return from_wire(self.wire, self.message)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        message = fields.text("message", limits.MAX_ERROR_TEXT)
        return cls(fields.number("wire", 0, _MOST_WIRE), message, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"wire": self.wire, "message": self.message}


Request = (
    HelloRequest | DocumentsRequest | HaveRequest | ExchangeRequest | TellRequest | CatalogRequest
)
Reply = (
    HelloReply | DocumentsReply | HaveReply | ExchangeReply | TellReply | CatalogReply | ErrorReply
)
M = TypeVar("M", bound=Message)
_REQUESTS: Final[Mapping[str, type[Request]]] = {kind.OP: kind for kind in get_args(Request)}
_REPLIES: Final[Mapping[str, type[Reply]]] = {kind.OP: kind for kind in get_args(Reply)}


def encode_message(message: Request | Reply) -> bytes:
    """The one spelling of a message. Raises `MalformedError` for one that has none."""
    return encode(joined({"op": message.OP, **message._write()}, message.extra))


def decode_request(data: bytes) -> Request:
    """What a peer asks. Raises `GarbageError`."""
    return _decode(data, _REQUESTS)


def decode_reply(data: bytes) -> Reply:
    """What a peer answers; an `ErrorReply` is a value here too. Raises `GarbageError`."""
    return _decode(data, _REPLIES)


def plain_text(text: str, limit: int) -> str:
    """`text` on one line, without control characters, in at most `limit` bytes.

    >>> plain_text("two\\nlines", 100)
    'two lines'
    """
    visible = "".join(" " if has_control(letter) else letter for letter in text[:limit])
    return visible.encode()[:limit].decode(errors="ignore").strip()


def _decode(data: bytes, kinds: Mapping[str, type[M]]) -> M:
    try:
        fields = Fields(decode(data, limit=limits.MAX_MESSAGE), "this message")
        kind = kinds.get(fields.text("op", limits.MAX_WORD))
        if kind is None:
            raise fields.wrong("op", "is not one this version knows")
        return kind._read(fields)
    except MalformedError as error:
        raise GarbageError(f"the peer sent what is not our protocol: {error.message}") from error


def _strictly_sorted(values: Sequence[bytes]) -> bool:
    return all(left < right for left, right in pairwise(values))


def _contents(fields: Fields, name: str) -> tuple[ContentId, ...]:
    texts = fields.texts(name, limits.MAX_MESSAGE_DIGESTS, _MOST_CONTENT, optional=True)
    return tuple(_content(fields, name, text) for text in texts)


def _content(fields: Fields, name: str, text: str) -> ContentId:
    try:
        return ContentId.parse(text)
    except UsageError as error:
        raise fields.wrong(name, f"is {error.message}") from error


def _ranges(fields: Fields, content: ContentId, value: Value) -> ByteRanges:
    """Byte ranges from their edges: start, stop, start, stop, …, each larger than the last."""
    edges = value if isinstance(value, list) else []
    if not edges or len(edges) % 2 or any(type(edge) is not int for edge in edges):
        raise fields.wrong("partial", f"has no byte ranges for {content}")
    if edges[0] < 0 or edges[-1] > content.size or not all(a < b for a, b in pairwise(edges)):
        raise fields.wrong("partial", f"has byte ranges that {content} cannot have")
    return tuple(zip(edges[::2], edges[1::2], strict=True))
