r"""A signed document as text, for a channel that carries no files: mail, a sheet of paper, a phone.

Two forms. **Lines** as in RFC 7468: base64 between `-----BEGIN P2PHUB INVENTORY-----` and the END
of the same. **Codes** for QR: base32 in the characters that a QR code packs best, in one or several
texts `P2PHUB:INVENTORY:id:part/parts:…`, which may be read in any order, with anything around them.

Rules it keeps: what is read is bounded before it is decoded, and every part must be there, of one
document. What is in it is checked by who signed it, elsewhere.

>>> codes = as_codes(bytes(range(40)), "INVENTORY", longest=20)
>>> codes[0], len(codes)
('P2PHUB:INVENTORY:L6VE53BW:1/2:AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT', 2)
>>> from_text(" ".join(reversed(codes)).encode(), "INVENTORY") == bytes(range(40))
True
>>> from_text(as_lines(b"hello", "INVENTORY").encode(), "INVENTORY")
b'hello'
"""

import base64
import binascii
import re
from typing import Final

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.digest import sha256

CODE: Final = 1_000
"""Bytes in one QR code, so that a telephone still reads it from a screen."""
LONGEST: Final = 2 * (limits.MAX_RECEIPT + limits.MAX_ENVELOPE_OVERHEAD)
"""Bytes of a text that is looked at."""
_LINE: Final = 64
_PART: Final = re.compile(
    rb"P2PHUB:([A-Z]{1,16}):([A-Z2-7]{8}):([0-9]{1,2})/([0-9]{1,2}):([A-Z2-7]+)"
)


def as_lines(data: bytes, label: str) -> str:
    """Text of several lines, with a newline at its end."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join(
        [f"-----BEGIN P2PHUB {label}-----", *lines, f"-----END P2PHUB {label}-----", ""]
    )


def as_codes(data: bytes, label: str, *, longest: int = CODE) -> list[str]:
    """What to print as QR codes, `longest` bytes of `data` each.

    Raises `MalformedError` if that is more than anybody would hold a telephone to.
    """
    chunks = [data[at : at + longest] for at in range(0, len(data), longest)]
    if len(chunks) > limits.MAX_INVENTORY_CODES:
        raise MalformedError(
            f"{len(data)} bytes are too many for QR codes",
            remedy="carry it as a file, or as text",
        )
    name = _base32(sha256(data)[:5])
    return [
        f"P2PHUB:{label}:{name}:{number}/{len(chunks)}:{_base32(chunk)}"
        for number, chunk in enumerate(chunks, 1)
    ]


def from_text(text: bytes, label: str) -> bytes:
    """What lines or codes hold. Raises `MalformedError`."""
    if len(text) > LONGEST:
        raise MalformedError(f"{len(text)} bytes of text, where at most {LONGEST} are read")
    begin, end = (f"-----{word} P2PHUB {label}-----".encode() for word in ("BEGIN", "END"))
    _, begun, rest = text.partition(begin)
    body, ended, _ = rest.partition(end)
    if begun and ended:
        return _from_base64(b"".join(body.split()))
    if begun:
        raise MalformedError("this text ends in the middle")
    return _from_codes(text, label)


def _from_codes(text: bytes, label: str) -> bytes:
    found: dict[int, bytes] = {}
    about: set[tuple[bytes, bytes]] = set()
    for kind, name, number, count, data in _PART.findall(text):
        if kind.decode() == label:
            found[int(number)] = _from_base32(data)
            about.add((name, count))
    if not found:
        raise MalformedError(f"there is no {label.lower()} in this text")
    if len(about) > 1:
        raise MalformedError("these codes are of several documents")
    ((name, count),) = about
    missing = [number for number in range(1, int(count) + 1) if number not in found]
    if missing:
        raise MalformedError(f"of {int(count)} codes, number {missing[0]} is missing")
    data = b"".join(found[number] for number in sorted(found))
    if _base32(sha256(data)[:5]).encode() != name:
        raise MalformedError("one of these codes was not read right")
    return data


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("this text was changed on its way") from None


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _from_base32(text: bytes) -> bytes:
    try:
        return base64.b32decode(text + b"=" * (-len(text) % 8))
    except binascii.Error:
        raise MalformedError("one of these codes was not read right") from None
