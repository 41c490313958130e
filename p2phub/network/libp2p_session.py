"""One life of the libp2p host: it listens, connects, opens and serves streams, and knows its peers.

Rules it keeps
- Every exception of the library ends here and becomes a `RemoteError`; what a handler raises costs
  its stream and is logged.
- A peer counts as known once it has said what it is; it is put into the routing table only if it
  serves our DHT, and it is told to others by the addresses it listens on, never by the port its
  connection happened to come from.
- Peers have Ed25519 keys; streams of others are refused.

It leaves living again after a death to `libp2p_host`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID

from p2phub.errors import RemoteError, TooSlowError, UsageError
from p2phub.network.libp2p_addresses import dialable
from p2phub.network.libp2p_build import build_host, running
from p2phub.network.libp2p_dial import dial
from p2phub.network.libp2p_gossip import MESHSUB, GossipService
from p2phub.network.libp2p_identify import Identity, identify
from p2phub.network.libp2p_identity import public_of_peer_id
from p2phub.network.libp2p_kad import KadServer, Select, Validate
from p2phub.network.libp2p_patches import log, quietly
from p2phub.network.libp2p_questions import Questions
from p2phub.network.libp2p_records import DhtRecords
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.libp2p_streams import Libp2pStream
from p2phub.network.libp2p_upkeep import Upkeep
from p2phub.network.lookup import peer_id_bytes
from p2phub.protocol.ports import GossipJudge, PeerAddress, StreamHandler

STREAMS_OF_ONE: Final = 64
"""Streams of one peer that our handlers serve at once."""
OPENING: Final = 10.0
"""Seconds that opening a stream may take."""
INTRODUCTION: Final = 2.0
"""Seconds that `connect` waits for the peer to say what it is."""
ASK_AGAIN: Final = (0.0, 1.0, 5.0)
"""Seconds of pause before each time a peer is asked what it is, until it answers."""


@asynccontextmanager
async def open_session(
    seed: bytes,
    settings: NetworkSettings,
    listen: Sequence[str],
    handlers: Mapping[str, StreamHandler],
    validate: Validate,
    select: Select,
    judge: GossipJudge | None = None,
) -> AsyncIterator["Session"]:
    """A host that listens on `listen`. Raises `PortInUseError`, and whatever kills the host."""
    host = build_host(seed, settings, listen)
    async with trio.open_nursery() as nursery:
        session = Session(host, settings, nursery, validate, select, judge)
        try:
            for protocol, handler in handlers.items():
                session.serve(protocol, handler)
            async with running(host, listen):
                if session.gossip is not None:
                    session.spawn(session.gossip.run)
                yield session
        finally:
            if session.gossip is not None:
                session.gossip.close()
        nursery.cancel_scope.cancel()


class Session:
    def __init__(
        self,
        host: Any,
        settings: NetworkSettings,
        nursery: trio.Nursery,
        validate: Validate,
        select: Select,
        judge: GossipJudge | None,
    ) -> None:
        self.host, self.settings = host, settings
        self._swarm, self._nursery = host.get_network(), nursery
        self.kad = KadServer(host, settings, validate, select)
        self.questions = Questions(host, self.kad, settings, self.reach)
        self.records = DhtRecords(self.own, self.kad, self.questions, settings, select, self.spawn)
        self.upkeep = Upkeep(self)
        self.known: dict[str, Identity] = {}
        self.gossip = (
            GossipService(host, settings.gossip_topic, judge, self._speakers) if judge else None
        )
        self._introductions: dict[str, trio.Event] = {}
        self._dialling: dict[str, trio.Event] = {}
        self._dialled: dict[str, str] = {}
        self._served: Counter[str] = Counter()
        host._schedule_identify = _identify_nobody
        self._swarm.register_notifee(_Events(self._introduce, self._on_disconnected))

    async def wait_until_it_ends(self) -> None:
        """Return when the host has stopped by itself; if it died, its error comes out instead."""
        await self._swarm.manager.wait_finished()

    def spawn(self, task: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run a task for as long as the session lives. Raises `RemoteError` if it is ending."""
        try:
            self._nursery.start_soon(task, *arguments)
        except RuntimeError as error:
            raise RemoteError("the network host is going down") from error

    # --- who is there

    def own(self) -> PeerAddress:
        return PeerAddress(str(self.host.get_id()), dialable(_told(self.host.get_addrs)))

    def listening(self) -> tuple[str, ...]:
        """The addresses we really listen on, with the ports we got."""
        return _told(self.host.get_transport_addrs)

    def connected(self) -> tuple[str, ...]:
        return tuple(str(peer_id) for peer_id in self.host.get_connected_peers())

    def is_connected(self, peer_id: str) -> bool:
        return any(not each.is_closed for each in self._connections(peer_id))

    def peers(self) -> tuple[PeerAddress, ...]:
        return tuple(PeerAddress(each, self._addresses(each)) for each in self.connected())

    def remote_host(self, peer_id: str) -> str | None:
        for connection in self._connections(peer_id):
            remote = connection.muxed_conn.get_remote_address()
            if remote is not None:
                return str(remote[0]).removeprefix("::ffff:")
        return None

    # --- connections

    async def connect(self, peer: PeerAddress) -> None:
        await self.reach(peer, self.settings.dial_timeout)
        with trio.move_on_after(INTRODUCTION):
            await self._introduced(peer.peer_id)

    async def reach(self, peer: PeerAddress, within: float) -> None:
        """Be connected. Two who want the same peer dial it once."""
        if peer.peer_id == str(self.host.get_id()):
            raise RemoteError("that is the address of this node itself")
        public_of_peer_id(peer.peer_id)
        if peer.peer_id in self._dialling:
            await self._dialling[peer.peer_id].wait()
        if self.is_connected(peer.peer_id):
            return
        done = self._dialling[peer.peer_id] = trio.Event()
        try:
            self._dialled[peer.peer_id] = await dial(self._swarm, peer, within)
        finally:
            done.set()
            if self._dialling.get(peer.peer_id) is done:
                del self._dialling[peer.peer_id]
        self.questions.revive(peer.peer_id)

    async def disconnect(self, peer_id: str) -> None:
        await quietly(lambda: self.host.disconnect(ID(peer_id_bytes(peer_id))))

    # --- streams

    async def open_stream(self, peer_id: str, protocol: str) -> Libp2pStream:
        if not self.is_connected(peer_id):
            raise RemoteError(f"peer {peer_id} is not connected")
        with trio.move_on_after(OPENING):
            is_spoken = peer_id in self.known and protocol in self.known[peer_id].protocols
            library_id = ID(peer_id_bytes(peer_id))
            try:
                if is_spoken:
                    raw = await self._swarm.new_stream(library_id)
                else:
                    raw = await self.host.new_stream(library_id, [protocol])
            except Exception as error:
                log.debug("no stream %s to %s: %r", protocol, peer_id, error)
                raise RemoteError(f"peer {peer_id} is gone or does not speak {protocol}") from error
            return await self._adopt(raw, peer_id, proposed=protocol if is_spoken else "")
        raise TooSlowError(f"peer {peer_id} did not open a stream within {OPENING:g} s")

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        async def on_stream(raw: Any) -> None:
            peer_id = str(raw.muxed_conn.peer_id)
            if self._served[peer_id] >= STREAMS_OF_ONE or not _is_ours(peer_id):
                log.debug("a stream of %s is refused", peer_id)
                await quietly(raw.reset)
                return
            self._served[peer_id] += 1
            try:
                await _run_handler(handler, await self._adopt(raw, peer_id), protocol)
            finally:
                self._served[peer_id] -= 1
                if not self._served[peer_id]:
                    del self._served[peer_id]

        self.host.set_stream_handler(protocol, on_stream)

    async def _adopt(self, raw: Any, peer_id: str, *, proposed: str = "") -> Libp2pStream:
        stream = Libp2pStream(raw, peer_id, proposed=proposed)
        try:
            self.spawn(stream.pump)
        except RemoteError:
            await stream.reset()
            raise
        return stream

    # --- introductions

    def _introduce(self, peer_id: Any) -> None:
        """A connection to this peer stands: ask who it is, also if it was known before."""
        text = str(peer_id)
        if text not in self._introductions and _is_ours(text):
            self._introductions[text] = trio.Event()
            self.spawn(self._ask_who, text)

    async def _ask_who(self, peer_id: str) -> None:
        try:
            for pause in ASK_AGAIN:
                await trio.sleep(pause)
                if not self.is_connected(peer_id) or await self._has_said(peer_id):
                    return
        finally:
            self._introductions.pop(peer_id).set()

    async def _has_said(self, peer_id: str) -> bool:
        try:
            identity = await identify(self.host, peer_id)
        except RemoteError as error:
            log.debug("%s", error)
            return False
        if self.is_connected(peer_id):
            self.known[peer_id] = identity
            if self.gossip is not None and MESHSUB in identity.protocols:
                self.gossip.met(peer_id)
            await self._file(PeerAddress(peer_id, identity.addresses), identity)
        return True

    def _speakers(self) -> list[str]:
        """Who is connected and gossips."""
        return [peer_id for peer_id, each in self.known.items() if MESHSUB in each.protocols]

    async def _file(self, peer: PeerAddress, identity: Identity) -> None:
        if self.settings.kad_protocol in identity.protocols:
            self.questions.revive(peer.peer_id)
            await self.kad.learn(peer)
            self.upkeep.on_new_server(peer.peer_id)
        else:
            self.kad.forget(peer.peer_id)

    async def _introduced(self, peer_id: str) -> None:
        if peer_id not in self.known and peer_id in self._introductions:
            await self._introductions[peer_id].wait()

    def _on_disconnected(self, peer_id: Any) -> None:
        if not self.is_connected(str(peer_id)):
            self.known.pop(str(peer_id), None)
            self._dialled.pop(str(peer_id), None)
            self.upkeep.on_disconnected()

    def _connections(self, peer_id: str) -> list[Any]:
        try:
            return list(self._swarm.get_connections(ID(peer_id_bytes(peer_id))))
        except UsageError:
            return []

    def _addresses(self, peer_id: str) -> tuple[str, ...]:
        if peer_id in self.known:
            return self.known[peer_id].addresses
        return tuple(self._dialled[each] for each in (peer_id,) if each in self._dialled)


async def _run_handler(handler: StreamHandler, stream: Libp2pStream, protocol: str) -> None:
    try:
        await handler(stream.peer_id, stream)
    except RemoteError as error:
        log.debug("%s of %s: %s", protocol, stream.peer_id, error)
        await stream.reset()
    except Exception:
        log.exception("a stream %s of peer %s failed in our own code", protocol, stream.peer_id)
        await stream.reset()
    except BaseException:
        await stream.reset()
        raise
    else:
        await stream.close()


def _is_ours(peer_id: str) -> bool:
    try:
        public_of_peer_id(peer_id)
    except UsageError:
        return False
    return True


class _Events(INotifee):
    """The library's events, of which two interest us."""

    def __init__(
        self, on_connected: Callable[[Any], None], on_disconnected: Callable[[Any], None]
    ) -> None:
        self._on_connected, self._on_disconnected = on_connected, on_disconnected

    async def connected(self, network: Any, conn: Any) -> None:
        self._on_connected(conn.muxed_conn.peer_id)

    async def disconnected(self, network: Any, conn: Any) -> None:
        self._on_disconnected(conn.muxed_conn.peer_id)

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, network: Any, multiaddr: Any) -> None: ...


def _identify_nobody(peer_id: Any, *, reason: str = "") -> None:
    """The library would ask in a task whose failure ends the process; we ask in one of ours."""


def _told(addresses: Callable[[], Iterable[Any]]) -> tuple[str, ...]:
    """The addresses of a host; none of one whose sockets are closed, because it is going down."""
    try:
        return tuple(map(str, addresses()))
    except OSError:
        return ()
