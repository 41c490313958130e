from p2phub.protocol.liars import MAX_LIARS, REMEMBERED, Liars


def test_a_liar_is_remembered_for_an_hour_at_least():
    liars = Liars()
    liars.remember("mallory", 10)
    assert liars.names(10 + 3600 - 1) == {"mallory"}
    assert liars.names(10 + REMEMBERED) == frozenset()


def test_who_lies_again_is_remembered_anew():
    liars = Liars()
    liars.remember("mallory", 0)
    liars.remember("trudy", 5)
    liars.remember("mallory", 1000)
    assert liars.names(REMEMBERED + 10) == {"mallory"}


def test_a_crowd_of_liars_costs_no_memory_and_the_latest_are_remembered():
    liars = Liars()
    for number in range(3 * MAX_LIARS):
        liars.remember(f"liar {number}", number / 10)
    names = liars.names(3 * MAX_LIARS / 10)
    assert len(names) == MAX_LIARS
    assert f"liar {3 * MAX_LIARS - 1}" in names
    assert "liar 0" not in names
