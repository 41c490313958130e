"""News of publishers spread: new heads, revocations, withdrawals and proofs of forks.

Three ways carry the same documents. A node that has news *tells* every peer it is connected to, at
once; it begins a message of *gossip* for those further away; and on every connection, and every few
minutes, it asks the peer for what is newer there (*catalog exchange*), so that who was away misses
nothing. What comes by any way is offered to the gate, and only what was new is handed on.

Rules it keeps:
 * of publishers that are not known here nothing is kept and nothing is handed on;
 * a peer has an allowance of documents, and garbage costs it more than the truth; who says too much
   is refused, and pays for itself alone;
 * nobody is waited for: each peer has a queue of its own, and one that takes nothing loses what
   does not fit in and hears of it in the next exchange;
 * peers that do not say that they can are not asked;
 * whoever serves a release that was taken back is told (`withdrawals`).

Gossip may lose messages and larger documents do not fit into it; telling and asking do not depend
on it.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from p2phub.errors import P2PHubError, RefusedError, RemoteError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import KIB, MAX_GOSSIP, MAX_MESSAGE, MAX_TOLD
from p2phub.formats.messages import decode_request, encode_message
from p2phub.formats.news import CatalogReply, CatalogRequest, TellRequest
from p2phub.formats.publisher import Head
from p2phub.network.control_client import ControlClient
from p2phub.node.catalog_exchange import CatalogExchange
from p2phub.node.completing import Completing
from p2phub.node.hearsay import Hearsay, News, OnDisk, Taken
from p2phub.node.knowledge import Knowledge
from p2phub.node.withdrawals import Withdrawals
from p2phub.protocol.allowance import Allowances
from p2phub.protocol.ports import ControlNetwork, Gossip
from p2phub.store.store import Store

log = logging.getLogger(__name__)

DOCUMENTS_A_SECOND: Final = 20.0
"""That one peer may tell in the long run, by telling and by gossip together."""
DOCUMENTS_AT_ONCE: Final = 512.0
"""That it may tell at once."""
COST_OF_GARBAGE: Final = 10.0
"""So many documents a refused one counts for, beside itself."""
COST_OF_OLD: Final = 5.0
"""The same for one that is known, but comes in other bytes or after a restart: the gate has to look
at it all the same."""
QUESTIONS_A_SECOND: Final = 4.0
QUESTIONS_AT_ONCE: Final = 512.0
"""Catalog exchanges that a peer may ask for: 16 publishers are one, 64 documents to skip another.
"""
QUEUE: Final = 512
"""Documents that wait for one peer."""
GOSSIPED: Final = 32
"""Documents of one batch that are gossiped; of more (after a long absence), none is."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at who is connected."""
PROOFS_EVERY: Final = 5.0
"""Seconds between two looks for forks that came to light."""
EXCHANGE_EVERY: Final = 300.0
"""Seconds between two catalog exchanges with a peer, give or take a fifth."""
GREET_AGAIN: Final = (1.0, 5.0, 30.0, 300.0)
"""Seconds until a peer that did not answer is greeted again; the last one from then on."""
REST: Final = 10.0
"""Seconds for which a peer is told nothing after it refused to hear more."""
TELL_AGAIN: Final = 2.0
"""Seconds until a peer that did not answer is told again."""
TRIES: Final = 5
"""So often a peer is told the same; then it is left to the next exchange."""
_ROOM: Final = MAX_MESSAGE - 16 * KIB
"""Bytes of documents in one message."""


@dataclass(slots=True, eq=False)
class _Peer:
    """A connected peer, and what waits for it."""

    peer_id: str
    queue: list[bytes] = field(default_factory=list)
    bell: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def put(self, documents: Iterable[bytes]) -> None:
        self.queue += [each for each in documents if each not in self.queue]
        del self.queue[:-QUEUE]
        self.bell.set()

    def put_back(self, documents: Sequence[bytes]) -> None:
        """What was taken and not heard; it goes first the next time."""
        self.queue[:0] = documents

    def take(self) -> list[bytes]:
        """As many as fit into one message, the oldest first."""
        taken: list[bytes] = []
        room = _ROOM
        while self.queue and len(taken) < MAX_TOLD and len(self.queue[0]) <= room:
            room -= len(self.queue[0])
            taken.append(self.queue.pop(0))
        return taken


class Spreading:
    """A `control.Spreading`, and the task that tells others. `run` it for as long as the node runs,
    and hand it to the network before that does.
    """

    def __init__(
        self,
        store: Store,
        knowledge: Knowledge,
        withdrawals: Withdrawals,
        on_disk: OnDisk,
        *,
        network: ControlNetwork,
        gossip: Gossip,
        control: ControlClient,
    ) -> None:
        self._network, self._gossip, self._control = network, gossip, control
        self._withdrawals = withdrawals
        self._hearsay = Hearsay(store, knowledge, on_disk)
        self._exchange = CatalogExchange(store, knowledge, on_disk, control)
        self._completing = Completing(knowledge, on_disk, network, control)
        self._told = Allowances(DOCUMENTS_A_SECOND, DOCUMENTS_AT_ONCE)
        self._asked = Allowances(QUESTIONS_A_SECOND, QUESTIONS_AT_ONCE)
        self._peers: dict[str, _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._when_head: list[Callable[[PublisherId], None]] = []
        gossip.listen(self.judge)

    def when_head(self, listener: Callable[[PublisherId], None]) -> None:
        """Call `listener` whenever a new head of a publisher was heard of."""
        self._when_head.append(listener)

    # --- what we begin

    async def publish(self, documents: Sequence[bytes]) -> None:
        """Spread heads and notices that were made here and that our own gate has taken, packed.

        Returns before anybody has heard them.
        """
        for data in documents:
            self._hearsay.remember(data)
        self._exchange.forget()
        await self._hand_on(documents, besides="")

    def changed(self, publisher: PublisherId) -> None:
        """There is a new head of a publisher here, or something was taken back; spread what was not
        spread since the start. Nobody waits for it.
        """
        if self._nursery is not None:
            self._nursery.start_soon(self._spread_all_of, publisher)

    async def _spread_all_of(self, publisher: PublisherId) -> None:
        try:
            documents = await self._hearsay.unsaid(publisher)
        except P2PHubError as error:
            log.warning("what is new of %s cannot be read: %s", publisher.short, error)
            return
        await self.publish(documents)

    # --- what others say (a `control.Spreading`, and the judge of gossip)

    async def told(self, peer: str, documents: Sequence[bytes]) -> None:
        """`peer` says that these are new. Raises `RefusedError` if it says too much."""
        if not self._told.take(peer, len(documents), trio.current_time()):
            raise RefusedError("you tell more than is heard here", remedy="Tell less.")
        await self._take(peer, documents)

    async def judge(self, peer: str, message: bytes) -> bool:
        """Whether a message of gossip may go further: all of it is right, and was new."""
        try:
            request = decode_request(message)
        except RemoteError:
            self._told.charge(peer, COST_OF_GARBAGE, trio.current_time())
            return False
        if not isinstance(request, TellRequest):
            return False
        if not self._told.take(peer, len(request.documents), trio.current_time()):
            return False
        taken = await self._take(peer, request.documents, by_gossip=True)
        return len(taken.news) == len(request.documents)

    async def newer(self, peer: str, request: CatalogRequest) -> CatalogReply:
        """What is newer here than what `peer` knows. Raises `RefusedError` if it asks too often."""
        cost = 1 + len(request.known) / 16 + request.skip / 64
        if not self._asked.take(peer, cost, trio.current_time()):
            raise RefusedError("you ask more often than is answered here", remedy="Ask later.")
        return await self._exchange.answer(request)

    async def _take(
        self,
        peer: str,
        documents: Sequence[bytes],
        *,
        by_gossip: bool = False,
        asked: bool = False,
    ) -> Taken:
        taken = await self._hearsay.take(documents)
        if not asked:
            cost = COST_OF_GARBAGE * taken.refused + COST_OF_OLD * taken.old
            self._told.charge(peer, cost, trio.current_time())
        await self._spread(taken.news, peer, again=not by_gossip)
        self._shake(taken.shaken)
        return taken

    async def _spread(self, news: Sequence[News], teller: str, *, again: bool = True) -> None:
        """Hand on what was new here. `again`: by gossip, too."""
        if not news:
            return
        self._exchange.forget()
        await self._hand_on([each.data for each in news], besides=teller, by_gossip=again)
        for each in news:
            if each.type == Head.TYPE:
                self._completing.want(each.publisher, teller)
                for listener in self._when_head:
                    listener(each.publisher)

    def _shake(self, publishers: Iterable[PublisherId]) -> None:
        """Let whoever serves something of these publishers look again; nobody waits for it."""
        if self._nursery is not None:
            for publisher in publishers:
                self._nursery.start_soon(self._check, publisher)

    async def _check(self, publisher: PublisherId) -> None:
        try:
            await self._withdrawals.check(publisher)
        except P2PHubError as error:
            log.warning("the releases of %s cannot be looked at: %s", publisher.short, error)

    async def _hand_on(
        self, documents: Sequence[bytes], *, besides: str, by_gossip: bool = True
    ) -> None:
        self._look_around()
        for peer_id, peer in self._peers.items():
            if peer_id != besides:
                peer.put(documents)
        if not by_gossip or len(documents) > GOSSIPED:
            return
        for data in documents:
            message = encode_message(TellRequest((data,)))
            if len(message) <= MAX_GOSSIP:
                with suppress(P2PHubError):  # it is told as well
                    await self._gossip.spread(message)

    # --- peers

    async def run(self) -> None:
        """Accompany every peer that is connected, for ever."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._completing.run)
            self._nursery.start_soon(self._look_for_forks)
            while True:
                self._look_around()
                await trio.sleep(LOOK_EVERY)

    def _look_around(self) -> None:
        """Begin with peers that have come, end with those that have gone."""
        if self._nursery is None:
            return
        connected = {peer.peer_id for peer in self._network.peers()}
        for peer_id in connected - self._peers.keys():
            peer = self._peers[peer_id] = _Peer(peer_id)
            self._nursery.start_soon(self._accompany, peer)
        for peer_id in self._peers.keys() - connected:
            self._peers.pop(peer_id).scope.cancel()

    async def _look_for_forks(self) -> None:
        while True:
            proofs = await self._hearsay.proofs()
            await self._spread(proofs, teller="")
            self._shake({each.publisher for each in proofs})
            await trio.sleep(PROOFS_EVERY)

    async def _accompany(self, peer: _Peer) -> None:
        with peer.scope:
            capabilities = await self._greet(peer)
            async with trio.open_nursery() as nursery:
                if "tell" in capabilities:
                    nursery.start_soon(self._tell, peer)
                if "catalog" in capabilities:
                    nursery.start_soon(self._ask, peer)

    async def _greet(self, peer: _Peer) -> Sequence[str]:
        tries = 0
        while True:
            try:
                return (await self._control.hello(peer.peer_id)).capabilities
            except P2PHubError as error:
                log.debug("%s does not answer: %s", peer.peer_id, error)
            await trio.sleep(GREET_AGAIN[min(tries, len(GREET_AGAIN) - 1)])
            tries += 1

    async def _tell(self, peer: _Peer) -> None:
        failures = 0
        while True:
            documents = peer.take()
            if not documents:
                await peer.bell.wait()
                peer.bell = trio.Event()
                continue
            try:
                await self._control.tell(peer.peer_id, documents)
                failures = 0
            except P2PHubError as error:
                log.debug("%s was not told: %s", peer.peer_id, error)
                failures += 1
                if failures < TRIES:
                    peer.put_back(documents)
                await trio.sleep(REST if isinstance(error, RefusedError) else TELL_AGAIN)

    async def _ask(self, peer: _Peer) -> None:
        async def take(documents: Sequence[bytes]) -> Taken:
            return await self._take(peer.peer_id, documents, asked=True)

        while True:
            try:
                await self._exchange.ask(peer.peer_id, take)
            except P2PHubError as error:
                log.debug("%s gave no catalog: %s", peer.peer_id, error)
            await trio.sleep(EXCHANGE_EVERY * random.uniform(0.8, 1.2))
