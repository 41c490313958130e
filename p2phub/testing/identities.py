"""A home whose own publisher is a fake one, without a node: for tests of changes of identity.

    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo", {"README.md": b"hello"})
        adopt(desk, parcel)

The keys of the fake publisher come from its seed, so a test can be its owner, its helper, or the
thief.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from p2phub.errors import UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Head, Index, Page, Ref, RepoEntry, build_pages
from p2phub.node.desk import LocalDesk, require_key_in_force, require_own_papers
from p2phub.node.knowledge import Knowledge
from p2phub.node.numbers import next_number
from p2phub.node.reissue import read_listing
from p2phub.store.disk import Disk
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk
from p2phub.testing.publishers import CREATED, FakePublisher, Publication, fake_file
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers
from p2phub.trust.secrets import RootSecret


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


def lone_secret(lab: FakePublisher) -> RootSecret:
    """What makes the first three root keys of a fake publisher, which come from no master."""
    return RootSecret(lone=tuple((v, lab.root_signers(v)[0].seed) for v in (1, 2, 3)))


def told_by(desk: LocalDesk, publisher: PublisherId) -> dict[str, str | UntrustedError]:
    """What a stranger gets from this store, through a gate that never heard of it: for each
    `repo@ref` the verdict, or the refusal.
    """
    gate, documents, now = TrustedCatalog(), desk.store.documents, desk.now()
    head = gate.offer(_kept(desk, documents.head(publisher)), now).document
    assert isinstance(head, Head)
    for notice in desk.knowledge.notices(publisher):
        with suppress(UntrustedError):  # of a key that is gone
            gate.offer(notice, now)
    index = gate.offer(_kept(desk, head.index), now).document
    assert isinstance(index, Index)
    found: dict[str, str | UntrustedError] = {}
    todo = [index.pages]
    while todo:
        page = gate.offer(_kept(desk, todo.pop()), now).document
        assert isinstance(page, Page)
        todo += (child for _, child in page.children)
        for entry in page.entries:
            for name, ref in entry.refs.items():
                found[f"{entry.name}@{name}"] = _offered(gate, _kept(desk, ref.release), now)
    return found


def _offered(gate: TrustedCatalog, data: bytes, now: int) -> str | UntrustedError:
    try:
        return gate.offer(data, now).judgement.text
    except UntrustedError as error:
        return error


def _kept(desk: LocalDesk, digest: bytes | None) -> bytes:
    data = desk.store.documents.get(digest) if digest is not None else None
    assert data is not None, "the store lost a document"
    return data


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


def publish_here(desk: LocalDesk, name: str, text: bytes = b"hello") -> Envelope:
    """A release of the publisher of this very home, signed with the release key that is here."""
    papers = require_own_papers(desk.store.documents)
    key = require_key_in_force(desk.keyring, papers.identity, desk.now())
    release = unlisted_release(desk, papers.publisher, name, text, key)
    index, pages = _next_index(desk, papers, key, name, release)
    seq, knowledge = Index.from_payload(index.payload).seq, desk.knowledge
    head = sign(papers.head(index.digest, seq, 0), [key])
    knowledge.learn_head(papers.publisher, head.pack())
    knowledge.learn(index.pack(), index.digest, Index)
    for page in reversed(pages):
        knowledge.learn(pages[page], page, Page)
    knowledge.learn(release.pack(), release.digest, Release)
    return release


def unlisted_release(
    desk: LocalDesk, publisher: PublisherId, name: str, text: bytes, *keys: SigningKey
) -> Envelope:
    """A release with one file that no index lists."""
    release = Release(
        publisher=publisher.digest,
        name=name,
        kind="model",
        created=desk.now(),
        files=(fake_file("README.md", text).entry,),
        total_size=len(text),
    )
    return sign(release, keys)


def _next_index(
    desk: LocalDesk, papers: Papers, key: SigningKey, name: str, release: Envelope
) -> tuple[Envelope, dict[bytes, bytes]]:
    """The index after the newest one here, with this release as `main`, and its pages."""
    documents = desk.store.documents
    digest = documents.newest_index(papers.publisher)
    newest = read_listing(documents, digest) if digest is not None else None
    seq = 1 if newest is None else newest.index.seq + 1
    entries = {entry.name: entry for entry in newest.entries} if newest is not None else {}
    entries[name] = RepoEntry(name, "model", {"main": Ref(release.digest, seq)})
    root_page, pages = build_pages([entries[each] for each in sorted(entries)])
    parents = (newest.digest,) if newest is not None else ()
    index = Index(
        publisher=papers.publisher.digest,
        writer=key.public,
        writer_seq=next_number(documents, key.public, parents, desk.now()),
        parents=parents,
        seq=seq,
        created=desk.now(),
        profile={},
        pages=root_page,
    )
    return sign(index, [key]), pages
