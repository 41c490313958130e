"""Who makes room at a full data port."""

from p2phub.network.admission import Guest, makes_room

HOG = [Guest(number, "hog", None) for number in range(10)]


def key(guests, newcomer):
    found = makes_room(guests, newcomer)
    return None if found is None else found.key


def test_the_one_that_was_idle_longest_goes():
    assert key([Guest(0, "a", 5.0), Guest(1, "b", 3.0), Guest(2, "c", None)], "d") == 1


def test_of_a_party_with_many_connections_first():
    assert key([Guest(0, "a", 1.0), Guest(1, "b", 3.0), Guest(2, "b", 2.0)], "d") == 2


def test_a_hog_that_is_never_idle_gives_up_its_newest_connection():
    assert key([*HOG, Guest(10, "a", None)], "d") == 9


def test_a_hog_never_takes_the_place_of_another():
    assert key([*HOG, Guest(10, "a", 1.0)], "hog") is None
    assert key([Guest(0, "hog", 9.0), Guest(1, "hog", None), Guest(2, "a", 1.0)], "hog") == 0


def test_nobody_goes_when_all_have_as_many():
    assert key([Guest(0, "a", None), Guest(1, "b", None)], "c") is None
    assert key([Guest(0, "a", None), Guest(1, "a", None), Guest(2, "b", None)], "b") is None
