"""The control plane as the node sees it: one libp2p host that comes back to life when it dies.

`Libp2pNetwork` implements `ports.ControlNetwork`, `ports.Records` and `ports.Gossip`. Its handlers,
its port and its peer id outlive a death of the host; streams and connections do not, and whoever
uses one gets a `RemoteError`. The data plane has its own sockets and goes on meanwhile.

Rules it keeps
- libp2p is imported when `run` is called, not before: half a second that other commands save.
- A port that is taken at the first start is an error; later it is waited for.
- libp2p's loggers are silent unless our own logger `p2phub.network.libp2p` is at DEBUG: a dead dial
  is everyday life and no four lines on standard error.

It leaves remembering peers over restarts of the process to the node.

>>> settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",))
>>> network = Libp2pNetwork(bytes(32), settings, validate=print, select=len)
>>> network.state, network.peer_id
('starting', '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN')
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import trio

from p2phub.errors import P2PHubError, PortInUseError, RemoteError, UsageError, plain_errors
from p2phub.network.libp2p_addresses import parse_peer
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import GossipJudge, PeerAddress, Stream, StreamHandler

if TYPE_CHECKING:
    from p2phub.network.libp2p_session import Session

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between a death of the host and its next life."""
HEALTHY: Final = 60.0
"""Seconds of life after which earlier deaths are forgotten."""
State = Literal["starting", "running", "restarting"]
log = logging.getLogger("p2phub.network.libp2p")

__all__ = ["Libp2pNetwork", "NetworkSettings", "peer_id_of_seed"]


class Libp2pNetwork:
    """Build it, give it handlers, and start `run` in a nursery."""

    def __init__(
        self,
        seed: bytes,
        settings: NetworkSettings,
        *,
        validate: Callable[[str, bytes], None],
        select: Callable[[Sequence[bytes]], int],
    ) -> None:
        self._seed, self._settings = seed, settings
        self._validate, self._select = validate, select
        self._peer_id = peer_id_of_seed(seed)
        self._handlers: dict[str, StreamHandler] = {}
        self._judge: GossipJudge | None = None
        self._listen: Sequence[str] = settings.listen
        self._addresses: tuple[str, ...] = ()
        self._session: Session | None = None
        self.state: State = "starting"
        self.restarts = 0

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Live until cancelled. Started once we listen and have tried the bootstraps."""
        pause, started = FIRST_PAUSE, False

        def on_start() -> None:
            nonlocal started
            if not started:
                task_status.started()
            started = True

        while True:
            born = trio.current_time()
            try:
                with plain_errors():
                    await self._live(on_start)
            except PortInUseError:
                if not started:
                    raise
                log.warning("our port is taken; trying again in %g s", pause)
            except Exception as error:
                if not started and isinstance(error, P2PHubError):
                    raise
                log.error("the libp2p host died and is restarted in %g s", pause, exc_info=error)
            pause = FIRST_PAUSE if trio.current_time() - born > HEALTHY else pause
            self.state = "restarting"
            self.restarts += 1
            await trio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _live(self, on_start: Callable[[], None]) -> None:
        from p2phub.network.libp2p_session import open_session  # half a second of imports

        _quiet_libp2p()  # after the import, which has its own idea of logging
        try:
            async with open_session(
                self._seed,
                self._settings,
                self._listen,
                self._handlers,
                self._validate,
                self._select,
                self._judge,
            ) as session:
                self._session, self._listen = session, session.listening()
                self.addresses()  # remembered for the time after
                await session.upkeep.start()
                self.state = "running"
                on_start()
                await session.wait_until_it_ends()
        finally:
            self._session = None

    # --- ports.ControlNetwork

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def addresses(self) -> tuple[str, ...]:
        own = self._session.own() if self._session is not None else None
        if own is not None and own.addresses:  # a host that is going down listens no more
            self._addresses = tuple(f"{each}/p2p/{own.peer_id}" for each in own.addresses)
        return self._addresses

    def peers(self) -> tuple[PeerAddress, ...]:
        return self._session.peers() if self._session is not None else ()

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler
        if self._session is not None:
            self._session.serve(protocol, handler)

    async def connect(self, peer: PeerAddress) -> None:
        await self._alive().connect(peer)

    async def connect_multiaddr(self, text: str) -> PeerAddress:
        """Connect to a full multiaddr as people pass it around. Raises `UsageError` as well."""
        peer = parse_peer(text)
        if peer.peer_id == self.peer_id:
            raise UsageError("that is the address of this node itself")
        await self.connect(peer)
        return peer

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        return await self._alive().open_stream(peer_id, protocol)

    async def disconnect(self, peer_id: str) -> None:
        await self._alive().disconnect(peer_id)

    def remote_host(self, peer_id: str) -> str | None:
        """The IP we see a connected peer at: where its data port is, if nowhere else."""
        return self._session.remote_host(peer_id) if self._session is not None else None

    def peer_agent(self, peer_id: str) -> str | None:
        """What a connected peer says it is; None until it has said so."""
        known = self._session.known.get(peer_id) if self._session is not None else None
        return known.agent if known is not None else None

    # --- ports.Records

    async def put_head(self, key: str, record: bytes) -> int:
        return await self._alive().records.put_head(key, record)

    async def get_heads(self, key: str) -> tuple[bytes, ...]:
        return await self._alive().records.get_heads(key)

    async def provide(self, digest: bytes) -> int:
        return await self._alive().records.provide(digest)

    async def providers(self, digest: bytes, enough: int) -> tuple[PeerAddress, ...]:
        return await self._alive().records.providers(digest, enough)

    # --- ports.Gossip

    def listen(self, judge: GossipJudge) -> None:
        self._judge = judge

    async def spread(self, message: bytes) -> None:
        gossip = self._alive().gossip
        if gossip is None:
            raise RemoteError("this node does not gossip", remedy="Listen first, then run.")
        await gossip.spread(message)

    def _alive(self) -> "Session":
        if self._session is None:
            raise RemoteError(
                f"the network host is {self.state}", remedy="Try again in a few seconds."
            )
        return self._session


def _quiet_libp2p() -> None:
    """Keep the library's loggers off standard error, unless somebody is looking for a fault."""
    library, is_wanted = logging.getLogger("libp2p"), log.isEnabledFor(logging.DEBUG)
    library.propagate = is_wanted  # some of its loggers have levels of their own
    library.setLevel(logging.NOTSET if is_wanted else logging.CRITICAL + 1)
