"""Which data addresses are tried, whatever a stranger tells of them."""

import pytest
import trio

from p2phub.config import Endpoint
from p2phub.network.addresses import data_addresses, fit_between, numeric
from p2phub.protocol.ports import PeerAddress

SEEN = PeerAddress("bob", ("/ip4/192.0.2.1/tcp/4042", "/ip4/192.0.2.1/tcp/9/ws"))


def test_what_was_told_comes_before_where_the_peer_is_seen():
    found = data_addresses(("[2001:db8::1]:443", "hub.example:80"), 4043, SEEN)
    assert [str(each) for each in found] == [
        "[2001:db8::1]:443",
        "hub.example:80",
        "192.0.2.1:4043",
    ]


@pytest.mark.parametrize(
    "told",
    ["", "x", "x:", ":1", "1.2.3.4:99999", "1.2.3.4:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1"],
)
def test_what_is_no_address_is_left_out(told):
    assert data_addresses((told,), 0, SEEN) == ()


@pytest.mark.parametrize(
    "address", ["", "/", "/unix/x", "/p2p-circuit", "/ip4", "/ip4/0.0.0.0/tcp/1"]
)
def test_a_peer_that_is_seen_nowhere_has_no_address(address):
    assert data_addresses((), 4043, PeerAddress("bob", (address,))) == ()


async def test_numbers_need_no_resolver_and_names_become_numbers(monkeypatch):
    async def answer(host, port, **_):
        await trio.lowlevel.checkpoint()
        return [(2, 1, 6, "", ("127.0.0.1", port))] if host == "hub.example" else []

    monkeypatch.setattr(trio.socket, "getaddrinfo", answer)
    asked = [Endpoint("192.0.2.1", 1), Endpoint("hub.example", 2), Endpoint("nowhere.example", 3)]
    assert await numeric(asked, 1) == (Endpoint("192.0.2.1", 1), Endpoint("127.0.0.1", 2))


async def test_a_resolver_that_hangs_costs_its_patience_once_a_name(monkeypatch, autojump_clock):
    async def hang(host, port, **_):
        await trio.sleep_forever()

    monkeypatch.setattr(trio.socket, "getaddrinfo", hang)
    assert await numeric([Endpoint("hub.example", 2), Endpoint("192.0.2.1", 1)], 3) == (
        Endpoint("192.0.2.1", 1),
    )
    assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_a_resolver_that_fails_costs_that_name(monkeypatch):
    async def fail(host, port, **_):
        await trio.lowlevel.checkpoint()
        raise OSError("no DNS here")

    monkeypatch.setattr(trio.socket, "getaddrinfo", fail)
    assert await numeric([Endpoint("hub.example", 2)], 1) == ()


@pytest.mark.parametrize(
    ("host", "fit"),
    [
        ("127.0.0.1", ["own", "lan", "public", "name"]),
        ("::ffff:127.0.0.1", ["own", "lan", "public", "name"]),
        ("192.168.1.9", ["lan", "public", "name"]),
        ("8.8.4.4", ["public", "name"]),
        ("2001:4860:4860::8888", ["public", "name"]),
        (None, ["public", "name"]),
        ("0.0.0.0", ["own", "lan", "public", "name"]),
    ],
)
def test_an_address_of_a_smaller_network_than_ours_is_for_nobody(host, fit):
    addresses = {
        "own": "/ip4/127.0.0.1/tcp/1",
        "lan": "/ip4/192.168.1.7/tcp/1",
        "public": "/ip6/2001:4860:4860::8844/tcp/1",
        "name": "/dns4/hub.example/tcp/1",
        "nobody": "/ip4/0.0.0.0/tcp/1",
        "everybody": "/ip4/224.0.0.1/tcp/1",
        "nothing": "/unix/x",
    }
    assert fit_between(addresses.values(), host) == tuple(addresses[each] for each in fit)
