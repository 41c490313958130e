"""The keys of model signatures: ECDSA on the curves of NIST. Beside `keys`, the other door of trust
to `cryptography`.

OpenSSF Model Signing knows no Ed25519, so a publisher has a key of P-256 as well. Its public half
is the compressed point of 33 bytes that a delegation names. Other people's keys may be of P-384 or
P-521 too; the length of a compressed point says which.

Rules it keeps:
 * a signature that does not verify, and a key that is no key, are both the answer False, never an
   exception;
 * the secret half never appears in a `repr`, so it never reaches a log;
 * the same bytes get the same signature every time (RFC 6979), and no randomness is needed, unless
   the OpenSSL below is older than 3.2.

It leaves to others where seeds come from and how they are kept (`store/keyring`), and which keys
count (`model_signatures`).

>>> key = ModelKey(bytes(32))
>>> key.public.hex()[:16], hint(key.public)[:16]
('02086dc3f2fe1db4', 'b2a0ac55819ca167')
>>> verify(key.public, b"hello", key.sign(b"hello"))
True
>>> from_pem(to_pem(key.public)) == key.public
True
>>> key
ModelKey(public='02086dc3f2fe1db4…')
"""

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2phub.errors import UsageError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import SEED_SIZE, derive

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""How many points P-256 has."""
_PURPOSE: Final = b"p2phub model signatures, P-256"
_CURVES: Final[dict[int, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    33: (ec.SECP256R1(), hashes.SHA256()),
    49: (ec.SECP384R1(), hashes.SHA384()),
    67: (ec.SECP521R1(), hashes.SHA512()),
}
"""By the bytes of a compressed point: the curve, and what is signed of the data."""


class ModelKey:
    """The secret half of a key of P-256. Two keys of one seed are equal."""

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise ValueError(f"a key is made from {SEED_SIZE} bytes, not {len(seed)}")
        self.seed = SecretBytes(seed)
        self._private = ec.derive_private_key(_scalar(seed), ec.SECP256R1())
        self.public = _compressed(self._private.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`: DER, at most 72 bytes."""
        try:
            algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        except UnsupportedAlgorithm:
            algorithm = ec.ECDSA(hashes.SHA256())
        return self._private.sign(data, algorithm)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelKey) and self.seed == other.seed

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        public: bytes = getattr(self, "public", b"")  # a traceback may show it while it is made
        return f"ModelKey(public='{public.hex()[:16]}…')"


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` (DER) is that of `data` by the compressed point `public`."""
    try:
        curve, algorithm = _CURVES[len(public)]
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)
        key.verify(signature, data, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError, KeyError):
        return False
    return True


def hint(public: bytes) -> str:
    """What a model signature says of the key it was made with: the SHA-256 of its PEM, in hex.

    Empty for what is no key: a delegation can name any 33 bytes.
    """
    try:
        return sha256(to_pem(public)).hex()
    except ValueError:
        return ""


def to_pem(public: bytes) -> bytes:
    """A public key as other programs read it. Raises `ValueError` for what is no key."""
    curve = _CURVES[len(public)][0] if len(public) in _CURVES else ec.SECP256R1()
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def from_pem(data: bytes) -> bytes:
    """The compressed point of a public key in PEM. Raises `UsageError` for anything else."""
    if b"PRIVATE KEY" in data:
        raise UsageError(
            "this is a private key, and only the public half is needed to check a signature",
            remedy="`openssl pkey -in KEY -pubout` prints it",
        )
    if len(data) > limits.MAX_OMS_PEM:
        raise UsageError(f"a public key of {len(data)} bytes is none")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            "this is no public key in PEM", remedy="such a file begins with -----BEGIN PUBLIC KEY"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_known(key):
        raise UsageError(
            "this key is of a kind that model signatures do not use",
            remedy="they use keys of the curves P-256, P-384 and P-521",
        )
    return _compressed(key)


def _is_known(key: ec.EllipticCurvePublicKey) -> bool:
    return any(key.curve.name == curve.name for curve, _ in _CURVES.values())


def _compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def _scalar(seed: bytes) -> int:
    """A number from 1 to one less than the order, from any seed: FIPS 186-5, A.2.1.

    Of twice as many bits as needed, so that no number is favoured.
    """
    parts = [derive(seed, _PURPOSE + number) for number in (b" 1", b" 2")]
    return int.from_bytes(b"".join(parts), "big") % (_ORDER - 1) + 1
