"""Sources that join a fetch as they are found and as they get more, in virtual time."""

import pytest
import trio

from p2phub.errors import NoSourceError, RemoteError
from p2phub.node.fetch import FileFetch
from p2phub.node.joining import ANSWER, BEGUN_AGAIN, QUIET, STARVED, Joining
from p2phub.protocol.ports import Holding, PeerAddress
from p2phub.protocol.zones import Zones
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import HangingSource, HonestSource

SAMPLE = make_sample(8 << 20, piece=1 << 20)
SIZE = SAMPLE.content.size
HALF = SIZE // 2
WHOLE = Holding(complete=True)


class Peers:
    """Who is connected, and what those say who are followed: (seconds, holding) each."""

    def __init__(self, **news):
        self.news = news
        self.followed: list[str] = []
        self.followers: list[PeerAddress] = []
        self._changed = trio.Event()

    def is_connected(self, name):
        return name in self.news

    def members(self, digest):
        return tuple(self.followers)

    async def change(self):
        await self._changed.wait()

    def follows_us(self, name):
        self.followers.append(PeerAddress(name, ()))
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def follow(self, name, content, heard):
        self.followed.append(name)
        for seconds, holding in self.news[name]:
            await trio.sleep(seconds)
            if holding == "over":
                return
            if holding is None:
                raise RemoteError("the stream was cut off")
            heard(holding)
            if holding.complete:
                return
        await trio.sleep_forever()


def joining_of(peers, **options):
    sink = MemorySink(SAMPLE.table)
    fetch = FileFetch("model", SAMPLE.content, SAMPLE.table, sink)
    joining = Joining(
        SAMPLE.content,
        fetch,
        peers,
        peers,
        peers,
        lambda: len(sink.pieces),
        **options,
    )
    return joining, sink


def honest(name, *ranges):
    return HonestSource(name, [SAMPLE], ranges={SAMPLE.content: ranges} if ranges else None)


async def test_what_a_peer_gets_during_the_pull_is_fetched_from_it(autojump_clock):
    peers = Peers(grows=[(0, Holding(False, ((0, HALF),))), (5, WHOLE)])
    joining, sink = joining_of(peers)
    joining.add(honest("grows"))
    await joining.run()
    assert sink.data == SAMPLE.data
    assert 5 < trio.current_time() < 8
    assert peers.followed == ["grows"]


async def test_a_source_that_is_no_connected_peer_is_asked_over_its_own_line(autojump_clock):
    joining, sink = joining_of(Peers())
    joining.add(honest("mirror"))
    await joining.run()
    assert sink.data == SAMPLE.data


async def test_a_peer_that_does_not_tell_news_is_asked_over_its_data_port(autojump_clock):
    joining, sink = joining_of(Peers(older=[(0, None)]))
    joining.add(honest("older"))
    await joining.run()
    assert sink.data == SAMPLE.data


async def test_who_is_found_while_nobody_else_helps_ends_the_wait(autojump_clock):
    peers = Peers(poor=[(0, Holding(False, ((0, HALF),)))], late=[(0, WHOLE)])
    joining, sink = joining_of(peers)
    joining.add(honest("poor"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(5)
        assert len(sink.pieces) == SAMPLE.table.count // 2
        joining.add(honest("late"))
    assert sink.data == SAMPLE.data
    assert trio.current_time() < 8


async def test_a_pull_that_nobody_helps_any_more_ends_in_bounded_time(autojump_clock):
    joining, _ = joining_of(Peers(poor=[(0, Holding(False, ((0, HALF),)))]))
    joining.add(honest("poor"))
    with pytest.raises(NoSourceError):
        await joining.run()
    assert STARVED <= trio.current_time() < STARVED + 3


def parts(*pieces):
    """What one says who has so many pieces, in turn."""
    return [Holding(False, ((0, count << 20),) if count else ()) for count in pieces]


async def test_two_who_wait_for_each_other_end_soon(autojump_clock):
    """The other one got pieces as we did, and stopped as we did: the seeder of both has gone."""
    said = [(0.5, each) for each in parts(1, 2, 3, 4)]
    joining, sink = joining_of(Peers(other=said))
    joining.add(honest("other", (0, HALF)))
    with pytest.raises(NoSourceError):
        await joining.run()
    assert len(sink.pieces) == 4
    assert 2 + QUIET <= trio.current_time() < 2 + QUIET + 1


async def test_one_that_gets_its_pieces_slowly_is_waited_for(autojump_clock):
    said = [(8, each) for each in parts(0, 1, 2, 3, 4, 5, 6, 7)]
    joining, sink = joining_of(Peers(slow=[*said, (8, WHOLE)]))
    joining.add(honest("slow"))
    await joining.run()
    assert sink.data == SAMPLE.data


async def test_one_that_does_not_fetch_the_file_itself_is_not_waited_for(autojump_clock):
    joining, _ = joining_of(Peers(idle=[(0, *parts(0)), (0, "over")]))
    joining.add(honest("idle"))
    with pytest.raises(NoSourceError):
        await joining.run()
    assert trio.current_time() < 1


async def test_one_that_begins_to_fetch_the_file_is_waited_for_again(autojump_clock):
    peers = Peers(late=[(0, *parts(0)), (0, "over")], other=[(0, *parts(0)), (9, WHOLE)])
    joining, sink = joining_of(peers)
    joining.add(honest("late"))
    joining.add(HonestSource("other", [SAMPLE]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(1)
        peers.news["late"] = [(0, *parts(0)), (7, WHOLE)]
    assert sink.data == SAMPLE.data


async def test_one_that_begins_late_takes_part_within_two_seconds(autojump_clock):
    grows = [(0, *parts(0)), *[(3, each) for each in parts(1, 2, 3, 4, 5, 6, 7)]]
    peers = Peers(late=[(0, *parts(0)), (0, "over")], other=grows)
    joining, sink = joining_of(peers)
    joining.add(honest("late"))
    joining.add(honest("other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(16)
        peers.news["late"] = [(0, WHOLE)]
        await trio.sleep(BEGUN_AGAIN + 1.5)
        assert sink.data == SAMPLE.data


async def test_one_that_has_just_begun_is_waited_for(autojump_clock):
    joining, sink = joining_of(Peers(begins=[(0, *parts(0)), (STARVED - 1, WHOLE)]))
    joining.add(honest("begins"))
    await joining.run()
    assert sink.data == SAMPLE.data


async def test_one_that_is_still_being_asked_is_waited_for(autojump_clock):
    said = [(0.5, each) for each in parts(1, 2, 3, 4)]
    joining, sink = joining_of(Peers(other=said, dialled=[(ANSWER - 1, WHOLE)]))
    joining.add(honest("dialled"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(ANSWER - 2)
        assert not sink.pieces
    assert sink.data == SAMPLE.data


async def test_a_pull_of_what_nobody_has_ends_when_all_have_said_so(autojump_clock):
    joining, _ = joining_of(Peers())
    joining.add(HonestSource("empty"))
    with pytest.raises(NoSourceError):
        await joining.run()
    assert trio.current_time() < 1


async def test_who_never_says_what_it_has_is_waited_for_and_not_for_ever(autojump_clock):
    class Mute(HonestSource):
        async def holds(self, content):
            await trio.sleep_forever()

    joining, _ = joining_of(Peers())
    joining.add(Mute("mute"))
    with pytest.raises(NoSourceError):
        await joining.run()
    assert trio.current_time() < ANSWER + 1


async def test_who_was_slow_takes_part_only_when_nobody_else_helps(autojump_clock):
    slow, quick = honest("slow"), honest("quick")
    joining, sink = joining_of(Peers(), slow={"slow"})
    joining.add(slow)
    joining.add(quick)
    await joining.run()
    assert sink.data == SAMPLE.data
    assert not slow.asked
    joining, sink = joining_of(Peers(), slow={"slow"})
    joining.add(slow)
    await joining.run()
    assert sink.data == SAMPLE.data


async def test_who_has_a_bad_copy_never_takes_part(autojump_clock):
    bad = honest("bad")
    joining, _ = joining_of(Peers(), without={"bad"})
    joining.add(bad)
    with pytest.raises(NoSourceError):
        await joining.run()
    assert not bad.asked


async def test_a_source_that_cannot_be_reached_leaves_and_may_come_back(autojump_clock):
    class Restarted(HangingSource):
        async def holds(self, content):
            raise RemoteError("connection refused")

    poor = [(0, Holding(False, ((0, HALF // 2),)))]
    peers = Peers(poor=poor, peer=[(0, Holding(False, ((0, HALF),))), (1, None)])
    joining, sink = joining_of(peers)
    joining.add(Restarted("peer", [SAMPLE]))
    joining.add(honest("poor"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(3)
        assert [source.name for source in joining.helping] == ["poor"]
        back = honest("peer")
        peers.news["peer"] = [(0, WHOLE)]
        joining.add(back)
    assert sink.data == SAMPLE.data


async def test_the_first_pieces_are_told_once(autojump_clock):
    told = []
    joining, _ = joining_of(
        Peers(grows=[(0, Holding(False, ((0, HALF),))), (5, WHOLE)]),
        begun=lambda: told.append(trio.current_time()),
    )
    joining.add(honest("grows"))
    await joining.run()
    assert len(told) == 1
    assert told[0] < 1


@pytest.mark.parametrize("is_told_first", [True, False])
async def test_who_follows_us_is_left_its_zone_before_it_has_anything(
    autojump_clock, is_told_first
):
    peers = Peers(seeder=[(0.01, WHOLE)], fetches=[(0.02, Holding(False))])
    joining, sink = joining_of(peers)
    if is_told_first:
        peers.follows_us("fetches")
    for name in ("seeder", "fetches"):
        joining.add(honest(name))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joining.run)
        await trio.sleep(0.03)
        if not is_told_first:
            peers.follows_us("fetches")
        await trio.sleep(0.9)
        assert Zones("", ["fetches"], 8).mine == (0, 4)
        assert sorted(sink.pieces) == [0, 1, 2, 3]
        nursery.cancel_scope.cancel()
