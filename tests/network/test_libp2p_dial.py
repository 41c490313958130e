"""Reaching peers whose first addresses are dead, silent, or somebody else's."""

import socket
from contextlib import asynccontextmanager, nullcontext

import pytest
import trio
from libp2p.network.config import RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2phub.errors import RemoteError, TooSlowError
from p2phub.network import libp2p_patches as patches
from p2phub.network.libp2p_build import build_host
from p2phub.network.libp2p_build import running as running_host
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import address_of, network, running, seed

DEAD = "/ip4/127.0.0.1/tcp/1"


def guest():
    return build_host(seed("guest"), NetworkSettings(listen=()), ())


@asynccontextmanager
async def tarpit():
    """An address that accepts connections and says nothing."""

    async def wait(stream):
        async with stream:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, wait, 0)
        yield f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_dead_addresses_first_still_connect():
    one, two = network("one"), network("two")
    async with running(one, two):
        dead = tuple(f"/ip4/127.0.0.1/tcp/{port}" for port in range(1, 9))
        await two.connect(PeerAddress(one.peer_id, (*dead, *address_of(one).addresses)))


async def test_the_library_gives_up_after_a_dead_address_and_bans_the_peer():
    """The defect itself."""
    one, host = network("one"), guest()
    async with running(one), running_host(host, ()):
        peer_id = ID.from_string(one.peer_id)
        addresses = [Multiaddr(each) for each in (DEAD, *address_of(one).addresses)]
        with pytest.raises(Exception, match="unable to connect"):
            await host.connect(PeerInfo(peer_id, addresses))
        with pytest.raises(Exception, match="recently failed"):
            await host.connect(PeerInfo(peer_id, addresses[1:]))


async def test_a_tarpit_does_not_hold_us():
    one = network("one", dial_timeout=0.5)
    async with running(one), tarpit() as address:
        with pytest.raises(TooSlowError, match=r"did not answer within 0\.5 s"):
            await one.connect(PeerAddress(network("two").peer_id, (address,)))


async def test_a_tarpit_holds_the_library_beyond_its_own_time_outs():
    """The defect itself: they do not cover the handshake."""
    host = guest()
    swarm = host.get_network()
    swarm.connection_config.outbound_upgrade_timeout = 0.2
    swarm.connection_config.dial_timeout = 0.2
    async with running_host(host, ()), tarpit() as address:
        with trio.move_on_after(1.5) as waiting:
            await swarm.dial_addr(Multiaddr(address), ID.from_string(network("two").peer_id))
        assert waiting.cancelled_caught


async def test_a_tarpit_first_costs_a_moment():
    one, two = network("one"), network("two", dial_timeout=1000.0)
    async with running(one, two), tarpit() as address:
        await two.connect(PeerAddress(one.peer_id, (address, *address_of(one).addresses)))


async def test_somebody_elses_address_first_still_connects():
    one, two, three = network("one"), network("two"), network("three")
    async with running(one, two, three):
        both = (*address_of(three).addresses, *address_of(one).addresses)
        await two.connect(PeerAddress(one.peer_id, both))
        assert [each.peer_id for each in two.peers()] == [one.peer_id]


async def test_a_dead_peer_is_known_at_once():
    one = network("one")
    async with running(one):
        tries = counted_dials(one._session.host)
        with pytest.raises(RemoteError, match="Connection refused"):
            await one.connect(PeerAddress(network("two").peer_id, (DEAD,)))
        assert len(tries) == 1


async def test_a_dead_peer_takes_the_library_three_more_tries():
    """The defect itself."""
    host = guest()
    async with running_host(host, ()):
        host.get_network().retry_config = RetryConfig()
        tries = counted_dials(host)
        with pytest.raises(Exception, match="fail to open"):
            await host.get_network().dial_addr(
                Multiaddr(DEAD), ID.from_string(network("two").peer_id)
            )
        assert len(tries) == 4


def counted_dials(host) -> list[str]:
    """The addresses that a host really dials, as it dials them."""
    (transport,) = host.get_network().transport_manager.get_transports()
    dialled, dial_once = [], transport.dial

    async def dial_and_tell(address):
        dialled.append(str(address))
        return await dial_once(address)

    transport.dial = dial_and_tell
    return dialled


@pytest.mark.parametrize("patched", [True, False])
async def test_the_librarys_own_dial_does_not_sleep(patched, monkeypatch):
    waits, move_on_after = [], trio.move_on_after

    def tell(seconds):
        waits.append(seconds)
        return move_on_after(seconds)

    one, host = network("one"), guest()
    with nullcontext() if patched else patches.without(patches.a_dial_does_not_sleep):
        async with running(one), running_host(host, ()):
            addresses = [Multiaddr(each) for each in address_of(one).addresses]
            monkeypatch.setattr(trio, "move_on_after", tell)
            await host.connect(PeerInfo(ID.from_string(one.peer_id), addresses))
            monkeypatch.undo()
    assert waits[0] == (0.0 if patched else 0.25)


async def test_a_name_is_looked_up_as_the_system_does():
    one, two = network("one"), network("two")
    async with running(one, two):
        port = address_of(one).addresses[0].rpartition("/")[2]
        await two.connect(PeerAddress(one.peer_id, (f"/dns4/localhost/tcp/{port}",)))


async def test_a_name_nobody_knows_is_said_to_be_unknown(monkeypatch):
    async def unknown(*arguments):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    one = network("one")
    async with running(one):
        monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
        with pytest.raises(RemoteError, match="Name or service not known"):
            await one.connect(PeerAddress(network("two").peer_id, ("/dns/nowhere/tcp/1",)))


async def test_a_peer_without_addresses_is_said_to_have_none():
    one = network("one")
    async with running(one):
        with pytest.raises(RemoteError, match="no address"):
            await one.connect(PeerAddress(network("two").peer_id, ()))
