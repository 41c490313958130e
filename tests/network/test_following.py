"""How often who follows a file hears of it."""

import pytest

from p2phub.formats.ids import ContentId
from p2phub.network.following import PUSH_AT_LEAST, PUSH_EVERY, Told
from p2phub.protocol.ports import Holding

FILE, OTHER = ContentId(800, bytes(32)), ContentId(800, b"o" * 32)


def told_of(**held):
    told = Told()
    told.update({FILE: held.get("file"), OTHER: held.get("other")})
    return told


@pytest.mark.parametrize(
    ("seconds", "pause"), [(0, PUSH_EVERY), (4, PUSH_EVERY), (10, 0.5), (3600, PUSH_AT_LEAST)]
)
def test_news_of_what_takes_long_are_rare(seconds, pause):
    assert told_of().pause(seconds) == pause
    assert told_of(file=Holding(False, ((0, 100), (200, 600)))).pause(seconds) == pause


def test_where_little_is_missing_every_piece_is_told_soon():
    nearly = Holding(False, ((0, 100), (200, 800)))
    assert told_of(file=nearly).pause(3600) == PUSH_EVERY
    assert told_of(other=nearly, file=Holding(False, ((0, 100),))).pause(3600) == PUSH_EVERY


def test_what_is_complete_hurries_nobody():
    assert told_of(file=Holding(True), other=Holding(False, ((0, 8),))).pause(3600) == PUSH_AT_LEAST
    told = told_of(file=Holding(False, ((0, 790),)))
    told.update({FILE: Holding(True)})
    assert told.pause(3600) == PUSH_AT_LEAST
