from p2phub.formats.ids import ContentId
from p2phub.protocol.liars import MAX_LIARS, MAX_LIES, REMEMBERED, Liars

MODEL, OTHER = (ContentId(5_000_000, bytes([number]) * 32) for number in (1, 2))


def test_a_liar_is_remembered_for_an_hour_at_least():
    liars = Liars()
    liars.remember("mallory", MODEL, 10)
    assert liars.names(MODEL, 10 + 3600 - 1) == {"mallory"}
    assert liars.names(MODEL, 10 + REMEMBERED) == frozenset()


def test_a_bad_copy_of_one_file_says_nothing_about_another():
    liars = Liars()
    liars.remember("mallory", MODEL, 0)
    assert liars.names(OTHER, 1) == frozenset()


def test_who_lies_again_is_remembered_anew():
    liars = Liars()
    liars.remember("mallory", MODEL, 0)
    liars.remember("trudy", MODEL, 5)
    liars.remember("mallory", MODEL, 1000)
    assert liars.names(MODEL, REMEMBERED + 10) == {"mallory"}


def test_each_lie_ages_by_itself():
    liars = Liars()
    liars.remember("mallory", MODEL, 0)
    liars.remember("mallory", OTHER, 1000)
    assert liars.names(MODEL, REMEMBERED + 10) == frozenset()
    assert liars.names(OTHER, REMEMBERED + 10) == {"mallory"}


def test_a_crowd_of_liars_costs_no_memory_and_the_latest_are_remembered():
    liars = Liars()
    for number in range(3 * MAX_LIARS):
        liars.remember(f"liar {number}", MODEL, number / 10)
    names = liars.names(MODEL, 3 * MAX_LIARS / 10)
    assert len(names) == MAX_LIARS
    assert f"liar {3 * MAX_LIARS - 1}" in names
    assert "liar 0" not in names


def test_one_that_lies_about_everything_pushes_nobody_out():
    liars = Liars()
    liars.remember("mallory", MODEL, 0)
    for number in range(3 * MAX_LIARS):
        liars.remember("trudy", ContentId(number, bytes(32)), 1)
    assert liars.names(MODEL, 2) == {"mallory"}
    assert liars.names(ContentId(3 * MAX_LIARS - 1, bytes(32)), 2) == {"trudy"}
    assert liars.names(ContentId(3 * MAX_LIARS - 1 - MAX_LIES, bytes(32)), 2) == frozenset()
