"""Peer ids without libp2p: the 32-byte Ed25519 seed of `node.key` in, the text people see out.

Rules it keeps
- A peer id is the identity multihash of the protobuf of an Ed25519 public key, in base58 (libp2p's
  "peer ids" specification). Peers of this network have Ed25519 keys and no others, so a peer id
  *is* the public key.
- Nothing here imports libp2p: a command that only shows the peer id stays quick.

It leaves keeping the seed to the store and proving a peer id to the host (Noise) and to
`libp2p_certificate`.

>>> peer_id_of_seed(bytes(32))
'12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'
>>> peer_id_of_public(public_of_peer_id("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"))
'12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from p2phub.errors import UsageError

SEED_LENGTH: Final = 32
"""Bytes of an Ed25519 seed."""
PUBLIC_LENGTH: Final = 32
"""Bytes of an Ed25519 public key."""
ED25519_PROTOBUF: Final = bytes.fromhex("08011220")
"""The protobuf header before an Ed25519 public key: key type 1, 32 bytes of data."""
IDENTITY_MULTIHASH: Final = bytes.fromhex("0024")
"""The multihash header: not a digest but the 36 bytes themselves."""
MAX_PEER_ID_TEXT: Final = 64
"""Characters of a peer id we are willing to decode; ours have 52."""
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def peer_id_of_seed(seed: bytes) -> str:
    """The peer id of the node whose key has this seed."""
    return peer_id_of_public(
        Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    )


def peer_id_of_public(public: bytes) -> str:
    """The peer id of an Ed25519 public key."""
    return _base58(IDENTITY_MULTIHASH + ED25519_PROTOBUF + public)


def public_of_peer_id(text: str) -> bytes:
    """The Ed25519 public key a peer id stands for. Raises `UsageError` for anything else."""
    raw = _unbase58(text) if len(text) <= MAX_PEER_ID_TEXT else b""
    header = IDENTITY_MULTIHASH + ED25519_PROTOBUF
    if not raw.startswith(header) or len(raw) != len(header) + PUBLIC_LENGTH:
        raise UsageError(
            f"{text[:MAX_PEER_ID_TEXT]!r} is not the peer id of a p2phub node",
            remedy="Peer ids look like 12D3KooW…; `p2phub id` prints that of a machine.",
        )
    return raw[len(header) :]


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + text


def _unbase58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            return b""
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
