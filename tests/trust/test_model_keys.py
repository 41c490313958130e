"""Keys of model signatures: the door to the curves of NIST."""

import hashlib

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from p2phub.errors import UsageError
from p2phub.formats import limits
from p2phub.trust import model_keys
from p2phub.trust.model_keys import ModelKey, from_pem, hint, to_pem, verify

KEY = ModelKey(b"\x07" * 32)
CURVES = [
    (ec.SECP256R1(), hashes.SHA256()),
    (ec.SECP384R1(), hashes.SHA384()),
    (ec.SECP521R1(), hashes.SHA512()),
]


def pem(public) -> bytes:
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_one_seed_makes_one_key_for_ever():
    assert KEY == ModelKey(b"\x07" * 32) != ModelKey(b"\x08" * 32)
    assert ModelKey(bytes(32)).public.hex() == (
        "02086dc3f2fe1db4164efb11582f21d409bdd665c819f9008de93c101b03be6947"
    )
    assert len(KEY.public) == limits.OMS_KEY


@pytest.mark.parametrize("seed", [bytes(32), b"\xff" * 32, b"\x00" * 31 + b"\x01"])
def test_any_seed_makes_a_key(seed):
    key = ModelKey(seed)
    assert verify(key.public, b"x", key.sign(b"x"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_size_is_a_bug(size):
    with pytest.raises(ValueError, match="32 bytes"):
        ModelKey(bytes(size))


def test_the_same_bytes_get_the_same_signature():
    assert KEY.sign(b"hello") == ModelKey(b"\x07" * 32).sign(b"hello") != KEY.sign(b"hullo")


def test_an_old_openssl_signs_too(monkeypatch):
    real = ec.ECDSA

    def old(algorithm, deterministic_signing=False):
        if deterministic_signing:
            raise UnsupportedAlgorithm("this OpenSSL cannot")
        return real(algorithm)

    monkeypatch.setattr(model_keys.ec, "ECDSA", old)
    assert verify(KEY.public, b"hello", KEY.sign(b"hello"))


def test_one_changed_bit_anywhere_fails():
    signature = KEY.sign(b"message")
    assert verify(KEY.public, b"message", signature)
    for bit in range(0, 8 * len(signature), 7):
        wrong = bytearray(signature)
        wrong[bit // 8] ^= 1 << bit % 8
        assert not verify(KEY.public, b"message", bytes(wrong))
    assert not verify(KEY.public, b"messagf", signature)


@pytest.mark.parametrize(
    "public", [b"", bytes(33), b"\x02" + b"\xff" * 32, b"\x04" + bytes(32), bytes(49), bytes(65)]
)
def test_what_is_no_key_signed_nothing_and_has_no_hint(public):
    assert not verify(public, b"message", KEY.sign(b"message"))
    assert hint(public) == ""


@pytest.mark.parametrize(
    "signature", [b"", bytes(64), b"\x30\x00", b"\x30\x06\x02\x01\x00\x02\x01\x00"]
)
def test_what_is_no_signature_does_not_verify(signature):
    assert not verify(KEY.public, b"message", signature)


@pytest.mark.parametrize(("curve", "algorithm"), CURVES, ids=lambda each: each.name)
def test_keys_of_every_curve_of_the_package_are_read(curve, algorithm):
    private = ec.generate_private_key(curve)
    public = from_pem(pem(private.public_key()))
    assert to_pem(public) == pem(private.public_key())
    assert verify(public, b"hello", private.sign(b"hello", ec.ECDSA(algorithm)))
    assert not verify(public, b"hello", private.sign(b"hello", ec.ECDSA(hashes.SHA3_256())))


def test_the_hint_is_the_digest_of_the_pem():
    assert hint(KEY.public) == hashlib.sha256(to_pem(KEY.public)).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        bytes(limits.MAX_OMS_PEM + 1),
        pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
        pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        pem(rsa.generate_private_key(65537, 2048).public_key()),
    ],
    ids=["empty", "no body", "too long", "Ed25519", "secp256k1", "RSA"],
)
def test_what_is_no_key_of_model_signatures_is_a_usage_error(data):
    with pytest.raises(UsageError):
        from_pem(data)


def test_a_pem_is_bounded_on_both_sides():
    filled = b"#" * (limits.MAX_OMS_PEM - len(to_pem(KEY.public)) - 1) + b"\n" + to_pem(KEY.public)
    assert from_pem(filled) == KEY.public
    with pytest.raises(UsageError, match="bytes is none"):
        from_pem(b"#" + filled)


def test_a_private_key_is_refused_and_not_repeated():
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(UsageError, match="private") as caught:
        from_pem(private)
    assert private.splitlines()[1].decode() not in caught.value.message + caught.value.remedy


def test_a_key_shows_no_secret():
    shown = f"{KEY!r} {KEY} {KEY.seed!r} {[KEY]}"
    assert KEY.seed.hex() not in shown
    assert "\\x07" not in shown
