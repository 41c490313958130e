"""Homes of one publisher: each with a release key of its own, all under the same root.

Keys come from a `FakePublisher`, so that a test can sign other delegations as its root would.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from p2phub.node.node import Node
from p2phub.node.offline import layout_of
from p2phub.node.services import Services
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
from tests.scenarios.nodes import settings


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
