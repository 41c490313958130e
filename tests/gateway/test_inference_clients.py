"""Who counts as one client, how much one gets, and when the others are told to come again."""

from types import SimpleNamespace

import pytest

from p2phub.errors import BusyError
from p2phub.gateway.inference_clients import (
    KEYS,
    LONGEST_RETRY,
    MINUTE,
    REMEMBERED,
    Crowd,
    InferenceLimits,
)


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def refused(crowd, client="x", answers=1):
    """Seconds after which a client is to come again."""
    with pytest.raises(BusyError) as told, crowd.entered(client, answers):
        pass
    return told.value.retry_after


class TestCrowd:
    def test_forgets_who_has_nothing_under_way(self):
        crowd = Crowd(InferenceLimits(), clock=float)
        with crowd.entered("a"):
            assert crowd.clients == 1
        assert crowd.clients == 0

    def test_counts_nobody_who_is_refused(self):
        crowd = Crowd(InferenceLimits(per_client=1, in_all=1), clock=float)
        for name in "ab":
            with crowd.entered("a"), pytest.raises(BusyError), crowd.entered(name):
                pass
        assert (crowd.inside, crowd.clients) == (0, 0)

    def test_gives_a_minutes_requests_at_once_and_then_one_at_a_time(self):
        now = 0.0
        crowd = Crowd(InferenceLimits(per_minute=3), clock=lambda: now)
        for _ in range(3):
            crowd.came("a")
        with pytest.raises(BusyError) as told:
            crowd.came("a")
        assert told.value.retry_after == pytest.approx(20)
        crowd.came("b")
        now = 20.0
        crowd.came("a")
        with pytest.raises(BusyError):
            crowd.came("a")

    def test_lets_nobody_wait_longer_because_it_was_refused(self):
        now = 0.0
        crowd = Crowd(InferenceLimits(per_minute=1), clock=lambda: now)
        crowd.came("a")
        for _ in range(10):
            with pytest.raises(BusyError) as told:
                crowd.came("a")
        assert told.value.retry_after == pytest.approx(60)

    def test_keeps_no_list_of_everybody_who_ever_asked(self):
        now = 0.0
        crowd = Crowd(InferenceLimits(per_minute=60), clock=lambda: now)
        for number in range(3 * REMEMBERED):
            now += 0.01
            crowd.came(f"key {number}")
        assert len(crowd._free) <= REMEMBERED


class TestNames:
    def test_made_up_keys_are_so_many_clients_and_no_more(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        names = {crowd.named("127.0.0.1", f"Bearer {number}") for number in range(1000)}
        assert len(names) == KEYS + 1

    def test_a_program_that_asks_now_and_then_keeps_its_name(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        mine = crowd.named("127.0.0.1", "mine")
        for number in range(1000):
            clock.now += MINUTE / 100
            crowd.named("127.0.0.1", f"made up {number}")
            if number % 50 == 0:
                assert crowd.named("127.0.0.1", "mine") == mine
        assert crowd.named("127.0.0.1", "another") != mine

    def test_who_has_an_answer_under_way_keeps_its_name_for_as_long_as_it_lasts(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        mine = crowd.named("127.0.0.1", "mine")
        with crowd.entered(mine):
            clock.now += 10 * MINUTE
            for number in range(2 * KEYS):
                crowd.named("127.0.0.1", f"made up {number}")
            assert crowd.named("127.0.0.1", "mine") == mine

    def test_keys_of_one_address_take_none_from_another(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        for number in range(2 * KEYS):
            crowd.named("10.0.0.1", f"made up {number}")
        assert crowd.named("10.0.0.2", "a") != crowd.named("10.0.0.2", "b")

    def test_a_name_is_free_again_after_a_minute(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        for number in range(2 * KEYS):
            crowd.named("127.0.0.1", f"made up {number}")
        shared = crowd.named("127.0.0.1", "late")
        clock.now += MINUTE
        assert crowd.named("127.0.0.1", "late") != shared

    def test_addresses_that_are_gone_are_forgotten(self, clock):
        crowd = Crowd(InferenceLimits(), clock)
        for number in range(3 * REMEMBERED):
            clock.now += 0.1
            crowd.named(f"address {number}", "")
        assert len(crowd._seen) <= REMEMBERED

    def test_another_address_that_a_header_names_is_not_believed(self, clock):
        crowd, names = Crowd(InferenceLimits(), clock), set()
        for number in range(3):
            told = f"10.0.0.{number}"
            headers = {"x-forwarded-for": told, "forwarded": f"for={told}", "x-real-ip": told}
            names.add(
                crowd.client_of(
                    SimpleNamespace(client=SimpleNamespace(host="127.0.0.1"), headers=headers)
                )
            )
        assert len(names) == 1


class TestRequests:
    def test_of_one_client_that_still_arrive_are_no_more_than_it_may_have_answers(self, clock):
        crowd = Crowd(InferenceLimits(per_client=2), clock)
        with crowd.body("a"), crowd.body("a"):
            with pytest.raises(BusyError, match="2 answers"), crowd.body("a"):
                pass
            with crowd.body("b"):
                pass
        with crowd.body("a"):
            pass
        assert not crowd._asking


class TestComingAgain:
    def test_before_any_answer_has_ended_it_is_soon(self, clock):
        crowd = Crowd(InferenceLimits(in_all=1), clock)
        with crowd.entered("a"):
            assert {refused(crowd) for _ in range(100)} == {1.0}

    def test_those_who_are_refused_come_as_far_apart_as_answers_end(self, clock):
        crowd = Crowd(InferenceLimits(in_all=1), clock)
        for _ in range(50):
            with crowd.entered("a"):
                clock.now += 3.0
        with crowd.entered("a"):
            assert [refused(crowd) for _ in range(4)] == pytest.approx([1, 4, 7, 10])
            clock.now += 4.0
            assert refused(crowd) == pytest.approx(9)

    def test_answers_that_end_together_are_as_far_apart_as_they_are_many(self, clock):
        crowd = Crowd(InferenceLimits(in_all=8), clock)
        for _ in range(100):
            with crowd.entered("a", 4), crowd.entered("b", 4):
                clock.now += 8.0
        with crowd.entered("a", 8):
            told = [refused(crowd) for _ in range(9)]
        assert told[-1] - told[0] == pytest.approx(8, rel=0.5)

    def test_nobody_is_sent_away_for_longer_than_a_minute(self, clock):
        crowd = Crowd(InferenceLimits(in_all=1), clock)
        with crowd.entered("a"):
            clock.now += 30.0
        with crowd.entered("a"):
            told = [refused(crowd) for _ in range(1000)]
        assert max(told) == LONGEST_RETRY

    def test_time_in_which_nobody_asked_is_not_the_time_of_an_answer(self, clock):
        crowd = Crowd(InferenceLimits(in_all=1), clock)
        with crowd.entered("a"):
            clock.now += 2.0
        clock.now += 3600.0
        with crowd.entered("a"):
            clock.now += 2.0
        with crowd.entered("a"):
            assert [refused(crowd) for _ in range(2)] == pytest.approx([1, 3])

    def test_the_setting_is_named_that_says_how_many_one_client_may_have(self, clock):
        crowd = Crowd(InferenceLimits(per_client=1), clock)
        with crowd.entered("a"), pytest.raises(BusyError) as told, crowd.entered("a"):
            pass
        assert "inference.answers_per_client" in told.value.remedy
