"""The control plane on loopback sockets: who may connect, who is known, and life after death."""

import logging
import logging.handlers
import queue
import socket
import subprocess
import sys

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.secio import transport as secio
from multiaddr import Multiaddr

from p2phub.errors import PortInUseError, RemoteError, TooSlowError, UsageError
from p2phub.network import libp2p_build, libp2p_host
from p2phub.network import libp2p_patches as patches
from p2phub.network.libp2p_build import build_host
from p2phub.network.libp2p_build import running as running_host
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import (
    KEY,
    LISTEN,
    address_of,
    echo,
    kill,
    network,
    running,
    seed,
    swarm,
    talk,
    until,
)


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def weak_client(kind: str):
    keys = create_new_key_pair(seed("weak"))
    transport = InsecureTransport(keys) if kind == "plaintext" else secio.Transport(keys)
    protocol = PLAINTEXT_PROTOCOL_ID if kind == "plaintext" else secio.ID
    return new_host(key_pair=keys, sec_opt={protocol: transport})


async def connects(client, peer: PeerAddress) -> bool:
    info = PeerInfo(ID.from_string(peer.peer_id), [Multiaddr(each) for each in peer.addresses])
    with trio.move_on_after(5):
        try:
            await client.connect(info)
        except Exception:
            return False
        return True
    return False


@pytest.mark.parametrize("kind", ["plaintext", "secio"])
async def test_a_dial_without_encryption_is_refused(kind):
    one, client = network("one"), weak_client(kind)
    async with running(one), running_host(client, []):
        assert not await connects(client, address_of(one))
        assert one.peers() == ()


async def test_the_librarys_default_host_takes_a_dial_without_encryption():
    """The defect itself: without it our own choice of transports would not be needed."""
    host, client = new_host(key_pair=create_new_key_pair(seed("stock"))), weak_client("plaintext")
    async with running_host(host, LISTEN), running_host(client, []):
        stock = PeerAddress(str(host.get_id()), tuple(map(str, host.get_transport_addrs())))
        assert await connects(client, stock)


async def test_nothing_but_tcp_can_be_dialled_or_listened_on():
    host = build_host(seed("tcp"), NetworkSettings(listen=LISTEN), LISTEN)
    transports = host.get_network().transport_manager.get_transports()
    assert [type(each).__name__ for each in transports] == ["TCP"]
    one = network("one")
    async with running(one):
        quic = PeerAddress(network("two").peer_id, ("/ip4/127.0.0.1/udp/4042/quic-v1",))
        with pytest.raises(RemoteError, match="no address"):
            await one.connect(quic)


async def test_a_port_in_use_is_named():
    one = network("one")
    async with running(one):
        address = address_of(one).addresses[0]
        with pytest.raises(PortInUseError, match=address.replace("/", ".")) as taken:
            await network("two", listen=(address,)).run()
        assert taken.value.remedy


async def test_a_port_in_use_would_be_shared_without_the_patch():
    one = network("one")
    with patches.without(patches.a_taken_port_is_an_error):
        async with running(one), running(network("two", listen=address_of(one).addresses)):
            pass


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv4_and_ipv6_wildcards_share_a_port_number():
    one = network("one", listen=("/ip4/0.0.0.0/tcp/0",))
    async with running(one):
        port = one._listen[0].rpartition("/")[2]
        both = (f"/ip4/127.0.0.1/tcp/{port}", f"/ip6/::/tcp/{port}")
        async with running(network("two", listen=both[1:])):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_host_of_a_peer_is_seen(host):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    kind = "ip6" if ":" in host else "ip4"
    one = network("one", listen=(f"/{kind}/{host}/tcp/0",))
    two = network("two", listen=(f"/{kind}/{host}/tcp/0",))
    async with running(one, two):
        await two.connect(address_of(one))
        await until(one.peers)
        assert one.remote_host(two.peer_id) == host
        assert two.remote_host(one.peer_id) == host
        assert two.remote_host(network("three").peer_id) is None


async def test_peers_speak_noise_to_each_other():
    """TLS of this version and that of js-libp2p do not understand each other (certificate.py:232).

    So Noise is asked for first."""
    one, two = network("one"), network("two")
    async with running(one, two):
        await two.connect(address_of(one))
        (connection,) = two._session.host.get_network().get_connections()
        spoken = connection.get_interop_metadata()
        assert (spoken["security_protocol"], spoken["muxer_protocol"]) == ("/noise", "/yamux/1.0.0")


async def test_a_peer_is_known_by_its_agent_and_its_listening_address():
    one, two = network("one"), network("two", agent="p2phub/9.9 \x1b[31m")
    async with running(one, two):
        await two.connect(address_of(one))
        await until(lambda: one.peer_agent(two.peer_id))
        assert one.peers() == (address_of(two),)
        assert two.peers() == (address_of(one),)
        assert one.peer_agent(two.peer_id) == "p2phub/9.9 [31m"
        assert one.peer_agent(network("three").peer_id) is None


async def test_a_peer_that_answers_identify_with_garbage_stays_nameless():
    one, two = network("one"), network("two")
    one.handle("/ipfs/id/1.0.0", echo_garbage)
    one.handle("/echo/1", echo)
    async with running(one, two):
        await two.connect(address_of(one))
        assert two.peer_agent(one.peer_id) is None
        assert two.peers() == (address_of(one),)  # from the dial
        assert await talk(two, one.peer_id) == b"hello"


async def echo_garbage(peer_id, stream):
    await stream.write(b"\x10" + b"\xff" * 16)


async def test_another_peer_at_the_address_is_refused():
    one, two = network("one"), network("two")
    async with running(one, two):
        wrong = PeerAddress(network("three").peer_id, address_of(one).addresses)
        with pytest.raises(RemoteError, match="another peer answers there"):
            await two.connect(wrong)
        assert two.peers() == ()


async def test_connecting_to_ourselves_is_refused():
    one = network("one")
    async with running(one):
        with pytest.raises(RemoteError, match="this node itself"):
            await one.connect(address_of(one))


async def test_a_multiaddr_as_people_pass_it_around_connects():
    one, two = network("one"), network("two")
    async with running(one, two):
        assert await two.connect_multiaddr(one.addresses()[0]) == address_of(one)
        with pytest.raises(UsageError):
            await two.connect_multiaddr("127.0.0.1:4042")


@pytest.mark.parametrize("theirs", [None, b"B" * 32])
async def test_a_private_network_keeps_others_out_in_time(theirs):
    one, friend = network("one", psk=b"A" * 32), network("two", psk=b"A" * 32)
    stranger = network("three", psk=theirs, dial_timeout=1.0)
    async with running(one, friend, stranger):
        await friend.connect(address_of(one))
        with pytest.raises(RemoteError):
            await stranger.connect(address_of(one))
        assert [each.peer_id for each in one.peers()] == [friend.peer_id]


async def test_refusals_do_not_close_the_door():
    one = network("one", max_connections=2)
    some = [network(f"n{number}", dial_timeout=2.0) for number in range(8)]
    async with running(one, *some):
        refused = 0
        for each in some:
            try:
                await each.connect(address_of(one))
            except RemoteError:
                refused += 1
        assert refused >= 5
        for each in some:
            await each.disconnect(one.peer_id)
        for peer in one.peers():
            await one.disconnect(peer.peer_id)
        await some[-1].connect(address_of(one))


async def test_nobody_is_dialled_whom_we_did_not_ask_for():
    one, two = network("one"), network("two")
    async with running(one, two):
        swarm = two._session.host.get_network()
        peer_id = ID.from_string(one.peer_id)
        addresses = [Multiaddr(each) for each in address_of(one).addresses]
        swarm.peerstore.add_addrs(peer_id, addresses, 600)
        await swarm.auto_connector.maybe_connect()
        assert two.peers() == ()
        await type(swarm.auto_connector).maybe_connect(swarm.auto_connector)  # the defect itself
        await until(two.peers)


async def test_a_host_that_ends_closes_its_sockets():
    one, two = network("one"), network("two")
    async with running(two):
        async with running(one):
            address = address_of(one)
            await two.connect(address)
        await until(lambda: not two.peers(), 15)
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", int(address.addresses[0].rpartition("/")[2]))


async def test_a_connection_that_takes_no_goodbye_is_cut(monkeypatch):
    monkeypatch.setattr(libp2p_build, "CLOSING", 0.2)
    one, two = network("one"), network("two")
    async with running(two):
        async with running(one):
            await one.connect(address_of(two))
            (connection,) = one._session.host.get_network().get_connections()
            # As one finds it whose peer has read nothing for a while.
            await connection.muxed_conn._write_lock.acquire()
        await until(lambda: not two.peers())
        connection.muxed_conn._write_lock.release()


async def test_a_host_that_is_going_down_and_has_closed_its_sockets_still_knows_itself(
    monkeypatch,
):
    def closed():
        with socket.socket() as gone:
            pass
        return [gone.getsockname()]  # what the library does then

    one, two = network("one"), network("two")
    async with running(one, two):
        await one.connect(address_of(two))
        before = one.addresses()
        monkeypatch.setattr(one._session.host, "get_transport_addrs", closed)
        assert one.addresses() == before
        assert one._session.listening() == ()
        assert await one.put_head(KEY, b"1:mine") == 1


async def test_a_host_that_dies_comes_back_on_the_same_port_with_its_handlers():
    one, two = network("one"), network("two")
    one.handle("/echo/1", echo)
    async with running(one, two):
        address = address_of(one)
        await two.connect(address)
        stream = await two.open_stream(one.peer_id, "/echo/1")
        kill(one)
        await until(lambda: one.state == "restarting")
        with pytest.raises(RemoteError):
            await stream.read(1)
        with pytest.raises(RemoteError, match="restarting"):
            await one.connect(address_of(two))
        await until(lambda: one.state == "running")
        assert one.restarts == 1
        assert address_of(one) == address
        await two.connect(address)
        assert await talk(two, one.peer_id) == b"hello"
        assert await two.put_head(KEY, b"1:after") == 1


async def test_a_host_that_stops_by_itself_is_restarted():
    one = network("one")
    async with running(one):
        one._session.host.get_network().manager.cancel()
        await until(lambda: one.restarts == 1 and one.state == "running")


async def test_a_port_taken_while_the_host_was_dead_is_waited_for():
    one = network("one")
    async with running(one):
        port = int(address_of(one).addresses[0].rpartition("/")[2])
        kill(one)
        await until(lambda: one.state == "restarting")
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", port))
            thief.listen()
            await until(lambda: one.restarts == 2)
        await until(lambda: one.state == "running")


async def test_a_node_that_is_alone_goes_back_to_its_bootstraps():
    one = network("one")
    async with running(one):
        two = network("two", bootstrap=one.addresses())
        async with running(two):
            assert two.peers()
            await one.disconnect(two.peer_id)
            await until(lambda: not two.peers())
            await until(two.peers)


async def test_a_dead_bootstrap_does_not_stop_the_start():
    gone = f"/ip4/127.0.0.1/tcp/1/p2p/{network('gone').peer_id}"
    one = network("one", bootstrap=(gone,))
    async with running(one):
        assert one.state == "running"


async def test_peers_that_share_a_bootstrap_find_each_other():
    async with swarm(5) as nodes:
        await until(lambda: all(len(each.peers()) == 4 for each in nodes))


async def test_a_peer_connected_to_is_found_by_the_dht_without_a_bootstrap():
    one, two = network("one"), network("two")
    async with running(one, two):
        await one.put_head(KEY, b"1:early")
        await two.connect(address_of(one))
        assert await two.get_heads(KEY) == (b"1:early",)


async def test_nothing_can_be_done_before_the_start():
    one = network("one")
    assert (one.peers(), one.addresses(), one.remote_host("x")) == ((), (), None)
    with pytest.raises(RemoteError, match="starting"):
        await one.get_heads(KEY)


async def test_a_peer_that_lacks_the_protocol_is_told_in_a_sentence():
    one, two = network("one"), network("two")
    async with running(one, two):
        with pytest.raises(RemoteError, match="not connected"):
            await two.open_stream(one.peer_id, "/echo/1")
        await two.connect(address_of(one))
        with pytest.raises(RemoteError, match="does not speak /echo/1"):
            await two.open_stream(one.peer_id, "/echo/1")


async def test_the_start_is_tried_in_time_when_a_bootstrap_says_nothing():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, silence, 0)
        port = listeners[0].socket.getsockname()[1]
        tarpit = f"/ip4/127.0.0.1/tcp/{port}/p2p/{network('two').peer_id}"
        one = network("one", bootstrap=(tarpit,), dial_timeout=0.3)
        with trio.fail_after(20):
            async with running(one):
                peer = PeerAddress(network("two").peer_id, (tarpit.partition("/p2p/")[0],))
                with pytest.raises(TooSlowError):
                    await one.connect(peer)
        nursery.cancel_scope.cancel()


async def silence(stream):
    async with stream:
        await trio.sleep_forever()


@pytest.mark.budget(90)
def test_a_dead_dial_prints_nothing():
    code = """
import trio
from tests.network.loopback import *
from p2phub.errors import RemoteError
async def main():
    gone = f"/ip4/127.0.0.1/tcp/1/p2p/{network('gone').peer_id}"
    async with running(one := network("one", bootstrap=(gone,))):
        try:
            await one.connect_multiaddr(gone)
        except RemoteError as error:
            print(error)
trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Connection refused" in done.stdout
    assert done.stderr == ""


def test_the_librarys_voice_comes_back_for_debugging(monkeypatch):
    heard = logging.handlers.QueueHandler(queue.SimpleQueue())
    monkeypatch.setattr(logging.getLogger(), "handlers", [heard])
    library = logging.getLogger("libp2p.network.auto_connector")  # has a level of its own
    ours = logging.getLogger("p2phub.network.libp2p")
    for level, voices in ((logging.WARNING, 0), (logging.DEBUG, 1), (logging.WARNING, 0)):
        ours.setLevel(level)
        libp2p_host._quiet_libp2p()
        library.error("one of four lines for a dead dial")
        assert heard.queue.qsize() == voices
        while not heard.queue.empty():
            heard.queue.get()
    ours.setLevel(logging.NOTSET)
