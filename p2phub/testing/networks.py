"""Networks in memory: many nodes in one process, in virtual time, held to the real one's promises.

A `MemoryWorld` is where nodes meet; a `MemoryNetwork` is one node's view of it and has the same
surface as `network.libp2p_host.Libp2pNetwork`. Peer ids are real ones. A node is there while `run`
runs; when it ends, its connections and streams end as they do when a process is killed. `die()`
kills the host of a node, which comes back after `DEATH` seconds with nothing but its handlers.

Faults are classes: `SilentNetwork` accepts everything and never answers, `GarbageNetwork` answers
with noise, `DroppingNetwork` hangs up in the middle of every stream.

Rules it keeps
- Time passes where it does in reality: a connection, a stream and a question to the DHT cost
  `latency`, a question to a silent peer costs `patience`; records expire.
- Records lie with the nearest `K` nodes that can be reached over peers that met.

tests/conformance/test_networks.py runs the same tests over this and over real sockets.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import trio
import trio.lowlevel

from p2phub.errors import NoSourceError, P2PHubError, RemoteError, UsageError
from p2phub.network.libp2p_addresses import parse_peer
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.network.lookup import PATIENCE, K, position_of_key, position_of_peer
from p2phub.protocol.ports import GossipJudge, PeerAddress, Stream, StreamHandler
from p2phub.testing.gossip import MemoryGossip
from p2phub.testing.pipes import PipeStream, pipe

HEAD_LIFE: Final = 24 * 3600.0
PROVIDER_LIFE: Final = 48 * 3600.0
DEATH: Final = 0.5
"""Seconds between a death of a host and its next life."""


class MemoryWorld:
    """Where nodes meet."""

    def __init__(self, *, latency: float = 0.02) -> None:
        self.latency = latency
        self.nodes: dict[str, MemoryNetwork] = {}
        """Who is there, by address."""
        self._next_port = 20_000

    def new_address(self) -> str:
        self._next_port += 1
        return f"/ip4/127.0.0.1/tcp/{self._next_port}"

    def reachable(self, start: "MemoryNetwork") -> list["MemoryNetwork"]:
        """Everybody alive whom `start` can find over peers that met, itself left out."""
        alive = {node.peer_id: node for node in self.nodes.values()}
        found, edge = {start.peer_id}, [start]
        while edge:
            for peer_id in edge.pop().met:
                if peer_id in alive and peer_id not in found:
                    found.add(peer_id)
                    edge.append(alive[peer_id])
        return [node for peer_id, node in alive.items() if peer_id in found - {start.peer_id}]


class MemoryNetwork:
    """`ports.ControlNetwork`, `ports.Records` and `ports.Gossip` without a socket."""

    answers = True
    """Whether it answers the DHT."""

    def __init__(
        self,
        world: MemoryWorld,
        seed: bytes,
        *,
        validate: Callable[[str, bytes], None],
        select: Callable[[Sequence[bytes]], int],
        bootstrap: Sequence[str] = (),
        agent: str = "p2phub",
    ) -> None:
        self.world, self.agent = world, agent
        self.peer_id = peer_id_of_seed(seed)
        self.state: Literal["starting", "running", "restarting"] = "starting"
        self.restarts = 0
        self.met: set[str] = set()
        self.streams: set[PipeStream] = set()
        self._bootstrap = [parse_peer(text) for text in bootstrap]
        self._validate, self._select = validate, select
        self._address = world.new_address()
        self._handlers: dict[str, StreamHandler] = {}
        self._connected: dict[str, MemoryNetwork] = {}
        self._heads: dict[str, tuple[bytes, float]] = {}
        self._providers: dict[bytes, dict[str, tuple[PeerAddress, float]]] = {}
        self._nursery: trio.Nursery | None = None
        self.gossip = MemoryGossip(self.peer_id, self._gossips, self._spawn, world.latency)

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Be there until cancelled."""
        while True:
            await self._live(task_status if self.restarts == 0 else trio.TASK_STATUS_IGNORED)
            self.restarts += 1
            await trio.sleep(DEATH)

    async def _live(self, task_status: Any) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                self.world.nodes[self._address] = self
                self.state = "running"
                for peer in self._bootstrap:
                    await self._try(peer)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.world.nodes.pop(self._address, None)
            self.state = "restarting"
            for other in list(self._connected.values()):
                self._part(other)
            for kept in (self._heads, self._providers, self.met):
                kept.clear()

    def die(self) -> None:
        """A fault: the host is gone from one moment to the next, and comes back by itself."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _try(self, peer: PeerAddress) -> None:
        try:
            await self.connect(peer)
        except RemoteError:
            return

    # --- ports.ControlNetwork

    def addresses(self) -> tuple[str, ...]:
        return (f"{self._address}/p2p/{self.peer_id}",)

    def peers(self) -> tuple[PeerAddress, ...]:
        return tuple(node.here() for node in self._connected.values())

    def here(self) -> PeerAddress:
        """How others know this node."""
        return PeerAddress(self.peer_id, (self._address,))

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler

    async def connect(self, peer: PeerAddress) -> None:
        self._check_running()
        if peer.peer_id == self.peer_id:
            raise RemoteError("that is the address of this node itself")
        await trio.sleep(self.world.latency)
        if peer.peer_id in self._connected:
            return
        there = [self.world.nodes[each] for each in peer.addresses if each in self.world.nodes]
        right = [node for node in there if node.peer_id == peer.peer_id]
        if not right:
            reason = "another peer answers there" if there else "Connection refused"
            raise RemoteError(f"cannot reach peer {peer.peer_id}: {reason}")
        self._meet(right[0])

    async def connect_multiaddr(self, text: str) -> PeerAddress:
        peer = parse_peer(text)
        if peer.peer_id == self.peer_id:
            raise UsageError("that is the address of this node itself")
        await self.connect(peer)
        return peer

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        self._check_running()
        if peer_id not in self._connected:
            raise RemoteError(f"peer {peer_id} is not connected")
        await trio.sleep(self.world.latency)
        other = self._connected.get(peer_id)
        if other is None or not other.speaks(protocol):
            raise RemoteError(f"peer {peer_id} is gone or does not speak {protocol}")
        ours, theirs = pipe(self.peer_id, peer_id)
        for node, end in ((self, ours), (other, theirs)):
            node.streams.add(end)
        other.accept(protocol, theirs)
        return ours

    async def disconnect(self, peer_id: str) -> None:
        await trio.lowlevel.checkpoint()
        if peer_id in self._connected:
            self._part(self._connected[peer_id])

    def remote_host(self, peer_id: str) -> str | None:
        return "127.0.0.1" if peer_id in self._connected else None

    def peer_agent(self, peer_id: str) -> str | None:
        other = self._connected.get(peer_id)
        return other.agent if other is not None else None

    # --- ports.Records

    async def put_head(self, key: str, record: bytes) -> int:
        self._check_running()
        self._validate(key, record)
        self.take_head(key, record)
        taken = 0
        for node in await self._ask_near(key.encode()):
            taken += node.take_head(key, record)
        return taken

    async def get_heads(self, key: str) -> tuple[bytes, ...]:
        self._check_running()
        asked = await self._ask_near(key.encode())
        found = {node.told_head(key): None for node in [*asked, self]}
        valid = [record for record in found if record is not None and self._is_valid(key, record)]
        if not asked and not valid:
            raise NoSourceError("nobody in the network answered")
        best_first = []
        while valid:
            best_first.append(valid.pop(self._select(valid)))
        return tuple(best_first[::-1])

    async def provide(self, digest: bytes) -> int:
        self._check_running()
        nodes = await self._ask_near(digest)
        for node in nodes:
            node.take_provider(digest, self.here())
        return len(nodes)

    async def providers(self, digest: bytes, enough: int) -> tuple[PeerAddress, ...]:
        self._check_running()
        found: dict[str, PeerAddress] = {}
        for node in [*await self._ask_near(digest), self]:
            if len(found) < enough:
                found.update({each.peer_id: each for each in node.told_providers(digest)})
        found.pop(self.peer_id, None)
        return tuple(found.values())

    # --- ports.Gossip

    def listen(self, judge: GossipJudge) -> None:
        self.gossip.judge = judge

    async def spread(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._check_running()
        self.gossip.begin(message)

    def _gossips(self) -> list[MemoryGossip]:
        return [node.gossip for node in self._connected.values()]

    def _spawn(self, task: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(task, *arguments)

    # --- what others ask of this node

    def speaks(self, protocol: str) -> bool:
        return protocol in self._handlers

    def accept(self, protocol: str, stream: "PipeStream") -> None:
        """Serve a stream that another node opened."""
        if self._nursery is not None:
            self._nursery.start_soon(self.serve, self._handlers[protocol], stream)

    async def serve(self, handler: StreamHandler, stream: "PipeStream") -> None:
        try:
            await handler(stream.peer_id, stream)
        except RemoteError:
            await stream.reset()
        except BaseException:
            stream.cut("the stream was reset")
            raise
        else:
            await stream.close()

    def take_head(self, key: str, record: bytes) -> bool:
        held = self.told_head(key)
        if held is not None and self._select([held, record]) == 0:
            return False
        self._heads[key] = (record, trio.current_time() + HEAD_LIFE)
        return True

    def told_head(self, key: str) -> bytes | None:
        record, expires = self._heads.get(key, (None, 0.0))
        return record if expires > trio.current_time() else None

    def take_provider(self, digest: bytes, provider: PeerAddress) -> None:
        kept = self._providers.setdefault(digest, {})
        kept[provider.peer_id] = (provider, trio.current_time() + PROVIDER_LIFE)

    def told_providers(self, digest: bytes) -> list[PeerAddress]:
        kept = self._providers.get(digest, {}).values()
        return [provider for provider, expires in kept if expires > trio.current_time()]

    # --- inside

    async def _ask_near(self, key: bytes) -> list["MemoryNetwork"]:
        """Walk to the nodes near `key`: those that answer, after the time this takes."""
        target = position_of_key(key)
        near = self.world.reachable(self)
        near.sort(key=lambda node: position_of_peer(node.peer_id) ^ target)
        await trio.sleep(3 * self.world.latency if near else 0)
        if not all(node.answers for node in near[:K]):
            await trio.sleep(PATIENCE)
        return [node for node in near if node.answers][:K]

    def _is_valid(self, key: str, record: bytes) -> bool:
        try:
            self._validate(key, record)
        except (ValueError, P2PHubError):
            return False
        return True

    def _check_running(self) -> None:
        if self.state != "running":
            raise RemoteError(f"the network host is {self.state}")

    def _meet(self, other: "MemoryNetwork") -> None:
        for one, two in ((self, other), (other, self)):
            one._connected[two.peer_id] = two
            one.met.add(two.peer_id)

    def _part(self, other: "MemoryNetwork") -> None:
        for one, two in ((self, other), (other, self)):
            one._connected.pop(two.peer_id, None)
            for stream in [each for each in one.streams if each.peer_id == two.peer_id]:
                stream.cut(f"the stream of peer {two.peer_id} was cut off")
                one.streams.discard(stream)


class SilentNetwork(MemoryNetwork):
    """Accepts connections and streams of any protocol, and never answers."""

    answers = False

    def speaks(self, protocol: str) -> bool:
        return True

    def accept(self, protocol: str, stream: "PipeStream") -> None: ...


class GarbageNetwork(MemoryNetwork):
    """Answers every stream with noise, and the DHT with records that nobody signed."""

    def speaks(self, protocol: str) -> bool:
        return True

    def accept(self, protocol: str, stream: "PipeStream") -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self.serve, _say_garbage, stream)

    def take_head(self, key: str, record: bytes) -> bool:
        return True

    def told_head(self, key: str) -> bytes | None:
        return random.Random(key).randbytes(200)

    def told_providers(self, digest: bytes) -> list[PeerAddress]:
        return [PeerAddress(peer_id_of_seed(digest), ("/ip4/127.0.0.1/tcp/1",))]


class DroppingNetwork(MemoryNetwork):
    """Serves honestly, and hangs up after `drop_after` bytes of every stream."""

    drop_after = 1000

    def accept(self, protocol: str, stream: "PipeStream") -> None:
        stream.drop_after = self.drop_after
        super().accept(protocol, stream)


async def _say_garbage(peer_id: str, stream: Stream) -> None:
    await stream.write(random.Random(peer_id).randbytes(500))
