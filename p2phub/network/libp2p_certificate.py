"""Certificates that say which peer stands behind a TLS socket (libp2p's TLS specification).

A fresh P-256 key signs the TLS handshake; an extension of its certificate carries the peer's public
key and that key's signature over the P-256 key. No authority, no host name and no second identity
is involved.

Rules it keeps
- A certificate has no end and no date that matters: a clock that is wrong by a day must not cut a
  node off, and what is checked is the key, not the calendar.
- Everything is checked before the peer id is returned: the self-signature, the one extension, the
  peer's signature, and that no critical extension was skipped. Whatever is wrong becomes
  `GarbageError`.
- The libp2p extension comes first: js-libp2p looks at the first extension only.

It leaves TLS itself, and the comparison with the peer id that was expected, to the data plane.

>>> from cryptography import x509
>>> from cryptography.hazmat.primitives.serialization import Encoding
>>> certificate_pem, private_key_pem = make_certificate(bytes(32))
>>> der = x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)
>>> peer_of_certificate(der)
'12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'
"""

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from p2phub.errors import GarbageError
from p2phub.network.libp2p_identity import ED25519_PROTOBUF, PUBLIC_LENGTH, peer_id_of_public

EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
SIGNED_PREFIX: Final = b"libp2p-tls-handshake:"
MAX_CERTIFICATE: Final = 16 * 1024
"""Bytes of DER; one of ours has about 500."""
SIGNATURE_LENGTH: Final = 64
_FIRST_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_SEQUENCE, _OCTET_STRING = 0x30, 0x04


def make_certificate(seed: bytes) -> tuple[bytes, bytes]:
    """A fresh certificate of the node with this seed and the private key to go with it, as PEM."""
    peer_key = Ed25519PrivateKey.from_private_bytes(seed)
    tls_key = ec.generate_private_key(ec.SECP256R1())
    signature = peer_key.sign(SIGNED_PREFIX + _public_info(tls_key.public_key()))
    public = ED25519_PROTOBUF + peer_key.public_key().public_bytes_raw()
    body = _octets(public) + _octets(signature)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "libp2p")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(tls_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_NO_END)
        .add_extension(
            x509.UnrecognizedExtension(EXTENSION, bytes([_SEQUENCE, len(body)]) + body),
            critical=False,
        )
        .sign(tls_key, hashes.SHA256())
    )
    private = tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def peer_of_certificate(der: bytes) -> str:
    """The peer id this certificate proves. Raises `GarbageError` if it proves none."""
    if len(der) > MAX_CERTIFICATE:
        raise GarbageError(
            f"the peer showed a certificate of {len(der)} bytes, more than {MAX_CERTIFICATE}"
        )
    try:
        return _verified_peer(x509.load_der_x509_certificate(der))
    except GarbageError:
        raise
    except Exception as error:
        # One door: parser and signature checks raise a dozen types, all mean the same to us.
        raise GarbageError("the peer showed a certificate that proves no peer id") from error


def _verified_peer(certificate: x509.Certificate) -> str:
    tls_key = certificate.public_key()
    if not isinstance(tls_key, ec.EllipticCurvePublicKey):
        raise GarbageError("the peer's certificate has a key that is not an elliptic curve key")
    digest = certificate.signature_hash_algorithm
    if not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise GarbageError("the peer's certificate is signed over a digest that is too weak")
    tls_key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
    public, signature = _signed_key(_extension_bytes(certificate))
    if (
        not public.startswith(ED25519_PROTOBUF)
        or len(public) != len(ED25519_PROTOBUF) + PUBLIC_LENGTH
    ):
        raise GarbageError("the peer's certificate names a key that is not an Ed25519 key")
    raw = public[len(ED25519_PROTOBUF) :]
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, SIGNED_PREFIX + _public_info(tls_key))
    return peer_id_of_public(raw)


def _extension_bytes(certificate: x509.Certificate) -> bytes:
    found = b""
    for extension in certificate.extensions:
        if extension.oid == EXTENSION and isinstance(extension.value, x509.UnrecognizedExtension):
            found = extension.value.value
        elif extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise GarbageError(
                "the peer's certificate has a critical extension that we do not know"
            )
    if not found:
        raise GarbageError("the peer's certificate lacks the libp2p extension")
    return found


def _signed_key(data: bytes) -> tuple[bytes, bytes]:
    """SEQUENCE { OCTET STRING public key, OCTET STRING signature } and nothing after it."""
    public_length = data[3]
    public = data[4 : 4 + public_length]
    signature = data[6 + public_length :]
    if data != bytes([_SEQUENCE, len(data) - 2]) + _octets(public) + _octets(signature):
        raise GarbageError("the libp2p extension of the peer's certificate is malformed")
    return public, signature


def _octets(data: bytes) -> bytes:
    return bytes([_OCTET_STRING, len(data)]) + data


def _public_info(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
