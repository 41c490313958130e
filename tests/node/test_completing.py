"""What a new head leads to is fetched: all of it, from whoever has it, within limits."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from p2phub.errors import RemoteError
from p2phub.formats.messages import DocumentsReply
from p2phub.formats.publisher import Page
from p2phub.node import completing
from p2phub.node.completing import AGAIN, Completing
from p2phub.node.knowledge import Knowledge
from p2phub.protocol.ports import PeerAddress
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from tests.node.spreaders import NOW, inline


def catalog(repos: int, seed: int = 3):
    """A publisher with so many repos, and everything that its head leads to, by digest."""
    lab = FakePublisher(seed)
    first = lab.publish("repo-00000", {"README.md": b"x"})
    entry = lab.entries["repo-00000"]
    for number in range(1, repos):
        name = f"repo-{number:05}"
        lab.entries[name] = replace(entry, name=name)
    publication = lab.publish("repo-00000", {"README.md": b"y"})
    return lab, publication if repos > 1 else first


LARGE, LARGE_PUBLICATION = catalog(3000)
SMALL, SMALL_PUBLICATION = catalog(1, seed=4)


class Peers:
    """Peers that hand out documents; `has[peer]`: by digest. `silent` ones fail."""

    def __init__(self) -> None:
        self.has: dict[str, dict[bytes, bytes]] = {}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, int]] = []

    def peers(self):
        return tuple(PeerAddress(peer, ()) for peer in self.has)

    async def documents(self, peer, digests):
        await trio.sleep(0.01)
        digests = list(digests)
        self.asked.append((peer, len(digests)))
        if peer in self.silent:
            raise RemoteError("gone")
        found = {each: self.has[peer][each] for each in digests if each in self.has[peer]}
        return DocumentsReply(dict(sorted(found.items())))


@pytest.fixture
def clock():
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def knowledge(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield Knowledge(store, TrustedCatalog(), lambda: NOW)


@pytest.fixture
def peers():
    return Peers()


@pytest.fixture
async def task(nursery, knowledge, peers):
    made = Completing(knowledge, inline, peers, peers)
    nursery.start_soon(made.run)
    return made


def is_whole(knowledge, lab) -> bool:
    return knowledge.state(lab.publisher) is not None and knowledge.lacking(lab.publisher) is None


async def test_every_page_comes_from_the_teller(task, knowledge, peers, clock):
    assert len(LARGE_PUBLICATION.pages) > 3
    peers.has = {"other": {}, "teller": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(10)
    assert is_whole(knowledge, LARGE)
    assert len(knowledge.entries(LARGE.publisher)) == 3000
    assert {peer for peer, _ in peers.asked} == {"teller"}
    assert len(peers.asked) < 8


@pytest.mark.parametrize("more", [0, 1])
async def test_so_many_pages_are_asked_for_at_once_and_no_more(
    task, knowledge, peers, clock, monkeypatch, more
):
    leaves = sum(not Page.from_payload(page).children for page in LARGE_PUBLICATION.pages)
    monkeypatch.setattr(completing, "_AT_ONCE", leaves - more)
    peers.has = {"teller": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(10)
    assert is_whole(knowledge, LARGE)
    counts = [count for _, count in peers.asked]
    assert counts[-1 - more :] == [leaves - more] + [1] * more
    assert sum(counts) == 1 + len(LARGE_PUBLICATION.pages)


async def test_what_is_here_is_not_fetched_again(task, knowledge, peers, clock):
    peers.has = {"teller": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(10)
    peers.asked.clear()
    task.want(LARGE.publisher, "teller")
    await trio.sleep(10)
    assert peers.asked == []


async def test_others_are_asked_for_what_the_teller_lacks(task, knowledge, peers, clock):
    half = dict(list(LARGE.documents.items())[::2])
    peers.has = {"teller": half, "other": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(30)
    assert is_whole(knowledge, LARGE)


async def test_a_liar_and_a_silent_peer_do_not_matter(task, knowledge, peers, clock):
    lies = {digest: data[:-1] + b"!" for digest, data in SMALL.documents.items()}
    peers.has = {"liar": lies, "silent": {}, "honest": SMALL.documents}
    peers.silent = {"silent"}
    knowledge.learn_head(SMALL.publisher, SMALL_PUBLICATION.head.pack())
    task.want(SMALL.publisher, "liar")
    await trio.sleep(30)
    assert is_whole(knowledge, SMALL)


async def test_what_nobody_has_is_tried_a_few_times_and_left(task, knowledge, peers, clock):
    peers.has = {"teller": {}}
    knowledge.learn_head(SMALL.publisher, SMALL_PUBLICATION.head.pack())
    task.want(SMALL.publisher, "teller")
    await trio.sleep(3600)
    assert len(peers.asked) == 1 + len(AGAIN)
    assert not task._waiting


async def test_few_peers_are_asked_for_one_document(task, knowledge, peers, clock):
    peers.has = {f"peer-{number}": {} for number in range(50)}
    knowledge.learn_head(SMALL.publisher, SMALL_PUBLICATION.head.pack())
    task.want(SMALL.publisher, "peer-7")
    await trio.sleep(0.1)
    assert len(peers.asked) == completing.ASKED
    assert peers.asked[0] == ("peer-7", 1)


@pytest.mark.parametrize(("most", "whole"), [(4, True), (3, False)])
async def test_a_catalog_has_as_many_pages_as_may_be(
    task, knowledge, peers, clock, monkeypatch, most, whole
):
    pages = len(LARGE_PUBLICATION.pages)
    monkeypatch.setattr(completing, "MOST_DOCUMENTS", pages - 4 + most)
    monkeypatch.setattr(completing, "_AT_ONCE", 1)
    peers.has = {"teller": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(0.9)
    assert is_whole(knowledge, LARGE) == whole


@pytest.mark.parametrize(("more", "fetched"), [(0, 2), (1, 3)])
async def test_a_catalog_has_as_many_bytes_as_may_be(
    task, knowledge, peers, clock, monkeypatch, more, fetched
):
    root = len(LARGE_PUBLICATION.pages[0])
    monkeypatch.setattr(completing, "MOST_BYTES", root + more)
    monkeypatch.setattr(completing, "_AT_ONCE", 1)
    peers.has = {"teller": LARGE.documents}
    knowledge.learn_head(LARGE.publisher, LARGE_PUBLICATION.head.pack())
    task.want(LARGE.publisher, "teller")
    await trio.sleep(0.9)
    assert len(peers.asked) == fetched  # the index, its root page, and what is allowed beyond
    assert not is_whole(knowledge, LARGE)


@pytest.mark.parametrize(("count", "left"), [(1024, 1024), (1025, 1024)])
async def test_so_many_publishers_wait_and_no_more(knowledge, peers, clock, count, left):
    made = Completing(knowledge, inline, peers, peers)
    everybody = [FakePublisher(1).publisher.__class__(n.to_bytes(32, "big")) for n in range(count)]
    for publisher in everybody:
        made.want(publisher, "teller")
    assert len(made._waiting) == left
    assert everybody[-1] in made._waiting


async def test_a_publisher_that_forked_or_is_unknown_is_left(task, knowledge, peers, clock):
    peers.has = {"teller": SMALL.documents}
    task.want(SMALL.publisher, "teller")
    await trio.sleep(100)
    assert peers.asked == []
