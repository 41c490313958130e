"""The node: everything wired once, in one function, and one method per use case.

`open_node` is the only place where the layers meet. Its services start in the order of its lines
and stop in reverse: the store is opened first and closed last, the data plane listens before the
control plane tells anybody of it, and nothing is announced before both can answer.

    async with open_node(config, home) as node:
        await node.pull(PullRequest("lab/minilm"), report=print)

A bug in a service ends the node with a traceback; a peer's fault costs that peer's connection.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from p2phub.cache_results import CacheAdopted
from p2phub.config import Config, Endpoint
from p2phub.errors import plain_errors
from p2phub.inference.pool import open_pool
from p2phub.inference.private_folder import remove_abandoned
from p2phub.inference.starting import Starter
from p2phub.network.control import ControlServer
from p2phub.network.control_client import ControlClient
from p2phub.network.data_server import DataServer
from p2phub.network.libp2p_host import Libp2pNetwork
from p2phub.network.stream_http import StreamServer
from p2phub.network.throttle import Throttle
from p2phub.network.tickets import Tickets
from p2phub.node import housekeeping
from p2phub.node.acquaintances import Acquaintances
from p2phub.node.adopting import adopt
from p2phub.node.announce import Announcer
from p2phub.node.auditing import audit_of, begin_audit
from p2phub.node.bundles import Bundles
from p2phub.node.cosigners import Cosigners
from p2phub.node.domains import Domains
from p2phub.node.hub import HubDesk
from p2phub.node.infer import Inference
from p2phub.node.initialise import node_seed
from p2phub.node.inspect import Inspector
from p2phub.node.library import Library, head_record
from p2phub.node.neighbours import Neighbours
from p2phub.node.offline import knowledge_of, layout_of
from p2phub.node.own_identity import OwnIdentity
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.planes import AGENT, Greeter, data_server, network_settings
from p2phub.node.proposing import ProposalDesk
from p2phub.node.publish import publish
from p2phub.node.quarantine_desk import QuarantineDesk
from p2phub.node.ranges import bring_ranges, read_ranges, what_it_names
from p2phub.node.rates import Paces
from p2phub.node.remove import remove
from p2phub.node.sealing import recipient_of
from p2phub.node.services import Bell, DiskThreads, Services, Turns
from p2phub.node.spreading import Spreading
from p2phub.node.traffic import Meter, Traffic
from p2phub.node.trust import Trust
from p2phub.node.upstream_pull import pull_by_name
from p2phub.node.values import (
    AdoptRequest,
    FileRow,
    Hit,
    Identity,
    PeerInfo,
    Published,
    PublishRequest,
    Pulled,
    PullRequest,
    Removed,
    RepoInfo,
    RepoRow,
    Report,
    SearchQuery,
    Status,
    Verification,
)
from p2phub.node.web_seeds import WebSeeds
from p2phub.node.withdrawals import Withdrawals
from p2phub.node.yielding import Yielding
from p2phub.store.disk import no_progress
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.records import best, check_head

DISK_THREADS = 8
"""Blocking store calls at once; hashing and copying among them."""
REDIAL = 16
"""Peers of the last run that are dialled after a start."""


@asynccontextmanager
async def open_node(config: Config, home: Path) -> AsyncIterator["Node"]:
    """Run a node for as long as the block runs.

    Raises `StoreLockedError` (another process has the store), `PortInUseError`, `ConfigError`,
    `RefusedError`, `NoSpaceError`.
    """
    layout = layout_of(config, home)
    with Store.open(layout, quota=config.store.quota) as store:
        keyring = Keyring(layout)
        seed = node_seed(keyring)
        library, tickets = Library(store), Tickets()
        paces = Paces(config.swarm)
        server = data_server(config, seed, library, tickets, paces.up)
        server.start()
        try:
            network = Libp2pNetwork(
                seed, network_settings(config, home), validate=check_record, select=best
            )
            services = _services(config, store, seed, keyring, network, server, paces)
            await begin_audit(services.audit, config.airgap)
            _answer_peers(services, library, tickets, server)
            cosigners = Cosigners(services, network.peer_id)
            cosigners.register()
            with plain_errors():
                async with trio.open_nursery() as nursery:
                    await nursery.start(network.run)
                    for service in (*_background(services, server), cosigners.run):
                        nursery.start_soon(service)
                    hub = HubDesk(services)
                    await nursery.start(hub.run)
                    async with _models(services, nursery) as inference:
                        try:
                            yield Node(services, network, inference, hub)
                        finally:
                            with trio.CancelScope(shield=True):
                                try:
                                    await housekeeping.remember_now(services)
                                finally:
                                    await services.neighbours.close()
                    nursery.cancel_scope.cancel()
        finally:
            server.stop()


@asynccontextmanager
async def _models(services: Services, nursery: trio.Nursery) -> AsyncIterator[Inference]:
    """The models of this node; they are unloaded at the end of the block."""
    inference = services.config.inference
    await services.on_disk(remove_abandoned)  # of a node that was killed
    start = Starter(inference.vllm, partial(_gateway, services.store.layout))
    async with open_pool(
        memory=inference.memory,
        keep_alive=inference.keep_alive,
        queue=inference.queue,
        start=start,
    ) as pool:
        models = Inference(services, pool)
        nursery.start_soon(models.run)
        try:
            yield models
        finally:
            with trio.CancelScope(shield=True):
                await models.close()


def _gateway(layout: Layout) -> str:
    """The URL of this node's gateway; empty while it has none."""
    try:
        return layout.gateway.read_text().strip()
    except OSError:
        return ""


def _services(
    config: Config,
    store: Store,
    seed: bytes,
    keyring: Keyring,
    network: Libp2pNetwork,
    server: DataServer,
    paces: Paces,
) -> Services:
    """The parts of a node, joined."""
    on_disk, knowledge = DiskThreads(DISK_THREADS), knowledge_of(store, config)
    control = ControlClient(network, agent=AGENT)
    greeter = Greeter(network, control, config.swarm.connections, paces.down)
    announcer = Announcer(network, lambda who: on_disk(head_record(store), who))
    withdrawals = Withdrawals(store, knowledge, announcer.forget)
    spreading = Spreading(
        store, knowledge, withdrawals, on_disk, network=network, gossip=network, control=control
    )
    announcer.when_changed(spreading.changed)
    return Services(
        config=config,
        now=unix_time,
        store=store,
        keyring=keyring,
        knowledge=knowledge,
        network=network,
        records=network,
        control=control,
        neighbours=Neighbours(network, network, greeter.source),
        acquaintances=Acquaintances(network, network.remote_host),
        web_seeds=_web_seeds(config, paces.down),
        domains=Domains(store, knowledge, unix_time, enabled=config.trust.check_domains),
        announcer=announcer,
        withdrawals=withdrawals,
        spreading=spreading,
        traffic=Traffic(Meter(time.monotonic), Meter(time.monotonic), paces),
        on_disk=on_disk,
        data_port=server.port,
        uploads=lambda: server.connections,
        hashing_waits=Bell(),
        bringing=Turns(),
        audit=audit_of(store, seed, unix_time, on_disk),
        signing=trio.Lock(),
    )


def _web_seeds(config: Config, down: Throttle) -> WebSeeds:
    swarm = config.swarm
    return WebSeeds(swarm.web_seeds, connections=swarm.connections, down=down)


def _answer_peers(
    services: Services, library: Library, tickets: Tickets, server: DataServer
) -> None:
    """What peers may ask over the control plane."""
    ControlServer(
        library,
        tickets,
        data_port=services.data_port,
        agent=AGENT,
        acquaintances=services.acquaintances,
        spreading=services.spreading,
    ).register(services.network)
    streams = StreamServer(library, up=services.traffic.paces.up, slots=server.slots)
    streams.register(services.network)


def _background(
    services: Services, server: DataServer
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """What a node does when nobody asks."""
    return (
        services.announcer.run,
        services.spreading.run,
        services.traffic.paces.obey_schedule,
        Yielding(services.pressure, services.traffic.paces, services.traffic.up).run,
        services.domains.run,
        partial(housekeeping.announce_what_is_here, services),
        partial(housekeeping.look_for_withdrawn, services),
        partial(housekeeping.hash_in_background, services),
        partial(housekeeping.renew_own_head, services),
        partial(housekeeping.follow_other_writers, services),
        partial(housekeeping.join_what_is_told, services),
        partial(housekeeping.drop_old_parts, services),
        partial(housekeeping.drop_idle_uploads, services),
        partial(housekeeping.drop_old_proposals, services),
        partial(housekeeping.remember_peers, services),
        partial(housekeeping.meet_again, services, REDIAL),
        partial(housekeeping.measure_uploads, services, lambda: server.bytes_sent),
    )


def unix_time() -> int:
    """The clock of this machine, in seconds."""
    return int(time.time())


def check_record(key: str, record: bytes) -> None:
    """The DHT's validator: a head that holds by itself, under its own key, or an error."""
    check_head(key, record)


class Node:
    """A running node. Every method may be called from any trio task of its run."""

    def __init__(
        self, services: Services, network: Libp2pNetwork, inference: Inference, hub: HubDesk
    ) -> None:
        self._services, self._network = services, network
        shared = services.pressure.shared(no_progress)
        self._inspector = Inspector(services.store, services.knowledge, shared)
        self.trust = Trust(services)
        self.bundles = Bundles(services)
        self.quarantine = QuarantineDesk(services)
        self.proposals = ProposalDesk(services)
        self.own_identity = OwnIdentity(services)
        self.inference = inference
        self.hub = hub
        self._started = trio.current_time()

    @property
    def identity(self) -> Identity:
        """Who this node is and where it can be dialled."""
        publisher, alias = self._inspector.own()
        claims, network = self._inspector.own_claims(), self._network
        return Identity(
            network.peer_id,
            publisher,
            alias,
            network.addresses(),
            claims.name,
            claims.domain,
            recipient_of(self._services),
        )

    async def status(self) -> Status:
        """What is going on now."""
        services, store = self._services, self._services.store
        limits = services.traffic.paces.in_force
        listen = services.config.network.data_listen
        return Status(
            peers=len(self._network.peers()),
            repos=await services.on_disk(store.repos.count),
            bytes=await services.on_disk(store.blobs.total_bytes),
            transfers=services.traffic.pulls + services.uploads(),
            up_rate=services.traffic.up.rate(),
            down_rate=services.traffic.down.rate(),
            announce_lag=services.announcer.lag(),
            peer_id=self._network.peer_id,
            data_address=str(Endpoint(listen.host, services.data_port)),
            host_restarts=self._network.restarts,
            up_limit=limits.up,
            down_limit=limits.down,
            up_limit_per_peer=limits.up_per_peer,
            down_limit_per_peer=limits.down_per_peer,
            uptime=trio.current_time() - self._started,
        )

    async def peers(self) -> tuple[PeerInfo, ...]:
        """Who is connected now."""
        return tuple(
            PeerInfo(
                peer.peer_id,
                peer.addresses,
                self._network.peer_agent(peer.peer_id),
                self._services.neighbours.is_direct(peer.peer_id),
            )
            for peer in self._network.peers()
        )

    async def connect(self, multiaddr: str) -> PeerInfo:
        """Dial a peer and stay connected. Raises `UsageError`, `RemoteError`, `TooSlowError`."""
        peer = await self._network.connect_multiaddr(multiaddr)
        self._services.neighbours.welcome(peer.peer_id)
        return PeerInfo(peer.peer_id, peer.addresses, self._network.peer_agent(peer.peer_id))

    async def publish(self, request: PublishRequest, report: Report) -> Published:
        """See `p2phub.node.publish`."""
        return await publish(self._services, request, report)

    async def pull(self, request: PullRequest, report: Report) -> Pulled:
        """See `p2phub.node.pull` and `p2phub.node.upstream_pull`."""
        return await pull_by_name(self._services, self.hub, request, report)

    async def adopt(self, request: AdoptRequest, report: Report) -> CacheAdopted:
        """See `p2phub.node.adopting`."""
        return await adopt(self._services, request, report)

    async def resolve(self, reference: str) -> Named:
        """Which release a reference names now: see `p2phub.node.ranges`."""
        return await what_it_names(self._services, reference)

    async def bring_ranges(self, request: PartRequest, report: Report) -> PartHere:
        """See `p2phub.node.ranges`."""
        return await bring_ranges(self._services, request, report)

    async def read(self, request: PartRequest) -> bytes:
        """See `p2phub.node.ranges`."""
        return await read_ranges(self._services, request)

    async def search(self, query: SearchQuery) -> tuple[Hit, ...]:
        """Look in the local catalog; asks nobody."""
        return await self._services.on_disk(self._inspector.search, query)

    async def info(self, reference: str) -> RepoInfo:
        """What is known here of a release. Raises `NotFoundError`."""
        return await self._services.on_disk(self._inspector.info, reference)

    async def ls(self, reference: str | None) -> Sequence[RepoRow] | Sequence[FileRow]:
        """The repos on this disk, or the files of one."""
        return await self._services.on_disk(self._inspector.ls, reference)

    async def verify(self, reference: str | None, report: Report) -> tuple[Verification, ...]:
        """Check everything again, to the last byte; asks nobody."""
        return await self._services.on_disk(self._inspector.verify, reference, report)

    async def watch(self, report: Report) -> None:
        """Report every release here that is refused from now on, for ever."""
        with self._services.withdrawals.listen() as news:
            async for withdrawn in news:
                report(withdrawn)

    async def remove(self, reference: str) -> Removed:
        """See `p2phub.node.remove`."""
        return await remove(self._services, reference)
