"""Forged documents for tests: each is one attack with its name.

Nothing else is wrong with the bytes, so that a test which expects a refusal cannot pass for another
reason.
"""

from contextlib import suppress
from dataclasses import replace

from p2phub.errors import MalformedError
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Head, Index
from p2phub.trust.envelope import sign_payload, unpack
from p2phub.trust.keys import SigningKey


def tampered(data: bytes) -> bytes:
    """The same envelope with one bit of its payload changed; the payload still parses."""
    envelope = unpack(data)
    payload = bytearray(envelope.payload)
    for at in reversed(range(len(payload))):
        payload[at] ^= 1
        with suppress(MalformedError):
            _CLASSES[envelope.type].from_payload(bytes(payload))
            return replace(envelope, payload=bytes(payload)).pack()
        payload[at] ^= 1
    raise ValueError("no bit of this payload can change")


def damaged_signature(data: bytes) -> bytes:
    """The same envelope with one bit of its first signature changed."""
    envelope = unpack(data)
    first, *others = envelope.signatures
    wrong = bytes([first.signature[0] ^ 1]) + first.signature[1:]
    return replace(envelope, signatures=(replace(first, signature=wrong), *others)).pack()


def unsigned(data: bytes) -> bytes:
    """The same document without a signature."""
    return replace(unpack(data), signatures=()).pack()


def signed_by_others(data: bytes, *keys: SigningKey) -> bytes:
    """The same document signed by `keys` instead of its publisher's."""
    envelope = unpack(data)
    return sign_payload(envelope.type, envelope.payload, keys).pack()


_CLASSES: dict[str, type[Release] | type[Index] | type[Head]] = {
    "release": Release,
    "index": Index,
    "head": Head,
}
