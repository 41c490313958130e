"""Bech32 (BIP-173): bytes as text that a person can read out, with a checksum.

Keys of age are written so: `age1…` and `AGE-SECRET-KEY-1…`. As age does, the 90 characters of
BIP-173 are no limit here, and Bech32m is another thing.

>>> spelled = encode("age", bytes(range(5)))
>>> spelled
'age1qqqsyqcy8erazp'
>>> decode(spelled)
('age', b'\\x00\\x01\\x02\\x03\\x04')
"""

from collections.abc import Iterable
from typing import Final

from p2phub.errors import MalformedError

LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
LONGEST: Final = 256
"""Characters of a text that is looked at."""
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECK: Final = 6


def encode(prefix: str, data: bytes) -> str:
    """`data` under a prefix, in lower case."""
    values = list(_regrouped(data, 8, 5, pad=True))
    rest = _checksum([*_expanded(prefix), *values, *[0] * _CHECK]) ^ 1
    values += [rest >> 5 * (_CHECK - 1 - at) & 31 for at in range(_CHECK)]
    return prefix + "1" + "".join(LETTERS[value] for value in values)


def decode(text: str) -> tuple[str, bytes]:
    """The prefix, in lower case, and the bytes. Raises `MalformedError`."""
    low = text.lower()
    prefix, one, rest = low.rpartition("1")
    is_spelled = one and prefix and text in (low, low.upper()) and text.isascii()
    if not is_spelled or len(text) > LONGEST or len(rest) < _CHECK or set(rest) - set(LETTERS):
        raise MalformedError("this is no Bech32 text")
    values = [LETTERS.index(letter) for letter in rest]
    if _checksum([*_expanded(prefix), *values]) != 1:
        raise MalformedError("a letter of this is wrong: its checksum does not fit")
    data = bytes(_regrouped(values[:-_CHECK], 5, 8, pad=False))
    if encode(prefix, data) != low:
        raise MalformedError("this text has bits that mean nothing")
    return prefix, data


def _expanded(prefix: str) -> list[int]:
    codes = [ord(letter) for letter in prefix]
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _checksum(values: Iterable[int]) -> int:
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for at, term in enumerate(_GENERATOR):
            found ^= term if top >> at & 1 else 0
    return found


def _regrouped(data: Iterable[int], old: int, new: int, *, pad: bool) -> Iterable[int]:
    """The same bits in groups of `new`."""
    held = bits = 0
    for value in data:
        held, bits = held << old | value, bits + old
        while bits >= new:
            bits -= new
            yield held >> bits
            held &= (1 << bits) - 1
    if pad and bits:
        yield held << new - bits
