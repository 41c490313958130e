"""Files sealed to the keys of people: age v1 with X25519 (C2SP, age-encryption.org/v1).

    age-encryption.org/v1
    -> X25519 <share>          one for each recipient: the file key, wrapped
    <wrapped file key>
    -> p2phub-set <mark>       ours; whoever knows no such line passes over it
    --- <HMAC-SHA256 of all that>
    <nonce, 16 bytes> <chunks of 64 KiB, each with its tag of 16 bytes>

Any program that knows age opens what is made here, and the other way round. A recipient is
`age1…`, the identity that opens `AGE-SECRET-KEY-1…`. A chunk is opened by itself, so a file is read
at any place; only the last one says that it is the last, so one that was cut short is found.

Rules it keeps:
 * nothing of a chunk is returned before its tag has been checked;
 * a header is spelled in one way, is bounded, and is as it was sealed, to the last bit;
 * the mark tells only who made it that a file is for the same recipients as another;
 * no randomness: keys and nonces are arguments.

>>> identity = Identity(bytes(range(32)))
>>> head = sealed_header(b"k" * 16, [identity.recipient], [bytes([9] * 32)])
>>> opened(read_header(head), [identity])
<16 secret bytes>
"""

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from p2phub.errors import MalformedError, UsageError
from p2phub.formats import limits
from p2phub.formats.bech32 import decode, encode
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import NONCE_SIZE, derive, exchange, exchange_public, seal, unseal

CHUNK: Final = 64 << 10
"""Bytes of plain text in each chunk but the last."""
TAG: Final = 16
"""Bytes that a chunk grows by."""
PAYLOAD_NONCE: Final = 16
FILE_KEY: Final = 16
"""Bytes of the key of one file."""
MARK: Final = 16
MAX_HEADER: Final = 32 << 10
"""Bytes of a header that is looked at."""
MAX_STANZAS: Final = 4 * limits.MAX_SITES
_VERSION: Final = b"age-encryption.org/v1\n"
_X25519: Final = "X25519"
_SET: Final = "p2phub-set"
_COLUMNS: Final = 64
_LABEL: Final = b"age-encryption.org/v1/X25519"
_NO_NONCE: Final = bytes(NONCE_SIZE)
_PREFIX, _SECRET_PREFIX = "age", "age-secret-key-"
_ARGUMENTS: Final = re.compile(rb"-> [!-~]+(?: [!-~]+)*")


class Identity:
    """What opens files that are sealed to its `recipient`. Made from 32 secret bytes."""

    __slots__ = ("_secret", "recipient")

    def __init__(self, secret: bytes) -> None:
        self._secret = SecretBytes(secret)
        self.recipient = exchange_public(secret)

    @classmethod
    def of_node(cls, seed: bytes) -> "Identity":
        """That of the node with this seed: it needs no file of its own."""
        return cls(derive(seed, b"p2phub age identity 1"))

    def shared(self, share: bytes) -> SecretBytes | None:
        """What this and the sender of `share` know; None if it is no share."""
        return exchange(self._secret, share)

    def mark(self, recipients: Iterable[bytes]) -> bytes:
        """What this writes into a file for these, and nobody else can make or read."""
        key = derive(self._secret, b"p2phub set of recipients 1")
        return hmac.digest(key, b"".join(sorted(set(recipients))), "sha256")[:MARK]

    def __repr__(self) -> str:
        return f"Identity({recipient_text(self.recipient)})"


def recipient_text(recipient: bytes) -> str:
    """The text of a recipient.

    >>> recipient_text(bytes(32))[:9]
    'age1qqqqq'
    """
    return encode(_PREFIX, recipient)


def read_recipient(text: str) -> bytes:
    """The X25519 key of `age1…`, 32 bytes. Raises `UsageError`."""
    try:
        prefix, data = decode(text)
    except MalformedError as error:
        raise UsageError(f"{text[:80]!r} is no recipient: {error.message}") from None
    if prefix != _PREFIX or len(data) != limits.KEY or text != text.lower():
        raise UsageError(
            f"{text[:12]!r}… is no recipient of age",
            remedy="it begins with age1, and `p2phub id` shows it on the other side",
        )
    return data


def read_identities(text: str) -> tuple[Identity, ...]:
    """Those of a file as age-keygen writes it: one a line, and lines of remarks.

    Raises `UsageError`, which does not show what is in the file.
    """
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            found.append(_identity(line.strip()))
    if not found:
        raise UsageError("there is no identity of age in it")
    return tuple(found)


def _identity(line: str) -> Identity:
    try:
        prefix, data = decode(line)
    except MalformedError:
        prefix, data = "", b""
    if prefix != _SECRET_PREFIX or len(data) != limits.KEY:
        raise UsageError("a line of it is no identity of age: it begins with AGE-SECRET-KEY-1")
    return Identity(data)


@dataclass(frozen=True, slots=True)
class Stanza:
    """One way to come by the file key."""

    words: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the payload, not yet checked against the file key."""

    stanzas: tuple[Stanza, ...]
    signed: bytes
    """What the MAC covers."""
    mac: bytes
    size: int
    """Bytes of all of it."""

    @property
    def mark(self) -> bytes:
        """What its maker wrote about whom it is for; empty without it."""
        marks = (each.words[1:] for each in self.stanzas if each.words[0] == _SET)
        return next((_unspelled(words[0]) for words in marks if len(words) == 1), b"")


def sealed_header(
    file_key: bytes,
    recipients: Sequence[bytes],
    ephemerals: Sequence[bytes],
    mark: bytes = b"",
) -> bytes:
    """A header from which each of the recipients has the file key.

    `ephemerals`: 32 random bytes for each, used once. Raises `UsageError` for a key of low order.
    """
    stanzas = []
    for recipient, secret in zip(recipients, ephemerals, strict=True):
        share, shared = exchange_public(secret), exchange(secret, recipient)
        if shared is None:
            raise UsageError("one of the recipients is a key that keeps nothing secret")
        wrapped = seal(_wrapping(shared, share, recipient), _NO_NONCE, file_key, b"")
        stanzas.append(f"-> {_X25519} {_spelled(share)}\n{_spelled(wrapped)}\n")
    if mark:
        stanzas.append(f"-> {_SET} {_spelled(mark)}\n\n")
    signed = _VERSION + "".join(stanzas).encode() + b"---"
    return signed + b" " + _spelled(_mac(file_key, signed)).encode() + b"\n"


def read_header(data: bytes) -> Header:
    """The header that `data` begins with. Raises `MalformedError`."""
    if not data.startswith(_VERSION):
        raise MalformedError("this is no file of age")
    at, stanzas = len(_VERSION), []
    while not data.startswith(b"--- ", at):
        stanza, at = _stanza(data, at)
        stanzas.append(stanza)
        if len(stanzas) > MAX_STANZAS:
            raise MalformedError("a file of age for more than anybody has keys for")
    line, end = _line(data, at)
    mac = _unspelled(line[4:].decode("ascii", "replace"))
    if not stanzas or len(mac) != 32:
        raise MalformedError("the header of this file of age is cut short")
    return Header(tuple(stanzas), data[: at + 3], mac, end)


def opened(header: Header, identities: Iterable[Identity]) -> SecretBytes | None:
    """The file key, for the first of the identities that has it; None for none of them.

    Raises `MalformedError` if the header is not what was sealed.
    """
    for identity in identities:
        for stanza in header.stanzas:
            key = _unwrapped(stanza, identity) if stanza.words[0] == _X25519 else None
            if key is None:
                continue
            if not hmac.compare_digest(_mac(key, header.signed), header.mac):
                raise MalformedError("the header of this file of age was changed")
            return key
    return None


class Payload:
    """The chunks of one file, of which each is sealed and opened by itself."""

    def __init__(self, file_key: bytes, nonce: bytes) -> None:
        self._key = derive(file_key, b"payload", nonce)

    def seal(self, index: int, data: bytes | memoryview, *, last: bool) -> bytes:
        """A chunk, `TAG` bytes longer."""
        return seal(self._key, _chunk_nonce(index, last), bytes(data), b"")

    def open(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        """What is in a chunk. Raises `MalformedError` if one bit of it was changed."""
        data = unseal(self._key, _chunk_nonce(index, last), sealed, b"")
        if data is None:
            raise MalformedError("it is not what was sealed")
        return bytes(data)


def plain_size(sealed: int) -> int:
    """Bytes of plain text in chunks of `sealed` bytes together. Raises `MalformedError`.

    >>> plain_size(16), plain_size(CHUNK + TAG), plain_size(CHUNK + TAG + 17)
    (0, 65536, 65537)
    """
    full, rest = divmod(sealed, CHUNK + TAG)
    if sealed < TAG or 0 < rest < TAG or (full and rest == TAG):
        raise MalformedError("this file of age was cut short")
    return full * CHUNK + max(0, rest - TAG)


def chunks_of(size: int) -> int:
    """How many chunks hold `size` bytes.

    >>> chunks_of(0), chunks_of(CHUNK), chunks_of(CHUNK + 1)
    (1, 1, 2)
    """
    return max(1, -(-size // CHUNK))


def _unwrapped(stanza: Stanza, identity: Identity) -> SecretBytes | None:
    if len(stanza.words) != 2 or len(stanza.body) != FILE_KEY + TAG:
        raise MalformedError("a stanza of X25519 that is none")
    share = _unspelled(stanza.words[1])
    if len(share) != limits.KEY:
        raise MalformedError("a stanza of X25519 that is none")
    shared = identity.shared(share)
    if shared is None:
        raise MalformedError("a stanza of X25519 with a share that keeps nothing secret")
    return unseal(_wrapping(shared, share, identity.recipient), _NO_NONCE, stanza.body, b"")


def _wrapping(shared: bytes, share: bytes, recipient: bytes) -> SecretBytes:
    return derive(shared, _LABEL, share + recipient)


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(derive(file_key, b"header"), signed, "sha256")


def _chunk_nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(NONCE_SIZE - 1, "big") + bytes([last])


def _stanza(data: bytes, at: int) -> tuple[Stanza, int]:
    line, at = _line(data, at)
    if _ARGUMENTS.fullmatch(line) is None:
        raise MalformedError("the header of this file of age is not one")
    words, body = tuple(line.decode().split(" ")[1:]), b""
    while True:
        line, at = _line(data, at)
        if len(line) > _COLUMNS:
            raise MalformedError("a line in the header of this file of age is too long")
        body += line
        if len(line) < _COLUMNS:
            return Stanza(words, _unspelled(body.decode("ascii", "replace"))), at


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at, MAX_HEADER)
    if end < 0:
        raise MalformedError("the header of this file of age is cut short, or too long")
    return data[at:end], end + 1


def _spelled(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _unspelled(text: str) -> bytes:
    """Base64 without padding, spelled as it is written here. Raises `MalformedError`."""
    try:
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError):
        data = b""
    if _spelled(data) != text:
        raise MalformedError("the header of this file of age is not spelled as it should be")
    return data
