"""A body that is slow to come keeps its client, and breaks where it fails."""

from itertools import pairwise
from math import inf

import pytest
import trio

from p2phub.errors import NoSourceError
from p2phub.gateway.dripping import DRIP_EVERY, RESERVE, deliver

START = {"type": "http.response.start", "status": 200, "headers": []}


class Client:
    """Hears a body, and knows when."""

    def __init__(self):
        self.heard = []

    async def send(self, message):
        await trio.lowlevel.checkpoint()
        self.heard.append((trio.current_time(), message))

    @property
    def body(self):
        return b"".join(message.get("body", b"") for _, message in self.heard)

    @property
    def silences(self):
        times = [0.0, *(time for time, _ in self.heard)]
        return [later - before for before, later in pairwise(times)]


async def coming(*pieces):
    """Each piece after so many seconds; an error is raised."""
    for seconds, piece in pieces:
        await trio.sleep(seconds)
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def test_a_swarm_that_is_slow_for_minutes_never_falls_silent_for_ten_seconds(autojump_clock):
    client = Client()
    piece = bytes(range(256)) * 400
    body = coming((7, piece), (60, piece), (120, piece), (30, b"end"))
    await deliver(body, START, 8.0, client.send)
    assert client.body == piece * 3 + b"end"
    assert max(client.silences) < 10


async def test_the_answer_begins_before_the_first_byte(autojump_clock):
    client = Client()
    await deliver(coming((30, b"late")), START, 8.0, client.send)
    assert client.heard[0] == (8.0, START)
    assert client.body == b"late"


async def test_what_fails_at_once_is_an_error_and_no_answer(autojump_clock):
    client = Client()
    with pytest.raises(NoSourceError):
        await deliver(coming((7, NoSourceError("nobody has it"))), START, 8.0, client.send)
    assert client.heard == []


async def test_what_fails_later_ends_without_an_end(autojump_clock):
    client = Client()
    with pytest.raises(NoSourceError):
        await deliver(coming((1, b"x" * 99), (1, NoSourceError("gone"))), START, 8.0, client.send)
    assert client.heard[0][1] is START
    assert client.body in (b"", b"x" * 99)


async def test_a_body_of_nothing(autojump_clock):
    client = Client()
    await deliver(coming(), START, inf, client.send)
    assert [message for _, message in client.heard] == [START]


async def test_what_is_kept_back_is_sent_in_the_end_and_once(autojump_clock):
    client = Client()
    pieces = [bytes([n]) * (RESERVE // 2 + n) for n in range(9)]
    await deliver(coming(*((DRIP_EVERY * 3.5, piece) for piece in pieces)), START, 0, client.send)
    assert client.body == b"".join(pieces)
