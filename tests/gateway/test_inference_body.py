"""Bodies and parameters that are not what they should be."""

import pytest
import trio
from starlette.requests import Request

from p2phub.errors import BusyError, TooSlowError, UsageError
from p2phub.gateway import inference_body
from p2phub.gateway.dialects import ParameterError
from p2phub.gateway.guard import MAX_BODY
from p2phub.gateway.inference_body import Fields, parse, read
from p2phub.gateway.inference_clients import Crowd, InferenceLimits


def request_of(*messages):
    waiting = list(messages)

    async def receive():
        await trio.lowlevel.checkpoint()
        return waiting.pop(0) if waiting else await trio.sleep_forever()

    return Request({"type": "http", "headers": []}, receive)


def slow_request(size, count=10**9, *, seconds):
    """So many parts of that size, one whenever so many seconds have passed."""
    sent = 0

    async def receive():
        nonlocal sent
        await trio.sleep(seconds)
        sent += 1
        return part(b"x" * size, more=sent < count)

    return Request({"type": "http", "headers": []}, receive)


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


class TestReading:
    async def test_joins_what_came(self):
        crowd = Crowd(InferenceLimits())
        with crowd.body("a") as place:
            assert await read(request_of(part(b"a"), part(b"b", more=False)), place) == b"ab"
        assert crowd.large == 0

    async def test_ends_with_a_client_that_leaves(self):
        with Crowd(InferenceLimits()).body("a") as place, pytest.raises(UsageError, match="left"):
            await read(request_of(part(b"a"), {"type": "http.disconnect"}), place)

    async def test_does_not_wait_for_ever(self, autojump_clock, monkeypatch):
        monkeypatch.setattr(inference_body, "BODY_PATIENCE", 3.0)
        with Crowd(InferenceLimits()).body("a") as place, pytest.raises(TooSlowError):
            await read(request_of(part(b"a")), place)

    async def test_ends_soon_with_one_who_sends_a_byte_now_and_then(self, autojump_clock):
        began = trio.current_time()
        with Crowd(InferenceLimits()).body("a") as place, pytest.raises(TooSlowError):
            await read(slow_request(1, seconds=1.0), place)
        assert trio.current_time() - began < 12

    async def test_waits_for_one_who_sends_slowly_and_all_the_time(self, autojump_clock):
        with Crowd(InferenceLimits()).body("a") as place:
            assert len(await read(slow_request(20_000, 40, seconds=1.0), place)) == 800_000

    async def test_waits_for_nobody_longer_than_that(self, autojump_clock):
        began = trio.current_time()
        with Crowd(InferenceLimits()).body("a") as place, pytest.raises(TooSlowError):
            await read(slow_request(100_000, seconds=1.0), place)
        assert trio.current_time() - began == pytest.approx(inference_body.BODY_PATIENCE)

    async def test_counts_large_ones_until_they_are_done_with(self):
        crowd = Crowd(InferenceLimits(large_bodies=1))
        large = (part(b"x" * MAX_BODY), part(b"x"), part(b"x", more=False))
        with crowd.body("a") as first:
            await read(request_of(*large), first)
            assert crowd.large == 1
            with crowd.body("a") as second, pytest.raises(BusyError):
                await read(request_of(*large), second)
            assert crowd.large == 1
        assert crowd.large == 0

    async def test_slow_ones_leave_places_to_those_that_come_at_once(self, autojump_clock):
        crowd = Crowd(InferenceLimits(slow_bodies=2))
        busy = []

        async def slowly(name):
            with crowd.body(name) as place:
                try:
                    await read(slow_request(1, 4, seconds=1.5), place)
                except BusyError:
                    busy.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(slowly, name)
            await trio.sleep(2)
            assert (crowd.slow, len(busy)) == (2, 1)
            with crowd.body("d") as place:
                assert await read(request_of(part(b"d", more=False)), place) == b"d"
        assert crowd.slow == 0

    async def test_a_slow_one_that_is_whole_is_slow_no_more(self, autojump_clock):
        crowd = Crowd(InferenceLimits(slow_bodies=1))
        with crowd.body("a") as place:
            await read(slow_request(1, 2, seconds=2), place)
            assert crowd.slow == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"nothing", b"[]", b"7", b'{"a": Infinity}', b'{"a": "\\uD83D"}', b'{"a":' * 10**5],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(UsageError):
        parse(body)


def test_whole_characters_are_taken_however_they_are_spelled():
    assert parse(b'{"a": "\\ud83d\\ude00"}').text("a") == "😀"


@pytest.mark.parametrize(
    ("read_one", "value"),
    [
        (lambda fields: fields.text("a"), 7),
        (lambda fields: fields.needed_text("a"), None),
        (lambda fields: fields.truth("a"), 1),
        (lambda fields: fields.number("a"), True),
        (lambda fields: fields.number("a"), 10**400),
        (lambda fields: fields.whole("a"), 0.5),
        (lambda fields: fields.whole("a"), 1e300),
        (lambda fields: fields.whole("a", 2, 3), 1),
        (lambda fields: fields.whole("a", 2, 3), 4),
        (lambda fields: fields.items("a"), {}),
        (lambda fields: fields.part("a"), []),
        (lambda fields: fields.texts("a"), ["x", 1]),
        (lambda fields: fields.choice("a", ("x", "y")), "z"),
        (lambda fields: fields.refuse(("a",), "cannot be"), "x"),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_named(read_one, value):
    with pytest.raises(ParameterError) as caught:
        read_one(Fields({"a": value}, "outer"))
    assert caught.value.param == "outer.a"
    assert caught.value.message.startswith("outer.a ")


def test_what_is_null_was_left_out():
    fields = Fields({"a": None})
    assert (fields.text("a"), fields.number("a"), fields.whole("a")) == (None, None, None)
    assert (fields.truth("a", True), fields.items("a"), fields.part("a")) == (True, [], None)
    assert (fields.texts("a"), fields.choice("a", "x")) == ((), None)
