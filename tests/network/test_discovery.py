"""Peers on the local network: what is told, what is believed, and when nothing is sent at all."""

import json
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio
import zeroconf
from hypothesis import given
from hypothesis import strategies as st

from p2phub.network import discovery
from p2phub.network.discovery import (
    AGAIN,
    MAX_LIFE,
    MAX_SIGHTED,
    MAX_TOLD,
    RENEW,
    REST,
    Place,
    Sightings,
    discover,
    multicast_ips,
    place_of,
    read_txt,
    service_name,
    write_txt,
)
from p2phub.network.libp2p_identity import peer_id_of_public
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import network, running

IPS = ("127.0.0.1", "192.168.1.7", "10.0.0.7", "::1", "2001:db8::7")


def peer(number: int = 1, host: str = "192.168.1.9") -> PeerAddress:
    return PeerAddress(peer_id_of_public(bytes([number]) * 32), (f"/ip4/{host}/tcp/4042",))


HERE = Place(peer(0), ("192.168.1.7",))


def string(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


# ---------------------------------------------------------------- what is told


def test_each_address_is_told_with_the_peer_id_in_a_string_of_its_own():
    told = PeerAddress(peer().peer_id, ("/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/2"))
    assert write_txt(told) == b"".join(
        string(f"dnsaddr={text}/p2p/{told.peer_id}") for text in told.addresses
    )
    assert read_txt(write_txt(told)) == (told,)


@pytest.mark.parametrize(
    ("listen", "interfaces", "told"),
    [
        ("/ip4/0.0.0.0/tcp/4042", ("192.168.1.7", "10.0.0.7"), ("192.168.1.7", "10.0.0.7")),
        ("/ip4/10.0.0.7/tcp/4042", ("10.0.0.7",), ("10.0.0.7",)),
        ("/ip4/127.0.0.1/tcp/4042", (), ()),
        ("/ip6/::/tcp/4042", (), ("2001:db8::7",)),
        ("/ip4/192.0.2.99/tcp/4042", (), ("192.0.2.99",)),
    ],
    ids=["all", "one", "loopback", "ipv6", "not-ours"],
)
def test_multicast_goes_through_the_interfaces_we_listen_on(listen, interfaces, told):
    place = place_of("me", [listen], IPS)
    assert place.interfaces == interfaces
    assert {text.split("/")[2] for text in place.peer.addresses} == set(told)


def test_an_answer_stays_small():
    listening = [f"/ip4/0.0.0.0/tcp/{port}" for port in range(1, 20)]
    place = place_of(peer().peer_id, listening, IPS)
    assert len(place.peer.addresses) == MAX_TOLD
    assert len(write_txt(place.peer)) < 1200


def test_a_private_network_has_a_name_that_does_not_give_its_key_away():
    one, two = service_name(b"A" * 32), service_name(b"B" * 32)
    assert len({one, two, service_name(None)}) == 3
    assert (b"A" * 32).hex()[:16] not in one
    assert len(one.partition(".")[0]) < 64


# ---------------------------------------------------------------- what is believed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dnsaddr=",
        f"/ip4/192.0.2.1/tcp/1/p2p/{peer().peer_id}",
        f"id={peer().peer_id}",
        "dnsaddr=/ip4/192.0.2.1/tcp/1",
        f"dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/{peer().peer_id}",
        f"dnsaddr=/ip6/::1/tcp/1/p2p/{peer().peer_id}",
        f"dnsaddr=/ip4/192.0.2.1/udp/1/quic-v1/p2p/{peer().peer_id}",
        f"dnsaddr=/dns4/bank.example/tcp/443/p2p/{peer().peer_id}",
        "dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/QmNPubsDWATVngE3d5WDSNe7eVrFLuk38qb9t6vdLnu2aK",
    ],
)
def test_what_is_no_address_of_a_peer_nearby_is_dropped(text):
    assert read_txt(string(text)) == ()
    assert read_txt(string(text) + write_txt(peer())) == (peer(),)


def test_a_record_that_speaks_of_two_peers_is_nobodys():
    assert read_txt(write_txt(peer(1)) + write_txt(peer(2))) == ()


def test_a_stranger_cannot_make_us_keep_many_addresses():
    many = tuple(f"/ip4/192.0.2.{number}/tcp/1" for number in range(200))
    (found,) = read_txt(write_txt(PeerAddress(peer().peer_id, many)))
    assert len(found.addresses) == MAX_TOLD


@given(st.binary(max_size=600))
def test_garbage_is_nobody_and_never_raises(data):
    assert read_txt(data) == ()
    assert len(read_txt(write_txt(peer()) + data)) <= 1


async def test_a_crowd_on_the_local_network_is_bounded(autojump_clock):
    sightings = Sightings()
    for number in range(3 * MAX_SIGHTED):
        who = PeerAddress(peer_id_of_public(number.to_bytes(32)), peer().addresses)
        sightings.see(who, 120, 0)
    assert len(sightings.due(0)) == MAX_SIGHTED
    sightings.see(peer(1), 1e9, 121)  # the crowd is gone
    assert sightings.due(121) == (peer(1),)
    assert sightings.due(121 + MAX_LIFE) == ()


async def test_one_that_announces_itself_all_the_time_is_not_dialled_all_the_time(autojump_clock):
    sightings, dialled = Sightings(), 0
    for second in range(60):
        sightings.see(peer(), 4500, second)
        dialled += len(sightings.due(second))
    assert dialled == 60 / REST


async def test_a_silent_one_is_tried_again_and_one_that_said_goodbye_is_not(autojump_clock):
    sightings = Sightings()
    sightings.see(peer(1), 4500, 0)
    sightings.see(peer(2), 4500, 0)
    assert sightings.due(0) == (peer(1), peer(2))
    assert sightings.due(AGAIN - 1) == ()
    sightings.see(peer(2), 0, AGAIN - 1)
    assert sightings.due(AGAIN) == (peer(1),)


# ---------------------------------------------------------------- when it runs


class Air:
    """Stands for multicast: who is on it, and what goes wrong."""

    def __init__(self, monkeypatch) -> None:
        self.begun: list[Place] = []
        self.ended = 0
        self.error: Exception | None = None
        self.heard: list[PeerAddress] = []
        monkeypatch.setattr(discovery, "_multicast", self.multicast)

    @asynccontextmanager
    async def multicast(self, here, service, sightings):
        self.begun.append(here)
        if self.error is not None:
            raise self.error
        for each in self.heard:
            sightings.see(each, 4500, trio.current_time())
        try:
            yield
        finally:
            self.ended += 1


@pytest.fixture
def air(monkeypatch):
    return Air(monkeypatch)


async def ignore(who: PeerAddress) -> None: ...


async def test_who_is_seen_is_met_one_slow_peer_or_not(autojump_clock, nursery, air):
    met = []

    async def meet(who):
        if who == peer(1):
            await trio.sleep_forever()
        met.append(who)

    air.heard = [peer(1), peer(2), peer(3)]
    nursery.start_soon(discover, lambda: HERE, meet)
    await trio.sleep(1)
    assert set(map(str, met)) == {str(peer(2)), str(peer(3))}
    nursery.cancel_scope.cancel()


async def test_a_new_address_is_announced(autojump_clock, nursery, air):
    places = [HERE]
    nursery.start_soon(discover, lambda: places[-1], ignore)
    await trio.sleep(3.5 * RENEW)
    assert air.begun == [HERE]
    places.append(Place(peer(0, "10.0.0.7"), ("10.0.0.7",)))
    await trio.sleep(RENEW)
    assert air.begun == places
    assert air.ended == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", [Place(peer(0), ()), Place(PeerAddress("x", ()), ("10.0.0.7",))])
async def test_nothing_is_sent_where_nobody_could_reach_us(autojump_clock, nursery, air, place):
    nursery.start_soon(discover, lambda: place, ignore)
    await trio.sleep(10 * RENEW)
    assert air.begun == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [OSError(19, "No such device"), zeroconf.EventLoopBlocked()])
async def test_a_network_without_multicast_is_told_once(
    autojump_clock, nursery, air, error, caplog
):
    air.error = error
    nursery.start_soon(discover, lambda: HERE, ignore)
    await trio.sleep(5.5 * RENEW)
    assert len(air.begun) == 6
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("mdns", [False, True])
async def test_a_node_that_is_not_to_or_cannot_be_met_binds_nothing(mdns, monkeypatch):
    """Off, or listening on loopback only."""

    def bind(*_, **__):
        raise AssertionError("multicast was bound")

    looked = []

    def look(*arguments):
        looked.append(arguments)
        return multicast_ips(*arguments)

    monkeypatch.setattr(zeroconf, "Zeroconf", bind)
    monkeypatch.setattr(discovery, "multicast_ips", look)
    async with running(network("one", mdns=mdns)):
        await trio.testing.wait_all_tasks_blocked(0.2)
    assert bool(looked) == mdns


# ---------------------------------------------------------------- over real multicast

NODE = """
import json, subprocess, sys
from pathlib import Path
import trio
from tests.network.loopback import network, running, until

name, device, ip, other_ip, listen, psk = sys.argv[1:]
print("here", flush=True)
sys.stdin.readline()
ip_tool = lambda *words: subprocess.run(["ip", *words], check=True)
ip_tool("link", "set", "lo", "up")
ip_tool("addr", "add", f"{ip}/24", "dev", device)
ip_tool("link", "set", device, "up")
ip_tool("link", "add", "other", "type", "bridge")
ip_tool("addr", "add", f"{other_ip}/24", "dev", "other")
ip_tool("link", "set", "other", "up")

def listens_for_multicast():
    return any(line.split()[1].endswith(":14E9") for line in open("/proc/net/udp").readlines()[1:])

async def main():
    settings = {"listen": (listen,), "psk": bytes.fromhex(psk) or None}
    async with running(network(name, **settings)):
        await trio.sleep(0.5)
        off = listens_for_multicast()
    async with running(one := network(name, mdns=True, **settings)):
        print(json.dumps({"bound_when_off": off}), flush=True)
        await until(lambda: any(peer.addresses for peer in one.peers()), 60)
        peers = [[peer.peer_id, *peer.addresses] for peer in one.peers()]
        print(json.dumps({"peers": peers, "own": one.peer_id}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
    print(json.dumps({"bound_after": listens_for_multicast()}), flush=True)

trio.run(main)
"""

HARNESS = """
import json, subprocess, sys

psk = sys.argv[1]

def start(*words):
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def node(*words):
    return [sys.executable, "-c", NODE, *words, psk]

one = start(*node("one", "near", "10.77.0.1", "10.78.0.1", "/ip4/10.77.0.1/tcp/0"))
two = start("unshare", "--net", *node("two", "far", "10.77.0.2", "10.79.0.2", "/ip4/0.0.0.0/tcp/0"))
try:
    for each in (one, two):
        assert each.stdout.readline() == "here\\n"
    veth = ["near", "type", "veth", "peer", "name", "far", "netns", str(two.pid)]
    subprocess.run(["ip", "link", "add", *veth], check=True)
    said = {}
    for round in range(3):
        for each in (one, two):
            if round != 1:
                each.stdin.write("go on\\n")
                each.stdin.flush()
        for each, name in ((one, "one"), (two, "two")):
            said.setdefault(name, {}).update(json.loads(each.stdout.readline()))
    print(json.dumps(said))
finally:
    for each in (one, two):
        each.kill()
        each.wait()
"""


ALONE = ["unshare", "--user", "--map-root-user", "--net"]


def why_no_private_network() -> str:
    """Why this machine lets us make no network of our own; empty if it does."""
    tools = [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]
    if tools:
        return f"{tools[0]} is not installed"
    trial = "ip link add near type veth peer name far && ip link add other type bridge"
    tried = subprocess.run(
        [*ALONE, "sh", "-c", trial],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no private network: {tried.stderr.strip()}"


@pytest.mark.slow
@pytest.mark.parametrize("psk", ["", "ab" * 32], ids=["public", "private"])
def test_two_nodes_find_each_other_by_multicast(psk):
    """Two processes, each in a network namespace of its own, with one cable between them."""
    reason = why_no_private_network()
    if reason:
        pytest.skip(reason)
    done = subprocess.run(
        [*ALONE, sys.executable, "-c", f"NODE = {NODE!r}\n{HARNESS}", psk],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for each in said.values():
        assert (each["bound_when_off"], each["bound_after"]) == (False, False)
    one, two = said["one"]["own"], said["two"]["own"]
    ((found, address),) = said["two"]["peers"]
    assert found == one
    assert address.startswith("/ip4/10.77.0.1/tcp/")
    ((found, *addresses),) = said["one"]["peers"]
    assert found == two
    assert "10.77.0.2" in {text.split("/")[2] for text in addresses}
