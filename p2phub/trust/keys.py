"""Keys: sign and check, derive, stretch, seal and open. The one door of trust to `cryptography`.

Rules it keeps:
 * a signature that does not verify, and a key that is no key, are both the answer False; what does
   not open is None: never an exception;
 * the secret half never appears in a `repr`, so it never reaches a log;
 * no randomness: seed, salt and nonce are arguments, and Ed25519 signs the same bytes the same way
   every time.

It leaves to others where seeds come from and how they are kept (`store/keyring`), how much work a
passphrase is worth (`sealing`), and what a signature means (`envelope`, `identity`).

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

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from p2phub.trust.hidden import SecretBytes

SEED_SIZE = 32
"""Bytes of the secret a key is made from."""
NONCE_SIZE = 12
"""Bytes of the number that is used once with one key."""


class SigningKey:
    """The secret half of a key. Two keys of one seed are equal."""

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a key is made from {SEED_SIZE} bytes, not {len(seed)}")
        self.seed = SecretBytes(seed)
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
        public: bytes = getattr(self, "public", b"")  # a traceback may show it while it is made
        return f"SigningKey(public='{public.hex()[:16]}…')"


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `data` by the key `public`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def derive(secret: bytes, info: bytes, salt: bytes = b"") -> SecretBytes:
    """The 32 bytes that HKDF-SHA256 derives from `secret` for the use `info`."""
    return SecretBytes(HKDF(SHA256(), SEED_SIZE, salt=salt, info=info).derive(secret))


def exchange_public(secret: bytes) -> bytes:
    """The public half of an X25519 key, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def exchange(secret: bytes, public: bytes) -> SecretBytes | None:
    """What X25519 makes of our secret half and another's public half; None for a point of low
    order, which would be no secret.
    """
    try:
        key = X25519PrivateKey.from_private_bytes(secret)
        return SecretBytes(key.exchange(X25519PublicKey.from_public_bytes(public)))
    except ValueError:
        return None


def stretch(passphrase: bytes, salt: bytes, n: int, r: int, p: int) -> SecretBytes:
    """The 32 bytes that scrypt makes of a passphrase, with 128 * n * r bytes of memory.

    n is a power of two. Costly on purpose: whoever calls it has bounded the numbers.
    """
    return SecretBytes(Scrypt(salt, SEED_SIZE, n, r, p).derive(passphrase))


def seal(key: bytes, nonce: bytes, data: bytes, context: bytes) -> bytes:
    """`data` encrypted with ChaCha20-Poly1305, 16 bytes longer; opens with the same `context` only.

    A nonce is used once with one key.
    """
    return ChaCha20Poly1305(key).encrypt(nonce, data, context)


def unseal(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> SecretBytes | None:
    """What was sealed; None for another key or context, or when one bit was changed."""
    try:
        return SecretBytes(ChaCha20Poly1305(key).decrypt(nonce, sealed, context))
    except (InvalidTag, ValueError):
        return None
