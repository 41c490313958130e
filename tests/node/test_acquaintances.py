"""What peers are told of other peers, and what of what they tell is taken."""

import pytest
import trio

from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.acquaintances import (
    MAX_MEMBERS,
    MAX_PLACES,
    MAX_THINGS,
    MAX_TOLD,
    REMEMBERED,
    Acquaintances,
)
from p2phub.protocol.ports import PeerAddress

RELEASE, OTHER = b"r" * 32, b"o" * 32
ME, ALICE, BOB, CAROL = (peer_id_of_seed(bytes([n]) * 32) for n in range(4))
PUBLIC, LAN, OWN = "/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1"


class Network:
    peer_id = ME

    def __init__(self, *peers: PeerAddress):
        self.connected = list(peers)

    def peers(self):
        return tuple(self.connected)


def peer(peer_id, *addresses):
    return PeerAddress(peer_id, addresses or (PUBLIC,))


def acquaintances_of(network, hosts=None):
    return Acquaintances(network, (hosts or {}).get)


async def test_who_wants_a_thing_is_told_to_others_who_do_and_not_to_itself():
    known = acquaintances_of(Network(peer(ALICE), peer(BOB)))
    known.wants(ALICE, RELEASE)
    assert known.others(BOB, RELEASE) == (f"{PUBLIC}/p2p/{ALICE}",)
    assert known.others(ALICE, RELEASE) == ()
    assert known.others(BOB, OTHER) == ()


async def test_who_has_left_is_told_to_nobody():
    network = Network(peer(ALICE))
    known = acquaintances_of(network)
    known.wants(ALICE, RELEASE)
    network.connected.clear()
    assert known.others(BOB, RELEASE) == ()


async def test_who_asked_long_ago_is_forgotten(autojump_clock):
    known = acquaintances_of(Network(peer(ALICE)))
    known.wants(ALICE, RELEASE)
    await trio.sleep(REMEMBERED + 1)
    assert known.members(RELEASE) == ()


async def test_private_addresses_stay_in_their_network():
    network = Network(peer(ALICE, OWN, LAN, PUBLIC))
    known = acquaintances_of(network, {BOB: "9.9.9.9", CAROL: "10.0.0.7", ME: "127.0.0.1"})
    known.wants(ALICE, RELEASE)
    assert known.others(BOB, RELEASE) == (f"{PUBLIC}/p2p/{ALICE}",)
    assert known.others(CAROL, RELEASE) == (f"{LAN}/p2p/{ALICE}", f"{PUBLIC}/p2p/{ALICE}")
    assert len(known.others(ME, RELEASE)) == 3
    assert known.others("who was never seen", RELEASE) == (f"{PUBLIC}/p2p/{ALICE}",)


async def test_a_public_peer_cannot_point_us_into_our_own_network():
    known = acquaintances_of(Network(), {BOB: "9.9.9.9"})
    told = [f"{place}/p2p/{ALICE}" for place in (OWN, LAN, "/dns4/localhost/tcp/1")]
    assert known.heard(BOB, told) == ()
    assert known.heard(BOB, [*told, f"{PUBLIC}/p2p/{ALICE}"]) == (peer(ALICE),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        PUBLIC,
        f"/ip4/8.8.8.8/udp/1/quic-v1/p2p/{ALICE}",
        f"/ip4/8.8.8.8/tcp/0/p2p/{ALICE}",
        f"/ip4/224.0.0.1/tcp/1/p2p/{ALICE}",
        f"/ip4/0.0.0.0/tcp/1/p2p/{ALICE}",
        f"{PUBLIC}/p2p/12D3KooWnonsense",
        f"{PUBLIC}/p2p/{ME}",
        f"{PUBLIC}/p2p/{BOB}",
    ],
)
async def test_what_names_nobody_or_one_of_us_is_dropped(text):
    assert acquaintances_of(Network(), {BOB: "127.0.0.1"}).heard(BOB, [text]) == ()


async def test_a_flood_of_peers_and_addresses_is_cut():
    crowd = [peer_id_of_seed(n.to_bytes(32, "big")) for n in range(3 * MAX_MEMBERS)]
    network = Network(
        *(peer(each, *(f"/ip4/8.8.8.8/tcp/{n}" for n in range(1, 40))) for each in crowd)
    )
    known = acquaintances_of(network)
    for each in crowd:
        known.wants(each, RELEASE)
    assert len(known._things[RELEASE]) == MAX_MEMBERS
    told = known.others(BOB, RELEASE)
    assert len(told) == MAX_TOLD * MAX_PLACES
    texts = [f"/ip4/8.8.8.8/tcp/{n}/p2p/{each}" for each in crowd for n in range(1, 40)]
    heard = known.heard(BOB, texts)
    assert len(heard) == MAX_TOLD
    assert all(len(each.addresses) == MAX_PLACES for each in heard)


async def test_questions_about_anything_take_bounded_memory():
    known = acquaintances_of(Network(peer(ALICE)))
    for number in range(MAX_THINGS + 100):
        known.wants(ALICE, number.to_bytes(32, "big"))
    assert len(known._things) == MAX_THINGS


async def test_a_newcomer_wakes_whoever_waits_and_an_old_one_does_not(autojump_clock):
    known = acquaintances_of(Network(peer(ALICE)))
    known.wants(ALICE, RELEASE)
    with trio.move_on_after(5) as waiting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(known.change)
            await trio.sleep(1)
            known.wants(ALICE, RELEASE)
            await trio.sleep(1)
            known.wants(BOB, RELEASE)
    assert not waiting.cancelled_caught
    assert trio.current_time() == 2
