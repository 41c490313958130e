"""Addresses from strangers and from people: what is kept, what is refused, what we tell others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import ConfigError, UsageError
from p2phub.network.libp2p_addresses import (
    MAX_ADDRESSES,
    announced,
    check_listen,
    dialable,
    interface_ips,
    parse_peer,
)
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import PeerAddress

PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
QUIC = "/ip4/192.0.2.1/udp/4042/quic-v1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1:4042",
        "/ip4/192.0.2.1/tcp/4042",
        f"/ip4/192.0.2.1/tcp/0/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/65536/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/4042/p2p/{PEER}",
        f"/ip4/::1/tcp/4042/p2p/{PEER}",
        f"/ip4/300.0.2.1/tcp/4042/p2p/{PEER}",
        f"{QUIC}/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/4042/ws/p2p/{PEER}",
        "/ip4/192.0.2.1/tcp/4042/p2p/12D3KooW",
        f"/ip4/192.0.2.1/tcp/4042/p2p/{PEER}/p2p-circuit",
        "/" * 100_000,
    ],
)
def test_what_is_no_peer_address_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError) as refused:
        parse_peer(text)
    assert refused.value.remedy


@pytest.mark.parametrize("host", ["ip4/192.0.2.1", "ip6/2001:db8::1", "dns4/hub.example", "dns/h"])
def test_a_peer_address_is_read_with_its_peer_id(host):
    peer = parse_peer(f" /{host}/tcp/4042/p2p/{PEER}\n")
    assert peer == PeerAddress(PEER, (f"/{host}/tcp/4042",))


@pytest.mark.parametrize("text", [QUIC, "/dns4/hub.example/tcp/4042", "4042", "/ip4/x/tcp/1"])
def test_listening_on_what_is_not_tcp_on_an_ip_is_refused(text):
    with pytest.raises(ConfigError, match="cannot listen"):
        check_listen(text)


def test_a_stranger_cannot_make_us_keep_many_addresses():
    told = [f"/ip4/192.0.2.{number}/tcp/4042" for number in range(200)]
    assert dialable(told) == tuple(told[:MAX_ADDRESSES])


def test_quic_addresses_are_never_dialled():
    assert dialable([QUIC, f"{QUIC}/p2p/{PEER}", "/ip4/192.0.2.1/udp/1/quic"]) == ()


def test_the_same_address_with_and_without_peer_id_is_one():
    assert len(dialable(["/ip4/192.0.2.1/tcp/1", f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}"])) == 1


@given(st.lists(st.text(max_size=400)))
def test_garbage_is_never_dialable_and_never_raises(texts):
    assert dialable(texts) == ()


def test_a_wildcard_becomes_the_addresses_of_the_interfaces_public_ones_first():
    told = announced(
        ["/ip4/0.0.0.0/tcp/4042", "/ip6/::/tcp/4043"],
        ["127.0.0.1", "192.168.1.7", "9.9.9.9", "::1", "2620:fe::fe", "fe80::1"],
    )
    assert told == (
        "/ip4/9.9.9.9/tcp/4042",
        "/ip6/2620:fe::fe/tcp/4043",
        "/ip4/192.168.1.7/tcp/4042",
    )


def test_a_machine_without_network_tells_its_loopback_address():
    told = announced(["/ip4/0.0.0.0/tcp/4042"], ["127.0.0.1"])
    assert told == ("/ip4/127.0.0.1/tcp/4042",)


def test_this_machine_has_a_loopback_interface():
    assert "127.0.0.1" in interface_ips()


def test_bootstraps_of_one_peer_are_merged():
    settings = NetworkSettings(
        listen=(), bootstrap=(f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}", f"/dns/h/tcp/2/p2p/{PEER}")
    )
    assert settings.bootstrap_peers() == (
        PeerAddress(PEER, ("/ip4/192.0.2.1/tcp/1", "/dns/h/tcp/2")),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": (QUIC,)},
        {"listen": (), "announce": (QUIC,)},
        {"listen": (), "announce": ("/ip4/0.0.0.0/tcp/1",)},
        {"listen": (), "psk": b"short"},
        {"listen": (), "kad_protocol": "kad"},
    ],
)
def test_a_wrong_setting_is_refused_before_anything_starts(wrong):
    with pytest.raises(ConfigError):
        NetworkSettings(**wrong)
