"""A search for leaks that finds none proves something only if it can find them."""

from base64 import b64encode, urlsafe_b64encode

import pytest

from p2phub.formats.codec import encode
from p2phub.testing.leaks import Leaks

SECRET = bytes(range(150, 182))
PHRASE = "abandon ability able about above absent"
LEAKS = Leaks({"seed": SECRET}, {"phrase": PHRASE})


@pytest.mark.parametrize(
    "told",
    [
        SECRET,
        b"before" + SECRET + b"after",
        encode({"seed": SECRET}),
        SECRET.hex(),
        SECRET.hex().upper(),
        f"seed={SECRET!r}",
        f"{bytearray(SECRET)}",
        f"{list(SECRET)}",
        *(b64encode(b"x" * at + SECRET + b"rest") for at in range(6)),
        *(urlsafe_b64encode(b"x" * at + SECRET) for at in range(6)),
        SECRET[:12],
        SECRET[-12:].hex(),
    ],
)
def test_a_seed_is_found_in_every_form(told):
    assert LEAKS.found(told)


@pytest.mark.parametrize(
    "told", [PHRASE, PHRASE.upper(), "\n".join(PHRASE.split()), str(PHRASE.split()), PHRASE[8:33]]
)
def test_a_phrase_is_found_by_three_words(told):
    assert LEAKS.found(told) == ["phrase: words"]


@pytest.mark.parametrize("told", ["", "ability about", SECRET[:5].hex(), bytes(100), "able" * 9])
def test_what_is_no_secret_is_none(told):
    assert LEAKS.found(told) == []
