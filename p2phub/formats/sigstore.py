"""The file that holds a model signature: a Sigstore bundle with a DSSE envelope, made with a plain
key.

    {"mediaType": …v0.3, "verificationMaterial": {"publicKey": {"hint": …}, "tlogEntries": []},
     "dsseEnvelope": {"payload": base64, "payloadType": …, "signatures": [{"sig": base64}]}}

It is JSON of strangers, so what it may hold is bounded before it unfolds into memory: its length,
how many things are in it, how deep they lie. A key that stands twice in one object is refused,
because readers disagree on which one counts. Keys that we do not know are ignored, as Sigstore
demands.

It leaves to others what the payload says (`oms`) and whose signature it is (`trust`).

>>> bundle = Bundle(b"{}", b"signature", "0f" * 32)
>>> Bundle.unpack(bundle.pack()) == bundle
True
>>> pre_authentication(b"{}")
b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
"""

import base64
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

from p2phub.errors import MalformedError
from p2phub.formats import limits

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_OTHER_MATERIAL: Final = ("certificate", "x509CertificateChain")

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A payload, one signature of it, and a hint with which key it was made."""

    payload: bytes
    signature: bytes
    hint: str = ""
    """What tells the key from others: see `p2phub.trust.model_keys.hint`. Empty: nothing does."""

    def pack(self) -> bytes:
        """The bytes of `model.sig`. Raises `MalformedError` if they are too many."""
        text = {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(self.signature).decode(), "keyid": ""}],
            },
        }
        data = json.dumps(text, separators=(",", ":")).encode()
        _check_size(data)
        return data

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read a bundle. Raises `MalformedError`; no signature has been checked yet."""
        _check_size(data)
        text = read_json(data, limits.MAX_BUNDLE_ITEMS, "a model signature")
        if text.get("mediaType") != MEDIA_TYPE:
            raise MalformedError(
                f"a model signature of the type {shown(text.get('mediaType'))}",
                remedy=f"this p2phub reads {MEDIA_TYPE}",
            )
        envelope = _part(text, "dsseEnvelope")
        if envelope.get("payloadType") != PAYLOAD_TYPE:
            raise MalformedError(
                f"a model signature of a {shown(envelope.get('payloadType'))}, not of a statement"
            )
        signatures = envelope.get("signatures")
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise MalformedError("a model signature holds exactly one signature")
        if not isinstance(signatures[0], dict):
            raise MalformedError("the signature in a model signature is no object")
        signature = _binary(signatures[0], "sig")
        if len(signature) > limits.MAX_OMS_SIGNATURE:
            raise MalformedError(f"a signature of {len(signature)} bytes")
        return cls(_binary(envelope, "payload"), signature, _hint(text))


def pre_authentication(payload: bytes) -> bytes:
    """What is signed: DSSE's encoding of the payload and its type."""
    name = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def read_json(data: bytes, most: int, subject: str) -> JsonObject:
    """The JSON object in `data`, of at most `most` members and items together.

    Raises `MalformedError` that begins with `subject`. The caller has checked the length.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") > most:
        raise MalformedError(f"{subject} of more than {most} parts")
    try:
        found = json.loads(
            data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{subject} that is not proper JSON: {error}") from error
    if not isinstance(found, dict):
        raise MalformedError(f"{subject} that is no JSON object")
    return found


def shown(value: object) -> str:
    """A value of a stranger as an error may show it: short, in ASCII, on one line.

    >>> shown("\\x1b[2J"), shown(None)
    ("'\\\\x1b[2J'", 'None')
    """
    text = ascii(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 80 else text[:80] + "…"


def _check_size(data: bytes) -> None:
    if len(data) > limits.MAX_OMS:
        raise MalformedError(
            f"a model signature of {len(data)} bytes, where at most {limits.MAX_OMS} are allowed"
        )


def _part(text: JsonObject, key: str) -> JsonObject:
    part = text.get(key)
    if not isinstance(part, dict):
        raise MalformedError(f"a model signature without a proper {key}")
    return part


def _hint(text: JsonObject) -> str:
    material = _part(text, "verificationMaterial")
    key = material.get("publicKey")
    if isinstance(key, dict):
        hint = key.get("hint") or ""
        if not isinstance(hint, str) or len(hint) > limits.MAX_OMS_HINT:
            raise MalformedError("a model signature with a key hint that is none")
        return hint
    other = any(name in material for name in _OTHER_MATERIAL)
    raise MalformedError(
        f"this model signature was made with {'a certificate' if other else 'no known key'}",
        remedy="p2phub checks signatures of plain keys; `model_signing verify` checks others",
    )


def _binary(fields: JsonObject, key: str) -> bytes:
    text = fields.get(key)
    if not isinstance(text, str):
        raise MalformedError(f"a model signature without a proper {key}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError(f"the {key} of a model signature is not base64") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("a model signature names one thing twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise MalformedError(f"{constant} is not JSON")
