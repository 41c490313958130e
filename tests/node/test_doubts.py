"""Whom a pull asks first, last and never."""

from p2phub.formats.ids import ContentId
from p2phub.node.doubts import Doubts
from p2phub.protocol.liars import REMEMBERED, Liars

MODEL, OTHER = (ContentId(5_000_000, bytes([number]) * 32) for number in (1, 2))


def doubts_of(liars=None):
    told = []
    return Doubts(liars or Liars(), lambda event: told.append(event.message)), told


async def test_a_liar_is_never_asked_for_that_file_again_and_last_for_others(autojump_clock):
    doubts, told = doubts_of()
    useless = doubts.useless_for(MODEL)
    for _ in range(2):
        doubts.lied({"mallory"}, MODEL, "model")
    assert set(useless) == {"mallory"}
    assert not doubts.useless_for(OTHER)
    assert doubts.last_for([OTHER]) == {"mallory"}
    assert list(doubts.liars) == ["mallory"]
    assert told == ["mallory delivered wrong bytes of model and is not asked for it again"]


async def test_who_owns_up_to_a_bad_copy_is_a_source_of_others_like_anybody(autojump_clock):
    doubts, told = doubts_of()
    doubts.owned_up({"alice"}, MODEL, "model")
    assert set(doubts.useless_for(MODEL)) == {"alice"}
    assert doubts.last_for([OTHER]) == frozenset()
    assert not doubts.liars
    assert told == ["alice says that its own copy of model is damaged"]


async def test_a_later_pull_asks_the_liar_last_for_that_file_only(autojump_clock):
    liars = Liars()
    doubts_of(liars)[0].lied({"mallory"}, MODEL, "model")
    later, _ = doubts_of(liars)
    assert later.last_for([MODEL]) == {"mallory"}
    assert later.last_for([OTHER]) == frozenset()
    assert not later.useless_for(MODEL)
    autojump_clock.jump(REMEMBERED)
    assert later.last_for([OTHER, MODEL]) == frozenset()


async def test_who_was_slow_is_asked_last_for_everything(autojump_clock):
    doubts, told = doubts_of()
    doubts.was_slow({"sloth"})
    assert doubts.last_for([MODEL, OTHER]) == {"sloth"}
    assert not doubts.useless_for(MODEL)
    assert not told
