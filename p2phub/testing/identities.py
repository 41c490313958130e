"""A home whose own publisher is a fake one, without a node: for tests of changes of identity.

    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo", {"README.md": b"hello"})
        adopt(desk, parcel)

The keys of the fake publisher come from its seed, so a test can be its owner, its helper, or the
thief.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index, Page
from p2phub.node.desk import LocalDesk
from p2phub.node.knowledge import Knowledge
from p2phub.store.disk import Disk
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk
from p2phub.testing.publishers import CREATED, FakePublisher, Publication
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import Envelope
from p2phub.trust.papers import Papers


@contextmanager
def open_home(home: Path, disk: Disk | None = None, now: int = CREATED) -> Iterator[LocalDesk]:
    """The desk of `home` as it lies on the disk; the clock stands still."""
    disk = disk or CountingDisk()
    layout = Layout.of(home)
    with Store.open(layout, disk=disk) as store:
        knowledge = Knowledge(store, TrustedCatalog(), lambda: now)
        yield LocalDesk(store, knowledge, Keyring(layout, disk), lambda: now)


@contextmanager
def own_desk(home: Path, lab: FakePublisher, *keys: str, now: int = CREATED) -> Iterator[LocalDesk]:
    """A new home that is `lab`, with the first of its release `keys` as `release`, and so on."""
    with open_home(home, now=now) as desk:
        become(desk, lab)
        for number, key in enumerate(keys or ("release",), 1):
            desk.keyring.save("release" if number == 1 else f"release-{number}", lab.key(key).seed)
        yield desk


def become(desk: LocalDesk, lab: FakePublisher) -> None:
    """Let the store say that its own publisher is `lab`."""
    documents = desk.store.documents
    documents.put_many((each.digest, each.type, each.pack()) for each in papers_of(lab).envelopes)
    roots = [root.digest for root in lab.roots]
    documents.set_own_publisher(lab.publisher, roots, lab.delegation.digest)


def papers_of(lab: FakePublisher) -> Papers:
    """The papers of a fake publisher as they are now."""
    return Papers.of(lab.roots, lab.delegation)


def learn(desk: LocalDesk, lab: FakePublisher, made: Publication) -> None:
    """Let the gate of this desk take what was published."""
    knowledge = desk.knowledge
    knowledge.learn_head(lab.publisher, made.head.pack())
    knowledge.learn(made.index.pack(), made.index.digest, Index)
    for page in made.pages:
        knowledge.learn(page, _digest_of(lab, page), Page)
    knowledge.learn(made.release.pack(), made.release.digest, Release)


def publish(
    desk: LocalDesk,
    lab: FakePublisher,
    name: str,
    text: bytes = b"hello",
    *,
    writer: str = "release",
    signers: Sequence[str] | None = None,
) -> Envelope:
    """A release of `lab` with one file, known at this desk; it is what comes back."""
    made = lab.publish(name, {"README.md": text}, writer=writer, signers=signers)
    learn(desk, lab, made)
    return made.release


def _digest_of(lab: FakePublisher, page: bytes) -> bytes:
    return next(digest for digest, data in lab.documents.items() if data == page)
