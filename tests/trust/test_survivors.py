"""What is left of an index when a key that may have written in it is revoked."""

from p2phub.formats import limits
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.trust.survivors import survivors

GOOD, EVIL, FINE = b"g" * 32, b"e" * 32, b"f" * 32


def repo(name="demo", kind="model", size=1, **refs):
    return RepoEntry(name, kind, refs, size=size)


def left(good, newest, seq=5):
    return survivors(good, newest, seq=seq, counts=lambda repo, release: release == FINE)


def test_what_nobody_touched_stays_as_it_is():
    entries = [repo(main=Ref(GOOD, 1)), repo("other", main=Ref(GOOD, 2))]
    found = left(entries, entries)
    assert (found.entries, found.dropped) == (tuple(entries), ())


def test_a_ref_that_the_thief_moved_goes_back():
    found = left([repo(main=Ref(GOOD, 1))], [repo(main=Ref(EVIL, 9), size=66)])
    assert found.entries == (repo(main=Ref(GOOD, 1)),)
    assert found.dropped == ("demo@main",)


def test_a_ref_that_the_thief_took_away_comes_back():
    before = repo(main=Ref(GOOD, 1), v1=Ref(GOOD, 1, True))
    assert left([before], [repo(main=Ref(GOOD, 1))]).entries == (before,)
    assert left([before], []).entries == (before,)


def test_a_repo_of_the_thief_alone_is_gone():
    found = left([], [repo(main=Ref(EVIL, 1))])
    assert (found.entries, found.dropped) == ((), ("demo@main",))


def test_an_old_number_on_a_new_ref_proves_nothing():
    assert left([], [repo(main=Ref(EVIL, 1))], seq=9).dropped == ("demo@main",)


def test_what_others_signed_stays_and_is_not_younger_than_its_index():
    found = left([repo(main=Ref(GOOD, 1))], [repo(main=Ref(FINE, 1000), size=7)])
    assert found.entries == (repo(main=Ref(FINE, 5), size=7),)
    assert found.dropped == ()


def test_the_kind_and_card_of_the_thief_do_not_stay_on_a_good_release():
    good = repo(main=Ref(GOOD, 1))
    found = left([good], [repo(kind="space", size=66, main=Ref(GOOD, 1))])
    assert found.entries == (good,)


def test_the_same_release_under_the_same_ref_keeps_its_old_number():
    assert left([repo(main=Ref(GOOD, 1))], [repo(main=Ref(GOOD, 4))]).entries == (
        repo(main=Ref(GOOD, 1)),
    )


def test_refs_that_come_back_leave_no_room_for_more_than_a_repo_may_have():
    before = {f"v{n}": Ref(GOOD, 1, True) for n in range(limits.MAX_REFS)}
    since = {f"w{n}": Ref(FINE, 3, True) for n in range(3)}
    found = left([repo(**before)], [repo(**since)])
    assert found.entries == (repo(**before),)
    assert found.dropped == ("demo@w0", "demo@w1", "demo@w2")
    del before["v0"]
    assert left([repo(**before)], [repo(**since)]).dropped == ("demo@w1", "demo@w2")
