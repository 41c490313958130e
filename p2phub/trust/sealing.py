"""A secret locked with a passphrase: what stands in a locked key file, and how it opens again.

The file is JSON. It names scrypt's numbers and a salt; the key that scrypt makes of the passphrase
opens the sealed bytes (ChaCha20-Poly1305). Each guess costs whoever steals the file 128 MiB of
memory and about a third of a second.

Rules it keeps:
 * the numbers in a file are bounded before they are used: a hostile file costs at most
   `MAX_MEMORY` bytes, and `MAX_ROUNDS` times that much work;
 * a passphrase is compared as Unicode's NFC, so that two keyboards type the same one;
 * a wrong passphrase and changed bytes look the same, and are one error;
 * no randomness: salt and nonce are arguments.

>>> text = lock(b"a seed", "correct horse", salt=bytes(16), nonce=bytes(12))
>>> bytes(unlock(text, "correct horse"))
b'a seed'
>>> unlock(text, "correct house")
Traceback (most recent call last):
...
p2phub.errors.RefusedError: the passphrase is wrong, or the locked key was changed
"""

import json
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize

from p2phub.errors import MalformedError, NewerVersionError, RefusedError, UsageError
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import NONCE_SIZE, seal, stretch, unseal

SALT_SIZE: Final = 16
"""Bytes of a salt."""
N, R, P = 1 << 17, 8, 1
"""Scrypt's numbers for what is locked from now on: 128 MiB."""
MAX_MEMORY: Final = 512 << 20
"""Bytes that scrypt may need for a file: 128 * n * r."""
MAX_ROUNDS: Final = 4
"""Scrypt's p."""
MIN_PASSPHRASE, MAX_PASSPHRASE = 8, 1024
"""Characters of a passphrase that locks something."""
MAX_SECRET: Final = 4096
"""Bytes that can be locked."""
MAX_LOCKED: Final = 16 << 10
"""Bytes of a locked file."""
_CONTEXT: Final = b"p2phub locked key 1"
_TAG: Final = 16
_WHAT_THIS_IS: Final = (
    "A secret key of p2phub, locked with a passphrase (scrypt, ChaCha20-Poly1305)"
)


@dataclass(frozen=True, slots=True)
class _Locked:
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes
    sealed: bytes


def lock(secret: bytes, passphrase: str, *, salt: bytes, nonce: bytes) -> bytes:
    """The text of a file that opens with `passphrase` only. `salt` and `nonce` are random.

    Raises `UsageError` for a passphrase that is too short or too long.
    """
    if len(secret) > MAX_SECRET:
        raise ValueError(f"{len(secret)} bytes cannot be locked: at most {MAX_SECRET}")
    check_passphrase(passphrase)
    sealed = seal(stretch(_as_bytes(passphrase), salt, N, R, P), nonce, secret, _CONTEXT)
    fields = {
        "what_this_is": _WHAT_THIS_IS,
        "version": 1,
        "scrypt": {"n": N, "r": R, "p": P, "salt": salt.hex()},
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def unlock(text: bytes, passphrase: str) -> SecretBytes:
    """The secret in a locked file.

    Raises `RefusedError` for a wrong passphrase, `MalformedError` for what is no locked file or
    asks for too much work, `NewerVersionError` for one that a newer p2phub wrote.
    """
    found = _read(text)
    if len(passphrase) > MAX_PASSPHRASE:
        raise _wrong_passphrase()
    key = stretch(_as_bytes(passphrase), found.salt, found.n, found.r, found.p)
    secret = unseal(key, found.nonce, found.sealed, _CONTEXT)
    if secret is None:
        raise _wrong_passphrase()
    return secret


def is_lock(text: bytes) -> bool:
    """Whether this is meant to be a locked file; a plain key is hex digits."""
    return text.lstrip()[:1] == b"{"


def check_passphrase(passphrase: str) -> None:
    """Raises `UsageError` unless a new lock may have this passphrase."""
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise UsageError(
            f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters,"
            f" not {len(passphrase)}",
            remedy="take four or more words that nobody would guess together",
        )


def _as_bytes(passphrase: str) -> SecretBytes:
    return SecretBytes(normalize("NFC", passphrase).encode("utf-8", "surrogatepass"))


def _read(text: bytes) -> _Locked:
    try:
        fields = json.loads(text) if len(text) <= MAX_LOCKED else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("scrypt"), dict):
        raise _damaged("is not what p2phub writes")
    if fields.get("version") != 1:
        raise NewerVersionError(
            f"the locked key is of version {fields.get('version')!r}; this p2phub reads version 1",
            remedy="install a newer p2phub",
        )
    asked = fields["scrypt"]
    n, r, p = (_number(asked.get(name)) for name in "nrp")
    if n < 2 or n & (n - 1) or 128 * n * r > MAX_MEMORY or p > MAX_ROUNDS:
        raise _damaged("asks for more work than any that p2phub wrote, or for none")
    salt, nonce = _hex(asked.get("salt")), _hex(fields.get("nonce"))
    sealed = _hex(fields.get("sealed"))
    right = len(salt) == SALT_SIZE and len(nonce) == NONCE_SIZE
    if not right or not _TAG <= len(sealed) <= MAX_SECRET + _TAG:
        raise _damaged("is not what p2phub writes")
    return _Locked(n, r, p, salt, nonce, sealed)


def _number(value: object) -> int:
    if type(value) is not int or value < 1:
        raise _damaged("has no numbers for scrypt")
    return value


def _hex(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _damaged(how: str) -> MalformedError:
    return MalformedError(
        f"the locked key {how}", remedy="restore it from the backup and the recovery phrase"
    )


def _wrong_passphrase() -> RefusedError:
    return RefusedError(
        "the passphrase is wrong, or the locked key was changed",
        remedy="type it again; without it the recovery phrase brings the key back",
    )
