"""What one peer can do to a host: nothing that stops it or makes it deaf.

Where a patch of the library keeps the promise, the same fault is shown without the patch.
"""

import logging
import random
from contextlib import nullcontext

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import encode_uvarint
from multiaddr import Multiaddr

from p2phub.errors import RemoteError
from p2phub.network import libp2p_build
from p2phub.network import libp2p_patches as patches
from p2phub.network.libp2p_build import build_host
from p2phub.network.libp2p_build import running as running_host
from p2phub.network.libp2p_dial import dial
from p2phub.network.libp2p_session import STREAMS_OF_ONE
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import KEY, address_of, echo, network, running, seed, talk, until

MESHSUB = "/meshsub/1.1.0"
ANYTHING = [ValueError("a bug"), ExceptionGroup("two", [KeyError(1)]), trio.TooSlowError()]


def perhaps(patched: bool, patch):
    return nullcontext() if patched else patches.without(patch)


async def is_cut_off(one, peer_id: str, protocol: str) -> None:
    """Open a stream that the peer will not serve; the refusal may come before or after it opens."""
    with pytest.raises(RemoteError):
        await (await one.open_stream(peer_id, protocol)).read(1)


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
async def test_a_handler_that_raises_costs_only_its_stream(error, caplog):
    async def fail(peer_id, stream):
        raise error

    one, two = network("one"), network("two")
    one.handle("/boom/1", fail)
    one.handle("/echo/1", echo)
    async with running(one, two):
        await two.connect(address_of(one))
        await is_cut_off(two, one.peer_id, "/boom/1")
        assert await talk(two, one.peer_id) == b"hello"
        assert one.restarts == 0
    assert "failed in our own code" in caplog.text


@pytest.mark.parametrize("patched", [True, False])
async def test_a_handler_of_the_library_that_raises(patched):
    async def fail(stream):
        raise ValueError("a bug in the library")

    one, two = network("one"), network("two")
    with perhaps(patched, patches.a_failing_stream_costs_only_itself):
        async with running(one, two):
            await two.connect(address_of(one))
            one._session.host.set_stream_handler("/boom/1", fail)
            await is_cut_off(two, one.peer_id, "/boom/1")
            if patched:
                await two.put_head(KEY, b"1:still there")
            await until(lambda: one.restarts == (0 if patched else 1))


@pytest.mark.parametrize("patched", [True, False])
async def test_a_malformed_gossip_message_does_not_end_the_host(patched):
    one, two = network("one"), network("two")
    gossip = GossipSub(protocols=[MESHSUB], degree=6, degree_low=4, degree_high=12)
    with perhaps(patched, patches.a_failing_stream_costs_only_itself):
        async with running(one, two):
            service = Pubsub(one._session.host, gossip, strict_signing=True)
            async with background_trio_service(service), background_trio_service(gossip):
                await service.wait_until_ready()
                await two.connect(address_of(one))
                stream = await two.open_stream(one.peer_id, MESHSUB)
                await stream.write(b"\x20" + random.Random(0).randbytes(32))
                if patched:
                    with pytest.raises(RemoteError):
                        await stream.read(1)
                await until(lambda: one.restarts == (0 if patched else 1))


async def come_and_go(host, peer, times: int) -> int:
    """Connect and drop the socket so often; how often it worked."""
    worked, swarm = 0, host.get_network()
    for _ in range(times):
        try:
            with trio.fail_after(5):
                found = await swarm.dial_addr(
                    Multiaddr(peer.addresses[0]), ID.from_string(peer.peer_id)
                )
        except Exception:
            continue
        worked += 1
        await found.muxed_conn.secured_conn.close()
        await until(lambda: not swarm.get_connections())
    return worked


def guest(number: int = 0):
    return build_host(seed(f"guest-{number}"), NetworkSettings(listen=()), ())


@pytest.mark.parametrize("patched", [True, False])
async def test_connections_that_ended_leave_room_for_others(patched):
    one, visitor = network("one", max_connections=10), guest()
    with perhaps(patched, patches.a_closed_connection_gives_its_slot_back):
        async with running(one), running_host(visitor, ()):
            worked = await come_and_go(visitor, address_of(one), 20)
    assert worked == 20 if patched else worked <= 10


async def check_a_lifetime(times: int) -> None:
    """`times` connections, from seven peers at once, and the host still listens."""
    one, worked = network("one"), []

    async def visit(number: int) -> None:
        visitor = guest(number)
        async with running_host(visitor, ()):
            worked.append(await come_and_go(visitor, address_of(one), times // 7))

    one.handle("/echo/1", echo)
    async with running(one):
        async with trio.open_nursery() as nursery:
            for number in range(7):
                nursery.start_soon(visit, number)
        assert sum(worked) == times // 7 * 7
        two = network("two")
        async with running(two):
            await two.connect(address_of(one))
            assert await talk(two, one.peer_id) == b"hello"
            slots = one._session.host.get_network()._inbound_limiter
            await until(lambda: slots.borrowed_tokens == 1)


@pytest.mark.slow
async def test_a_thousand_connections_over_a_lifetime_do_not_deafen():
    await check_a_lifetime(1001)  # a host has 300 slots


@pytest.mark.parametrize("stock", [False, True])
def test_a_limit_that_is_reached_stays_what_it_is(stock):
    ours = libp2p_build._resource_manager(NetworkSettings(listen=(), max_connections=5))
    manager = ResourceManager(limits=ResourceLimits(max_connections=10)) if stock else ours
    everybody = [network(f"n{number}").peer_id for number in range(20)]
    assert sum(manager.acquire_connection(peer_id) for peer_id in everybody) == 10
    manager.release_connection(everybody[0])
    manager.release_connection(everybody[1])
    assert manager.acquire_connection(everybody[-1]) != stock


async def test_connections_that_never_prove_who_they_are_leave_again():
    one = network("one", max_connections=5)
    async with running(one):
        host, port = "127.0.0.1", int(address_of(one).addresses[0].rpartition("/")[2])
        strangers = [await trio.open_tcp_stream(host, port) for _ in range(5)]
        for stranger in strangers:
            await stranger.aclose()
        async with running(two := network("two")):
            await two.connect(address_of(one))


@pytest.mark.parametrize("patched", [True, False])
async def test_a_stranger_cannot_send_an_endless_protocol_name(patched):
    one = network("one")
    with perhaps(patched, patches.a_protocol_name_is_short):
        async with running(one):
            port = int(address_of(one).addresses[0].rpartition("/")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stranger:
                await stranger.send_all(encode_uvarint(1 << 30) + b"/" * 1000)
                assert await is_hung_up(stranger, 8 if patched else 1) == patched


async def is_hung_up(stranger, seconds: float) -> bool:
    """Whether the other side closes the connection, before the time for a handshake is over."""
    with trio.move_on_after(seconds):
        try:
            while await stranger.receive_some():
                continue
        except trio.BrokenResourceError:
            return True
        return True
    return False


async def test_a_peer_cannot_open_streams_without_end():
    async def stay(peer_id, stream):
        await stream.write(b"!")
        await trio.sleep_forever()

    one, two, three = network("one"), network("two"), network("three")
    one.handle("/stay/1", stay)
    async with running(one, two, three):
        await two.connect(address_of(one))
        await three.connect(address_of(one))
        for _ in range(STREAMS_OF_ONE):
            assert await (await two.open_stream(one.peer_id, "/stay/1")).read(1) == b"!"
        await is_cut_off(two, one.peer_id, "/stay/1")
        assert await (await three.open_stream(one.peer_id, "/stay/1")).read(1) == b"!"


@pytest.mark.parametrize("patched", [True, False])
async def test_the_root_logger_stays_untouched(patched, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    one, two = network("one"), network("two")
    with perhaps(patched, patches.connections_log_under_their_own_name):
        async with running(one, two):
            await two.connect(address_of(one))
            await two.disconnect(one.peer_id)
    assert bool(logging.getLogger().handlers) != patched


async def test_a_peer_that_is_dialled_by_two_at_once_is_dialled_once():
    one, two = network("one"), network("two")
    async with running(one, two):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(two.connect, address_of(one))
        assert len(two._session.host.get_network().get_connections()) == 1


async def test_a_cancelled_dial_leaves_no_socket_behind():
    async with trio.open_nursery() as nursery:
        dropped = trio.Event()

        async def wait_for_the_end(stream):
            async with stream:
                while await stream.receive_some():
                    continue
            dropped.set()

        listeners = await nursery.start(trio.serve_tcp, wait_for_the_end, 0)
        port = listeners[0].socket.getsockname()[1]
        tarpit = PeerAddress(network("one").peer_id, (f"/ip4/127.0.0.1/tcp/{port}",))
        visitor = guest()
        async with running_host(visitor, ()):
            with trio.move_on_after(0.2):
                await dial(visitor.get_network(), tarpit, 5)
            with trio.fail_after(20):
                await dropped.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("patched", [True, False])
async def test_a_peer_that_fell_silent_is_disconnected(patched, monkeypatch):
    monkeypatch.setattr(patches, "PING_EVERY", 0.1)
    monkeypatch.setattr(patches, "PONG_WITHIN", 1.0)
    one, two = network("one"), network("two")
    with perhaps(patched, patches.a_dead_connection_is_noticed):
        async with running(one, two):
            await two.connect(address_of(one))
            (connection,) = one._session.host.get_network().get_connections()
            monkeypatch.setattr(connection.muxed_conn, "_write_frame", say_nothing)
            with trio.move_on_after(20 if patched else 4):
                await until(lambda: not two.peers())
            assert bool(two.peers()) != patched
            monkeypatch.undo()


async def say_nothing(data: bytes) -> None: ...
