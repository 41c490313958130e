"""The digests p2phub knows, each under the name of what it is.

BLAKE3 is for pieces, SHA-256 for documents, tables and whole files, git's blob SHA-1 for the etags
that Hugging Face gives small files. SHA-1 is never trusted: it only answers clients that ask for
it. BLAKE2b is only met in the model signatures of others.

>>> hexadecimal(sha256(b"abc"))[:16]
'ba7816bf8f01cfea'
>>> hexadecimal(git_blob_sha1(b"hello\\n"))
'ce013625030ba8dba906f756967f9e9ca394464a'
"""

import hashlib
from typing import Final, Literal, Protocol

import blake3 as _blake3

from p2phub.formats.limits import DIGEST

Data = bytes | bytearray | memoryview
Algorithm = Literal["sha256", "blake2b", "blake3"]
"""What the files of others are hashed with."""

EMPTY_SHA256: Final = hashlib.sha256(b"").digest()


def sha256(data: Data) -> bytes:
    return hashlib.sha256(data).digest()


def blake3(data: Data) -> bytes:
    return _blake3.blake3(data).digest()


class Blake3:
    """BLAKE3 of bytes that arrive in parts."""

    def __init__(self) -> None:
        self._state = _blake3.blake3()
        self.length = 0
        """How many bytes have arrived."""

    def update(self, data: Data) -> None:
        self._state.update(data)
        self.length += len(data)

    def digest(self) -> bytes:
        return self._state.digest()


class Streaming(Protocol):
    """A digest of bytes that arrive in parts."""

    def update(self, data: Data, /) -> object: ...

    def digest(self) -> bytes: ...


def streaming(algorithm: Algorithm) -> Streaming:
    """The digest of nothing yet.

    >>> streaming("blake2b").digest().hex()[:8]
    '786a02f7'
    """
    match algorithm:
        case "sha256":
            return hashlib.sha256()
        case "blake2b":
            return hashlib.blake2b()
        case "blake3":
            return Blake3()


def git_blob_sha1(data: Data) -> bytes:
    """The id git gives a file with these bytes."""
    digest = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.digest()


def hexadecimal(digest: bytes) -> str:
    return digest.hex()


def from_hexadecimal(text: str, length: int = DIGEST) -> bytes | None:
    """The digest written as lower-case `text`; None if it is not one of `length` bytes.

    >>> from_hexadecimal("00ff", 2)
    b'\\x00\\xff'
    >>> from_hexadecimal("00FF", 2) is None
    True
    """
    if len(text) != 2 * length or not set(text) <= set("0123456789abcdef"):
        return None
    return bytes.fromhex(text)
