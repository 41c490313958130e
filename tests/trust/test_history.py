"""What the gate remembers: bounded, forked publishers longest, the fresher of two equal heads."""

import pytest

from p2phub.errors import ForkedError, RolledBackError, UntrustedError
from p2phub.formats.publisher import Index, ReleaseKey
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import history
from p2phub.trust.history import Histories, History
from p2phub.trust.policy import Rule
from p2phub.trust.records import HeadRecord, check_head
from p2phub.trust.refusals import Trail


def record(lab: FakePublisher, **changes: object) -> HeadRecord:
    return check_head(lab.head_key, lab.sign_head(**changes).pack())


def trail() -> Trail:
    return Trail("this test")


def test_of_two_heads_for_one_index_the_fresher_stays():
    lab = FakePublisher(1)
    past = History(record(lab, not_after=20))
    for not_after, fresh_until in ((10, 20), (30, 30), (20, 30), (0, None), (40, None)):
        past.take_head(record(lab, not_after=not_after), trail())
        assert past.state.fresh_until == fresh_until


def test_of_two_heads_with_one_seq_the_greater_index_digest_stays():
    lab = FakePublisher(1)
    past = History(record(lab, index=b"m" * 32))
    for index, stays in ((b"a", b"m"), (b"z", b"z"), (b"m", b"z")):
        past.take_head(record(lab, index=index * 32), trail())
        assert past.state.index == stays * 32


def test_a_refused_head_leaves_the_state_as_it_was():
    lab = FakePublisher(1)
    past = History(record(lab, seq=5))
    before = past.state
    with pytest.raises(RolledBackError):
        past.take_head(record(lab, seq=4), trail())
    assert past.state == before


def index(lab: FakePublisher, number: int, seq: int = 1, pages: bytes = bytes(32)) -> Index:
    parents = () if seq == 1 else (b"unknown parent, 32 bytes of it..",)
    writer = lab.key("release").public
    return Index(lab.publisher.digest, writer, number, parents, seq, 0, {}, pages)


def test_only_so_many_indexes_are_remembered(monkeypatch):
    monkeypatch.setattr(history, "REMEMBERED", 4)
    lab = FakePublisher(1)
    past = History(record(lab))
    for number in range(1, 10):
        past.take_index(index(lab, number, number), b"%032d" % number, trail())
    assert len(past._written) == len(past._seqs) == 4
    with pytest.raises(ForkedError):
        past.take_index(index(lab, 9, 9), b"another", trail())
    past.take_index(index(lab, 1, 1), b"too long ago to notice", trail())


def test_the_numbers_of_a_writer_begin_afresh_where_its_delegation_says():
    lab = FakePublisher(1)
    past = History(record(lab))
    for number in (1, 2):
        past.take_index(index(lab, number), b"one %d" % number, trail())
    lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=2))
    past.take_head(record(lab), trail())
    past.take_index(index(lab, 1), b"other 1", trail())
    assert not past.state.forked
    with pytest.raises(ForkedError):
        past.take_index(index(lab, 2), b"other 2", trail())


def test_the_publisher_not_heard_of_for_longest_is_forgotten():
    histories = Histories(most=2)
    one, two, three = (FakePublisher(seed) for seed in (1, 2, 3))
    assert histories.take(record(one), trail()) is None
    assert histories.take(record(two), trail()) is None
    assert histories.take(record(one), trail()) is None
    assert histories.take(record(three), trail()) == two.publisher
    assert histories.state(two.publisher) is None
    assert histories.state(one.publisher)
    with pytest.raises(UntrustedError, match="no head of it was accepted"):
        histories.believed(two.publisher, Rule(), trail())


def test_that_somebody_forked_is_remembered_longest():
    histories = Histories(most=2)
    evil, one, two = (FakePublisher(seed) for seed in (1, 2, 3))
    histories.take(record(evil), trail())
    past = histories.believed(evil.publisher, Rule(), trail())
    past.take_index(index(evil, 1), b"one", trail())
    with pytest.raises(ForkedError):
        past.take_index(index(evil, 1), b"other", trail())
    histories.take(record(one), trail())
    assert histories.take(record(two), trail()) == one.publisher
    with pytest.raises(ForkedError):
        histories.believed(evil.publisher, Rule(), trail())


def test_a_flood_of_forked_publishers_cannot_keep_everybody_else_out():
    histories = Histories(most=2)
    for seed in (1, 2):
        evil = FakePublisher(seed)
        histories.take(record(evil), trail())
        past = histories.believed(evil.publisher, Rule(), trail())
        past.take_index(index(evil, 1), b"one", trail())
        with pytest.raises(ForkedError):
            past.take_index(index(evil, 1), b"other", trail())
    honest = FakePublisher(3)
    assert histories.take(record(honest), trail()) == FakePublisher(1).publisher
    assert histories.believed(honest.publisher, Rule(), trail())
