"""Ed25519 keys: sign, and ask whether a signature holds. The one door of trust to `cryptography`.

Rules it keeps:
 * a signature that does not verify, and a key that is no key, are both the answer False, never an
   exception;
 * the secret half never appears in a `repr`, so it never reaches a log;
 * no randomness: a seed is an argument, and Ed25519 signs the same bytes the same way every time.

It leaves to others where seeds come from and how they are kept (`store/keyring`), and what a
signature means (`envelope`, `identity`).

>>> key = SigningKey(bytes(32))
>>> key.public.hex()[:16]
'3b6a27bcceb6a42d'
>>> verify(key.public, b"hello", key.sign(b"hello"))
True
>>> verify(key.public, b"hullo", key.sign(b"hello"))
False
>>> key
SigningKey(public='3b6a27bcceb6a42d…')
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_SIZE = 32
"""Bytes of the secret a key is made from."""


class SigningKey:
    """The secret half of a key. Two keys of one seed are equal."""

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a key is made from {SEED_SIZE} bytes, not {len(seed)}")
        self.seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes; the same for the same data, every time."""
        return self._private.sign(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self.seed == other.seed

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"SigningKey(public='{self.public.hex()[:16]}…')"


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `data` by the key `public`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
