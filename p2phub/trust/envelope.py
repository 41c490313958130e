"""The envelope: a payload, what type it claims to be, and a set of signatures (DSSE).

Signatures are over the pre-authentication encoding of (type, payload), so bytes signed as one type
can never be shown as another. They stand outside the digest: a second signature changes neither
the digest of a document nor the commit id of a release, and envelopes of one payload can be
merged. On the wire an envelope is the canonical msgpack map `{payload, signatures: [{key,
signature}], type}`.

Rules it keeps:
 * a length is checked against the limit of the claimed type before the bytes are decoded;
 * exactly these keys, signatures in ascending order of their key, nobody twice, at most
   `MAX_SIGNATURES`;
 * one envelope has one spelling.

It leaves to others whose keys count (`identity`), and what the payload means (`formats`).

>>> from p2phub.trust.keys import SigningKey
>>> alice, bob = SigningKey(b"a" * 32), SigningKey(b"b" * 32)
>>> one, two = sign_payload("release", b"...", [alice]), sign_payload("release", b"...", [bob])
>>> both = merge(one, two)
>>> both.digest == one.digest, both.signed_by() == {alice.public, bob.public}
(True, True)
>>> unpack(both.pack()) == both
True
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Final, Protocol

from p2phub.errors import MalformedError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.digest import sha256
from p2phub.trust.keys import SigningKey, verify

_PREFIX: Final = "application/vnd.p2phub."
_SUFFIX: Final = "+msgpack"

LIMITS: Final[Mapping[str, int]] = {
    "root": limits.MAX_ROOT + limits.MAX_ENVELOPE_OVERHEAD,
    "delegation": limits.MAX_DELEGATION + limits.MAX_ENVELOPE_OVERHEAD,
    "head": limits.MAX_HEAD,
    "index": limits.MAX_INDEX + limits.MAX_ENVELOPE_OVERHEAD,
    "release": limits.MAX_RELEASE + limits.MAX_ENVELOPE_OVERHEAD,
    "revocation": limits.MAX_REVOCATION + limits.MAX_ENVELOPE_OVERHEAD,
    "withdrawal": limits.MAX_WITHDRAWAL + limits.MAX_ENVELOPE_OVERHEAD,
    "fork": limits.MAX_FORK + limits.MAX_ENVELOPE_OVERHEAD,
    "inventory": limits.MAX_INVENTORY + limits.MAX_ENVELOPE_OVERHEAD,
    "receipt": limits.MAX_RECEIPT + limits.MAX_ENVELOPE_OVERHEAD,
    "approval": limits.MAX_APPROVAL + limits.MAX_ENVELOPE_OVERHEAD,
}
"""The most bytes of a packed envelope, for every type that travels in one."""

_OPENING: Final = b"\x83" + encode("payload")
_TYPE_KEY: Final = encode("type")
_LONGEST_TYPE: Final = 32


class Document(Protocol):
    """What can be signed: every document class of `formats`."""

    TYPE: ClassVar[str]

    def to_payload(self) -> bytes: ...


@dataclass(frozen=True, slots=True, order=True)
class Signature:
    """Who signed, and the 64 bytes that say so."""

    key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed payload. `type` is the short name, such as `release`."""

    type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def digest(self) -> bytes:
        """The digest of the document: that of its payload, whoever signed it."""
        return sha256(self.payload)

    def signed_by(self) -> frozenset[bytes]:
        """The keys whose signature verifies. Whether they count is for the caller to say."""
        signed = pre_authentication(self.type, self.payload)
        return frozenset(s.key for s in self.signatures if verify(s.key, signed, s.signature))

    def only(self, keys: Iterable[bytes]) -> "Envelope":
        """The same document with just the signatures of `keys`."""
        kept = frozenset(keys)
        return replace(self, signatures=tuple(s for s in self.signatures if s.key in kept))

    def pack(self) -> bytes:
        """The bytes to store and send. Raises `MalformedError` if they are too many."""
        data = encode(
            {
                "payload": self.payload,
                "signatures": [
                    {"key": s.key, "signature": s.signature} for s in sorted(self.signatures)
                ],
                "type": _media_type(self.type),
            }
        )
        _check_size(self.type, len(data))
        return data


def pre_authentication(type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's encoding of (type, payload), which no other pair shares.

    >>> pre_authentication("head", b"body")
    b'DSSEv1 35 application/vnd.p2phub.head+msgpack 4 body'
    """
    name = _media_type(type).encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(document: Document, keys: Iterable[SigningKey]) -> Envelope:
    """`document` signed by each of `keys`. Raises `MalformedError` if it is too large to send."""
    return sign_payload(document.TYPE, document.to_payload(), keys)


def sign_payload(type: str, payload: bytes, keys: Iterable[SigningKey]) -> Envelope:
    """The same for a payload that is already bytes."""
    to_sign = pre_authentication(type, payload)
    signatures = sorted({Signature(key.public, key.sign(to_sign)) for key in keys})
    envelope = Envelope(type, payload, tuple(signatures))
    envelope.pack()
    return envelope


def merge(first: Envelope, second: Envelope) -> Envelope:
    """One envelope with the signatures of both that verify.

    Raises `WrongBytesError` if they hold different documents, `MalformedError` if it gets too many
    signatures.
    """
    if (first.type, first.payload) != (second.type, second.payload):
        raise WrongBytesError("two envelopes of different documents cannot be merged")
    kept = {
        signature.key: signature
        for envelope in (second, first)
        for signature in envelope.only(envelope.signed_by()).signatures
    }
    if len(kept) > limits.MAX_SIGNATURES:
        raise MalformedError(
            f"{len(kept)} signatures on one document, where {limits.MAX_SIGNATURES} are allowed"
        )
    return replace(first, signatures=tuple(sorted(kept.values())))


def is_envelope(data: bytes) -> bool:
    """Whether `data` begins as every envelope does. A bare page does not."""
    return data.startswith(_OPENING)


def claimed_type(data: bytes) -> str:
    """The type that packed `data` claims, read from its last bytes without decoding the rest.

    Raises `MalformedError` if it is no envelope or of a type this version does not know.
    """
    tail = data[-(len(_TYPE_KEY) + 2 + len(_PREFIX) + _LONGEST_TYPE + len(_SUFFIX)) :]
    at = tail.rfind(_TYPE_KEY)
    if not is_envelope(data) or at < 0:
        raise MalformedError("these bytes are no envelope")
    return _short(decode(tail[at + len(_TYPE_KEY) :], limit=len(tail)))


def unpack(data: bytes, limit: int | None = None) -> Envelope:
    """Read a packed envelope of at most `limit` bytes, and never more than its type allows.

    Raises `MalformedError`. No signature has been checked yet.
    """
    if limit is not None and len(data) > limit:
        raise MalformedError(f"{len(data)} bytes, where at most {limit} are allowed")
    type = claimed_type(data)
    _check_size(type, len(data))
    fields = _exactly(decode(data, limit=LIMITS[type]), ("payload", "signatures", "type"))
    payload, signatures = fields["payload"], fields["signatures"]
    if not isinstance(payload, bytes) or not isinstance(signatures, list):
        raise MalformedError("an envelope is a payload of bytes and a list of signatures")
    if len(signatures) > limits.MAX_SIGNATURES:
        raise MalformedError(
            f"{len(signatures)} signatures, where {limits.MAX_SIGNATURES} are allowed"
        )
    return Envelope(_short(fields["type"]), payload, _signatures(signatures))


def _signatures(values: list[Value]) -> tuple[Signature, ...]:
    signatures = tuple(_signature(value) for value in values)
    for before, after in pairwise(signatures):
        if before.key >= after.key:
            raise MalformedError("signatures out of order, or two by one key")
    return signatures


def _signature(value: Value) -> Signature:
    fields = _exactly(value, ("key", "signature"))
    key, signature = fields["key"], fields["signature"]
    if not isinstance(key, bytes) or len(key) != limits.KEY:
        raise MalformedError(f"the key of a signature is not {limits.KEY} bytes")
    if not isinstance(signature, bytes) or len(signature) != limits.SIGNATURE:
        raise MalformedError(f"a signature is not {limits.SIGNATURE} bytes")
    return Signature(key, signature)


def _exactly(value: Value, keys: tuple[str, ...]) -> Mapping[str, Value]:
    if not isinstance(value, Mapping) or tuple(value) != keys:
        raise MalformedError(f"an envelope with other keys than {', '.join(keys)}")
    return value


def _check_size(type: str, size: int) -> None:
    limit = LIMITS.get(type)
    if limit is None:
        raise MalformedError(f"no envelope holds a document of type {type!r}")
    if size > limit:
        raise MalformedError(f"a {type} of {size} bytes, where at most {limit} are allowed")


def _short(media_type: Value) -> str:
    text = media_type if isinstance(media_type, str) else ""
    name = text.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    if name not in LIMITS or text != _media_type(name):
        raise MalformedError(f"an envelope of the unknown type {text[:80]!r}")
    return name


def _media_type(type: str) -> str:
    return f"{_PREFIX}{type}{_SUFFIX}"
