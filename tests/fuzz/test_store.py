"""Whatever happens to the bytes of an index, a store answers or raises our own error."""

import os
import random
from contextlib import suppress

import pytest

from p2phub.errors import P2PHubError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.protocol.ports import PeerAddress
from p2phub.store.layout import Layout
from p2phub.store.search import Filters
from p2phub.store.store import Store
from p2phub.testing.samples import make_sample

ANN = PublisherId(b"a" * 32)
BIG, SMALL = (make_sample(n, seed=n, piece=100_000) for n in (1_200_000, 500))
PAGE = 4096


def entry(n):
    card = Card(task="task", languages=("en",), tags=("bert", "ünï"))
    return RepoEntry(f"m{n}", "model", {"main": Ref(b"r" * 32, 1)}, card, size=5, created=n)


def release():
    files = tuple(
        FileEntry((name,), each.content.size, sha256(each.data), each.content)
        for name, each in (("a", BIG), ("b", SMALL))
    )
    size = sum(file.size for file in files)
    return Release(
        publisher=ANN.digest, name="m1", kind="model", created=5, files=files, total_size=size
    )


def fill(store):
    for sample in (BIG, SMALL):
        partial = store.partials.open(sample.content, sample.table)
        for index in range(sample.table.count):
            partial.accept(index, memoryview(sample.piece(index)))
        partial.commit()
    store.documents.put_many((bytes([n]) * 32, "head", bytes(99)) for n in range(200))
    store.documents.set_head(ANN, bytes(32), bytes(32), 5)
    store.documents.save_alias("ann", ANN, 1)
    store.documents.set_own_publisher(ANN, [bytes(32)], bytes(32))
    store.peers.remember([PeerAddress("peer", ("/ip4/127.0.0.1/tcp/1",))], 5)
    store.repos.record_many(ANN, [entry(n) for n in range(100)])
    digest = b"d" * 32
    store.repos.record_release(digest, release())
    store.repos.pulling(digest, "main", 1)


READS = {
    "publishers": lambda store: store.documents.publishers(),
    "aliases": lambda store: store.documents.aliases(),
    "own publisher": lambda store: store.documents.own_publisher(),
    "own documents": lambda store: store.documents.own_documents(),
    "head": lambda store: store.documents.head(ANN),
    "document": lambda store: store.documents.get(bytes(32)),
    "peers": lambda store: store.peers.recent(10),
    "local": lambda store: store.repos.local(),
    "held": lambda store: (store.repos.held_releases(), store.repos.held_publishers()),
    "releases": lambda store: store.repos.releases(ANN, "m1"),
    "commit": lambda store: store.repos.find_commit(ANN, "m1", "64"),
    "search": lambda store: store.repos.search("bert"),
    "facet": lambda store: store.repos.search("", Filters(task="task", max_size=9), order="size"),
    "walk": lambda store: store.repos.search(order="name"),
    "blobs": lambda store: (store.blobs.every(), store.blobs.totals(), store.blobs.unhashed()),
    "table": lambda store: store.blobs.table(BIG.content),
    "pieces": lambda store: store.blobs.find_pieces([BIG.table.digest(0)]),
}
WRITES = {
    "number": lambda store: store.documents.next_writer_seq(b"k" * 32),
    "entry": lambda store: store.repos.record(ANN, entry(1000)),
    "removal": lambda store: store.repos.remove(b"d" * 32),
    "drop": lambda store: store.blobs.remove(SMALL.content),
    "publish": lambda store: store.blobs.hash_whole(BIG.content),
}


def flipped(data, chance):
    for _ in range(chance.choice((1, 5, 50, 1000))):
        data[chance.randrange(100, len(data))] = chance.randrange(256)


def torn(data, chance):
    start = chance.randrange(len(data) // PAGE) * PAGE
    data[start : start + PAGE] = chance.choice((bytes(PAGE), chance.randbytes(PAGE)))


def cut(data, chance):
    del data[chance.randrange(len(data)) :]


def swapped(data, chance):
    a, b = (chance.randrange(1, len(data) // PAGE) * PAGE for _ in range(2))
    data[a : a + PAGE], data[b : b + PAGE] = data[b : b + PAGE], data[a : a + PAGE]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    layout = Layout.of(tmp_path_factory.mktemp("fuzz") / "home")
    with Store.open(layout) as store:
        fill(store)
    return layout, layout.index.read_bytes()


@pytest.mark.parametrize("damage", [flipped, torn, cut, swapped])
@pytest.mark.parametrize("read_only", [True, False], ids=["read", "write"])
def test_a_damaged_index(filled, damage, read_only):
    layout, good = filled
    chance = random.Random(f"{damage.__name__} {read_only}")
    answered = 0
    for _ in range(12):
        data = bytearray(good)
        damage(data, chance)
        layout.index.write_bytes(data)
        for suffix in ("-wal", "-shm"):
            layout.index.with_name(layout.index.name + suffix).unlink(missing_ok=True)
        with suppress(P2PHubError), Store.open(layout, read_only=read_only) as store:
            for ask in (READS if read_only else READS | WRITES).values():
                with suppress(P2PHubError):
                    ask(store)
                    answered += 1
            for sample in (BIG, SMALL):
                check_blob(store, sample)
    assert answered > 12 or damage is cut


def check_blob(store, sample):
    """Its bytes are right, or it is not given out."""
    path = store.blobs.path(sample.content)
    if not path.exists():
        path.write_bytes(sample.data)
    with suppress(P2PHubError), store.blobs.opened(sample.content) as fd:
        assert os.pread(fd, sample.content.size + 1, 0) == sample.data
