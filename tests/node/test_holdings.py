"""What peers have of the files of one pull, in virtual time: one question for many files."""

import trio

from p2phub.errors import GarbageError, RemoteError
from p2phub.formats.ids import ContentId
from p2phub.node.holdings import MOST, PATIENCE, Holdings
from p2phub.protocol.ports import Holding

FILES = [ContentId(size, bytes([size % 256]) * 32) for size in range(1, 5)]
WHOLE = Holding(complete=True)
HALF = Holding(complete=False, ranges=((0, 1),))


class Control:
    """Peers that have `held`; who is followed says `HALF`."""

    def __init__(self, held=None, seconds=0.1, error=None):
        self.held, self.seconds, self.error = held or {}, seconds, error
        self.asked: list[frozenset[ContentId]] = []
        self.followed: list[ContentId] = []

    async def have(self, peer, contents):
        self.asked.append(frozenset(contents))
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return {content: self.held[content] for content in contents if content in self.held}

    async def follow(self, peer, content, heard):
        self.followed.append(content)
        heard(HALF)


async def heard_of(holdings, *contents, peer="peer"):
    """What is said of each file when all of them are asked for at once."""
    heard = {}

    async def one(content):
        await holdings.follow(peer, content, lambda holding: heard.setdefault(content, holding))

    async with trio.open_nursery() as nursery:
        for content in contents:
            nursery.start_soon(one, content)
    return heard


async def test_a_peer_with_everything_is_asked_once_and_never_followed(autojump_clock):
    control = Control(dict.fromkeys(FILES, WHOLE))
    holdings = Holdings(FILES, control)
    assert await heard_of(holdings, *FILES) == dict.fromkeys(FILES, WHOLE)
    assert await heard_of(holdings, FILES[0]) == {FILES[0]: WHOLE}
    assert (len(control.asked), control.followed) == (1, [])
    await heard_of(holdings, FILES[0], peer="another")
    assert len(control.asked) == 2


async def test_who_has_less_than_all_of_a_file_is_followed(autojump_clock):
    control = Control({FILES[0]: WHOLE, FILES[1]: HALF})
    heard = await heard_of(Holdings(FILES, control), *FILES[:3])
    assert heard == {FILES[0]: WHOLE, FILES[1]: HALF, FILES[2]: HALF}
    assert set(control.followed) == {FILES[1], FILES[2]}


async def test_who_refuses_the_one_question_is_followed(autojump_clock):
    for error in (GarbageError("an older peer"), RemoteError("gone")):
        control = Control(error=error)
        assert await heard_of(Holdings(FILES, control), FILES[0]) == {FILES[0]: HALF}
        assert len(control.asked) == 1


async def test_a_peer_that_hangs_holds_up_nobody_for_long(autojump_clock):
    control = Control(seconds=1000)
    holdings = Holdings(FILES, control)
    assert await heard_of(holdings, *FILES) == dict.fromkeys(FILES, HALF)
    assert trio.current_time() <= PATIENCE + 0.1


async def test_of_very_many_files_the_largest_are_asked_for(autojump_clock):
    many = [ContentId(size, size.to_bytes(32, "big")) for size in range(1, MOST + 100)]
    control = Control(dict.fromkeys(many, WHOLE))
    holdings = Holdings(many, control)
    assert await heard_of(holdings, many[0], many[-1]) == {many[0]: HALF, many[-1]: WHOLE}
    assert control.asked == [frozenset(many[-MOST:])]
