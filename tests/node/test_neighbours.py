"""Who is asked, in virtual time: peers that hang, refuse or vanish cost no more than they must."""

import trio

from p2phub.errors import RemoteError
from p2phub.node.asking import GRACE
from p2phub.node.neighbours import (
    ENOUGH,
    FORGET_AFTER,
    GREET_PATIENCE,
    LOOK_UP_AGAIN,
    Neighbours,
)
from p2phub.protocol.ports import PeerAddress
from p2phub.testing.sources import HonestSource

DIGEST = b"d" * 32


def peer(name: str) -> PeerAddress:
    return PeerAddress(name, ("/ip4/127.0.0.1/tcp/1",))


class Network:
    """Peers by name; one that hangs, one that refuses; who is connected from the start."""

    def __init__(self, connected=(), providers=()):
        self.connected = [peer(name) for name in connected]
        self.known = [peer(name) for name in providers]
        self.greeted: list[str] = []
        self.looked_up = 0

    def peers(self):
        return tuple(self.connected)

    async def connect(self, who: PeerAddress) -> None:
        if who.peer_id.startswith("hangs"):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if who.peer_id.startswith("gone"):
            raise RemoteError("connection refused")

    async def providers(self, digest: bytes, enough: int):
        await trio.lowlevel.checkpoint()
        self.looked_up += 1
        return tuple(self.known)

    async def source(self, who: PeerAddress) -> HonestSource:
        self.greeted.append(who.peer_id)
        await trio.lowlevel.checkpoint()
        return HonestSource(who.peer_id)


def neighbours_of(network: Network) -> Neighbours:
    return Neighbours(network, network, network.source)


async def names(neighbours: Neighbours, **kwargs) -> list[str]:
    return [source.name for source in await neighbours.holders(DIGEST, **kwargs)]


async def test_providers_come_first_then_whoever_is_connected_and_nobody_twice(autojump_clock):
    network = Network(connected=["near", "both"], providers=["far", "both"])
    assert await names(neighbours_of(network)) == ["far", "both", "near"]


async def test_where_few_will_do_others_are_asked_only_if_no_provider_answers(autojump_clock):
    network = Network(connected=["near"], providers=["far"])
    assert await names(neighbours_of(network), few=True) == ["far"]
    assert network.greeted == ["far"]
    network = Network(connected=["near"], providers=["gone"])
    assert await names(neighbours_of(network), few=True) == ["near"]


async def test_a_peer_is_greeted_once_for_a_pull_of_many_files(autojump_clock):
    network = Network(providers=["far"])
    neighbours = neighbours_of(network)
    for _ in range(20):
        assert await names(neighbours) == ["far"]
    assert network.greeted == ["far"]
    assert network.looked_up == 1


async def test_a_peer_that_hangs_holds_nobody_back_for_longer_than_its_patience(autojump_clock):
    network = Network(providers=["hangs1", "hangs2", "gone", "honest"])
    assert await names(neighbours_of(network)) == ["honest"]
    assert trio.current_time() <= GREET_PATIENCE + 1


async def test_nobody_waits_long_for_a_peer_that_hangs_once_another_has_answered(autojump_clock):
    network = Network(providers=["hangs", "honest"])
    neighbours = neighbours_of(network)
    assert await names(neighbours) == ["honest"]
    assert trio.current_time() == GRACE
    for _ in range(100):
        assert await names(neighbours) == ["honest"]
    assert trio.current_time() == GRACE


async def test_files_that_are_pulled_at_once_look_up_their_release_once(autojump_clock):
    class Distant(Network):
        async def providers(self, digest: bytes, enough: int):
            await trio.sleep(1)
            return await super().providers(digest, enough)

    network = Distant()
    neighbours = neighbours_of(network)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(neighbours.holders, DIGEST)
    assert network.looked_up == 1
    await neighbours.holders(DIGEST)
    assert network.looked_up == 2


async def test_a_silent_peer_is_left_alone_for_a_while_and_then_tried_again(autojump_clock):
    network = Network(providers=["hangs"])
    neighbours = neighbours_of(network)
    assert await names(neighbours, again=True) == []
    before = trio.current_time()
    assert await names(neighbours, again=True) == []
    assert trio.current_time() == before
    await trio.sleep(FORGET_AFTER)
    assert await names(neighbours, again=True) == []
    assert trio.current_time() >= before + FORGET_AFTER + GREET_PATIENCE


async def test_a_silent_peer_that_left_and_came_back_is_asked_at_once(autojump_clock):
    network = Network(connected=["hangs"])
    neighbours = neighbours_of(network)
    assert await names(neighbours) == []
    network.connected = []
    assert await names(neighbours) == []
    network.connected = [peer("hangs")]
    before = trio.current_time()
    assert await names(neighbours) == []
    assert trio.current_time() == before + GREET_PATIENCE


async def test_a_silent_peer_that_a_person_connects_to_is_asked_at_once(autojump_clock):
    network = Network(connected=["hangs"])
    neighbours = neighbours_of(network)
    assert await names(neighbours) == []
    before = trio.current_time()
    assert await names(neighbours) == []
    assert trio.current_time() == before
    neighbours.welcome("hangs")
    assert await names(neighbours) == []
    assert trio.current_time() == before + GREET_PATIENCE


async def test_a_source_that_has_moved_is_greeted_where_it_is_now(autojump_clock):
    network = Network(connected=["near"])
    neighbours = neighbours_of(network)
    (old,) = await neighbours.holders(DIGEST)
    network.connected = [PeerAddress("near", ("/ip4/127.0.0.1/tcp/2",))]
    (new,) = await neighbours.holders(DIGEST)
    assert new is not old
    assert old.closed


async def test_a_greeting_given_up_at_its_end_leaves_no_closed_source_behind(autojump_clock):
    network = Network(connected=["near"])
    neighbours = neighbours_of(network)
    (old,) = await neighbours.holders(DIGEST)
    close = old.close

    async def close_slowly() -> None:
        await close()
        await trio.sleep(1)

    old.close = close_slowly
    network.connected = [PeerAddress("near", ("/ip4/127.0.0.1/tcp/2",))]
    with trio.move_on_after(0.5) as given_up:
        await neighbours.holders(DIGEST)
    assert given_up.cancelled_caught
    (new,) = await neighbours.holders(DIGEST)
    assert not new.closed


async def test_who_is_not_wanted_does_not_take_a_place(autojump_clock):
    network = Network(providers=[f"p{number}" for number in range(2 * ENOUGH)])
    neighbours = neighbours_of(network)
    crowd = await names(neighbours)
    others = await names(neighbours, again=True, without=crowd)
    assert len(others) == ENOUGH
    assert not set(crowd) & set(others)


async def test_a_source_that_lost_its_connection_is_greeted_anew_when_it_is_needed(autojump_clock):
    network = Network(providers=["moved"])
    neighbours = neighbours_of(network)
    (old,) = await neighbours.holders(DIGEST)
    (same,) = await neighbours.holders(DIGEST)
    assert same is old
    (new,) = await neighbours.holders(DIGEST, again=True)
    assert new is not old
    assert old.closed
    network.connected = [peer("moved")]
    (kept,) = await neighbours.holders(DIGEST, again=True)
    assert kept is new


async def test_a_crowd_of_providers_is_not_asked_all_at_once(autojump_clock):
    network = Network(providers=[f"p{number}" for number in range(200)])
    assert len(await names(neighbours_of(network))) == ENOUGH
    assert len(network.greeted) <= 2 * ENOUGH


async def test_a_crowd_of_providers_that_are_gone_hides_nobody_we_are_connected_to(autojump_clock):
    gone = [f"gone{number}" for number in range(4 * ENOUGH)]
    assert await names(neighbours_of(Network(connected=["near"], providers=gone))) == ["near"]
    network = Network(connected=["near"], providers=[*gone, "near"])
    assert await names(neighbours_of(network)) == ["near"]


async def test_providers_that_did_not_answer_make_room_for_the_next(autojump_clock):
    gone = [f"gone{number}" for number in range(3 * ENOUGH)]
    neighbours = neighbours_of(Network(providers=[*gone, "far"]))
    found = [await names(neighbours, again=True) for _ in range(3)]
    assert found[-1] == ["far"]


async def test_a_look_up_that_fails_leaves_the_connected_peers(autojump_clock):
    class Deaf(Network):
        async def providers(self, digest: bytes, enough: int):
            await trio.lowlevel.checkpoint()
            raise RemoteError("the DHT does not answer")

    assert await names(neighbours_of(Deaf(connected=["near"]))) == ["near"]


async def test_sources_outlive_a_death_of_our_own_host(autojump_clock):
    class Mortal(Network):
        dead = False

        async def providers(self, digest: bytes, enough: int):
            self.check()
            return await super().providers(digest, enough)

        async def connect(self, who: PeerAddress) -> None:
            self.check()
            await super().connect(who)

        def check(self) -> None:
            if self.dead:
                raise RemoteError("the network host is restarting")

    network = Mortal(providers=["far"])
    neighbours = neighbours_of(network)
    (source,) = await neighbours.holders(DIGEST)
    network.dead = True
    await trio.sleep(LOOK_UP_AGAIN)
    for again in (False, True, True):
        assert await neighbours.holders(DIGEST, again=again) == [source]
    assert not source.closed
    assert await neighbours.holders(DIGEST, without=["far"]) == []


async def test_closing_closes_every_source(autojump_clock):
    network = Network(providers=["a", "b"])
    neighbours = neighbours_of(network)
    sources = await neighbours.holders(DIGEST)
    await neighbours.close()
    assert all(source.closed for source in sources)
