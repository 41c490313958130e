"""Homes of one publisher: each with a release key of its own, all under the same root.

Keys come from a `FakePublisher`, so that a test can sign other delegations as its root would.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from p2phub.node.node import Node
from p2phub.node.offline import layout_of
from p2phub.node.other_writers import hear_other_writers
from p2phub.node.own_index import join_writers, merge_if_behind
from p2phub.node.resolve import catch_up
from p2phub.node.services import Services
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import envelope
from tests.scenarios.nodes import model, settings


def become(home: Path, lab: FakePublisher, writer: str = "release", **more: str) -> Path:
    """Make `home` a node of `lab` that signs with the release key called `writer`.

    `more`: other keys by the name under which they are kept, as `lab` calls them.
    """
    layout = layout_of(settings(), home)
    with Store.open(layout) as store:
        keyring = Keyring(layout)
        for name, key in {"release": writer, **more}.items():
            if keyring.load(name) is None:
                keyring.save(name, lab.key(key).seed)
        adopt(store, lab)
    return home


def adopt(store: Store, lab: FakePublisher) -> None:
    """Let a store know the roots and the delegation that `lab` has now."""
    papers = [*lab.roots, lab.delegation]
    store.documents.put_many((each.digest, each.type, each.pack()) for each in papers)
    roots = [root.digest for root in lab.roots]
    store.documents.set_own_publisher(lab.publisher, roots, lab.delegation.digest)


def copy_of(home: Path, other: Path, *, same_node: bool = False) -> Path:
    """A copy of a whole home, as a backup makes one; by default its node gets a key of its own."""
    shutil.copytree(home, other, ignore=shutil.ignore_patterns("run", "lock"))
    if not same_node:
        (other / "keys" / "node.key").unlink(missing_ok=True)
    return other


def services_of(running: Node) -> Services:
    return running._services


def tips(running: Node) -> Sequence[bytes]:
    return services_of(running).store.tips.all()


def index_of(running: Node, lab: FakePublisher) -> bytes:
    """The digest of the newest index that a node believes."""
    state = services_of(running).knowledge.state(lab.publisher)
    assert state is not None
    assert not state.forked, state.forked
    return state.index


def folder_of(tmp_path, seed):
    return model(tmp_path / f"model-{seed}", seed=seed)


async def hear(running, lab):
    """Learn what the others wrote, and join it where ours is not in it."""
    await hear_other_writers(services_of(running), lab.publisher)
    return await join_writers(services_of(running))


async def obey(running, lab):
    """Learn of newer heads only, and do as whoever lost does: what gossip brings about."""
    await catch_up(services_of(running), lab.publisher)
    return await merge_if_behind(services_of(running))


async def settle(nodes, lab, how=hear):
    """Let all hear of all until nobody has anything to join."""
    for _ in range(6):
        signed = [await how(each, lab) for each in nodes]
        if not any(signed):
            break
    else:
        pytest.fail("they answer each other for ever")
    assert len({index_of(each, lab) for each in nodes}) == 1


def document(running, digest, kind):
    data = services_of(running).store.documents.get(digest)
    return kind.from_payload(envelope.unpack(data).payload)


def head_of(running, lab):
    documents = services_of(running).store.documents
    return documents.get(documents.head(lab.publisher))
