"""Keys: the door to the Ed25519 library."""

import pytest

from p2phub.trust.keys import SigningKey, derive, seal, stretch, unseal, verify

KEY = SigningKey(b"\x07" * 32)


def test_the_vector_of_rfc_8032_comes_out():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey(seed)
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_one_changed_bit_anywhere_fails():
    signature = KEY.sign(b"message")
    assert verify(KEY.public, b"message", signature)
    for bit in range(0, 512, 7):
        wrong = bytearray(signature)
        wrong[bit // 8] ^= 1 << bit % 8
        assert not verify(KEY.public, b"message", bytes(wrong))
    assert not verify(KEY.public, b"messagf", signature)


def test_another_key_did_not_sign_it():
    assert not verify(SigningKey(b"\x08" * 32).public, b"message", KEY.sign(b"message"))


@pytest.mark.parametrize("public", [b"", b"\xff" * 31, b"\xff" * 33, b"\xff" * 32, bytes(32)])
def test_what_is_no_key_signed_nothing(public):
    assert not verify(public, b"message", KEY.sign(b"message"))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature_does_not_verify(signature):
    assert not verify(KEY.public, b"message", signature)


def test_a_second_s_value_for_one_signature_is_refused():
    """Ed25519 without this check is malleable: s + the group order verifies as well."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + order
    assert not verify(KEY.public, b"message", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_the_wrong_size_makes_no_key(size):
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(bytes(size))


def test_a_secret_never_shows_in_a_log():
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY.seed) not in repr(KEY)


def test_two_keys_of_one_seed_are_one_key():
    assert {KEY, SigningKey(KEY.seed)} == {KEY}
    assert SigningKey(b"\x08" * 32) != KEY


def test_the_seed_of_a_key_does_not_show_by_itself():
    assert repr(KEY.seed) == "<32 secret bytes>"


def test_the_vector_of_rfc_7914_for_scrypt_comes_out():
    made = stretch(b"pleaseletmein", b"SodiumChloride", 16384, 8, 1)
    assert made.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_what_is_sealed_opens_with_the_same_key_nonce_and_context_only():
    key, nonce = bytes(32), bytes(12)
    sealed = seal(key, nonce, b"secret", b"for this")
    assert unseal(key, nonce, sealed, b"for this") == b"secret"
    assert unseal(b"\1" * 32, nonce, sealed, b"for this") is None
    assert unseal(key, b"\1" * 12, sealed, b"for this") is None
    assert unseal(key, nonce, sealed, b"for that") is None
    for bit in range(8 * len(sealed)):
        wrong = bytearray(sealed)
        wrong[bit // 8] ^= 1 << bit % 8
        assert unseal(key, nonce, bytes(wrong), b"for this") is None


@pytest.mark.parametrize("sealed", [b"", bytes(15), bytes(16)])
def test_what_is_too_short_to_be_sealed_does_not_open(sealed):
    assert unseal(bytes(32), bytes(12), sealed, b"") is None


def test_the_vector_of_rfc_5869_without_a_salt_comes_out():
    assert derive(b"\x0b" * 22, b"").hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )
