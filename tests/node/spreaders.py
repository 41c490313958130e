"""Nodes of tests that do nothing but spread news: a real store and a real gate each, in one world
without sockets and in virtual time.
"""

from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.network.control import CONTROL, ControlServer
from p2phub.network.control_client import ControlClient
from p2phub.network.tickets import Tickets
from p2phub.node.knowledge import Knowledge
from p2phub.node.library import Library
from p2phub.node.spreading import Spreading
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.networks import MemoryNetwork, MemoryWorld
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import is_envelope, unpack
from tests.network.loopback import seed, select

NOW = CREATED + 1000


async def inline(work, *arguments, **options):
    """The disk of a world in which no time passes while a thread works."""
    await trio.lowlevel.checkpoint()
    return work(*arguments, **options)


class QuickServer(ControlServer):
    """A control server without threads."""

    async def _in_thread(self, work, peer, argument):
        await trio.lowlevel.checkpoint()
        return work(peer, argument)


class Watchman:
    """Withdrawals that note for whom they were to look."""

    def __init__(self) -> None:
        self.checked: list[PublisherId] = []

    async def check(self, publisher):
        self.checked.append(publisher)
        return ()


class House:
    """One node. `heard`: the documents that its peers told it, one list a message."""

    def __init__(self, world: MemoryWorld, home: Path, name: str, *, deaf: bool = False) -> None:
        self.store = Store.open(Layout.of(home))
        self.network = MemoryNetwork(
            world, seed(name), validate=lambda key, record: None, select=select, agent=name
        )
        self.knowledge = Knowledge(self.store, TrustedCatalog(), lambda: NOW)
        self.control = ControlClient(self.network, agent=name)
        self.watchman = Watchman()
        self.spreading = Spreading(
            self.store,
            self.knowledge,
            self.watchman,
            inline,
            network=self.network,
            gossip=self.network,
            control=self.control,
        )
        self.heard: list[tuple[bytes, ...]] = []
        self.asked = 0
        self.server = QuickServer(
            Library(self.store),
            Tickets(),
            data_port=0,
            agent=name,
            spreading=None if deaf else self,
        )
        self.network.handle(CONTROL, self.server.serve)

    # --- control.Spreading, with a look at what comes in

    async def told(self, peer, documents):
        self.heard.append(documents)
        await self.spreading.told(peer, documents)

    async def newer(self, peer, request):
        self.asked += 1
        return await self.spreading.newer(peer, request)

    # --- what a test asks of it

    @property
    def id(self) -> str:
        return self.network.peer_id

    def pin(self, lab: FakePublisher, alias: str = "lab") -> None:
        self.store.documents.save_alias(alias, lab.publisher, NOW)

    def head(self, lab: FakePublisher) -> bytes | None:
        return self.store.documents.head(lab.publisher)

    def knows(self, lab: FakePublisher, head) -> bool:
        return self.head(lab) == head.digest

    def noticed(self, lab: FakePublisher) -> set[bytes]:
        return set(self.knowledge.notices(lab.publisher))

    async def publish(self, lab: FakePublisher, publication) -> None:
        """As its own: keep everything, then spread the head."""
        self.pin(lab, "own")
        self.keep(lab, publication)
        await self.spreading.publish([publication.head.pack()])

    def keep(self, lab: FakePublisher, publication) -> None:
        self.knowledge.learn_head(lab.publisher, publication.head.pack())
        for data in publication.packed[1:]:
            self.store.documents.put(*_described(data), data)

    async def take_back(self, notice) -> None:
        self.knowledge.learn_notice(notice.pack())
        await self.spreading.publish([notice.pack()])

    async def meet(self, other: "House") -> None:
        await self.network.connect(other.network.here())


def _described(data: bytes) -> tuple[bytes, str]:
    """The digest and the type of a document."""
    if is_envelope(data):
        envelope = unpack(data)
        return envelope.digest, envelope.type
    return sha256(data), "page"


@asynccontextmanager
async def living(*houses):
    """Houses whose nodes run."""
    async with trio.open_nursery() as nursery:
        for house in houses:
            await nursery.start(house.network.run)
            nursery.start_soon(house.spreading.run)
        yield
        nursery.cancel_scope.cancel()
