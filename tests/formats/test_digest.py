import hashlib

import pytest

from p2phub.formats import digest


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_has_one_digest(kind):
    data = kind(b"p2phub")
    assert digest.sha256(data) == digest.sha256(b"p2phub")
    assert digest.blake3(data) == digest.blake3(b"p2phub")
    assert digest.git_blob_sha1(data) == digest.git_blob_sha1(b"p2phub")


def test_blake3_is_the_published_one():
    assert digest.hexadecimal(digest.blake3(b"")) == (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )


def test_a_git_blob_is_not_its_plain_sha1():
    assert digest.git_blob_sha1(b"x") != hashlib.sha1(b"x").digest()
    assert digest.hexadecimal(digest.git_blob_sha1(b"")) == (
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    )


def test_the_digest_of_nothing_is_known():
    assert digest.sha256(b"") == digest.EMPTY_SHA256


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "AB" * 32, "zz" * 32, "٣" * 64])
def test_what_is_not_64_lower_case_digits_is_no_digest(text):
    assert digest.from_hexadecimal(text) is None


def test_a_digest_survives_being_written():
    made = digest.sha256(b"x")
    assert digest.from_hexadecimal(digest.hexadecimal(made)) == made
