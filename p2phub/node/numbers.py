"""The numbers that a release key gives to the indexes it signs: none is ever given twice.

Two indexes of one key with one number would prove a fork. The store remembers the last number; but
a store can be a copy, or restored from an old backup. So the clock decides unless it went back,
and chance within a second.
"""

import secrets
from collections.abc import Iterable
from typing import Final

from p2phub.formats.publisher import Index
from p2phub.store.documents import Documents
from p2phub.trust import envelope

NUMBERS_A_SECOND: Final = 1 << 20
"""Writer numbers that belong to one second: copies of one store that sign in the same second, or
with a clock that went back, choose different ones among them."""
LAST_SECOND: Final = (1 << 32) - 1
"""Clocks beyond it do not count: the numbers after it must do for ever."""


def next_number(documents: Documents, key: bytes, parents: Iterable[bytes], now: int) -> int:
    """The number of the next index by `key`, which follows `parents` (digests). `now`: unix
    seconds. It is on the disk before it is returned.
    """
    for digest in parents:
        data = documents.get(digest)
        if data is not None:
            index = Index.from_payload(envelope.unpack(data).payload)
            documents.saw_writer_seq(index.writer, index.writer_seq)
    second = min(max(now, 0), LAST_SECOND) * NUMBERS_A_SECOND
    chance = 1 + secrets.randbelow(NUMBERS_A_SECOND)
    return documents.next_writer_seq(key, second + chance, chance)
