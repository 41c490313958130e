"""A publisher for tests: the same keys, documents and bytes every time.

`FakePublisher(seed)` makes root, next, recovery and release keys from its seed, signs its root and
its delegation, and publishes releases: each `publish` is a release, an index with its pages and a
head, all correctly signed. What it has signed so far lies packed in `documents`, by digest, as a
peer would serve it; the bytes of its files lie in `contents`, their piece tables in `tables`.

What lies about them is in `forgeries`.

>>> lab = FakePublisher(1)
>>> first = lab.publish("demo", {"README.md": b"hello"})
>>> first.release.digest in lab.documents, lab.seq
(True, 1)
>>> lab.publisher == FakePublisher(1).publisher != FakePublisher(2).publisher
True
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from p2phub.formats.digest import blake3, git_blob_sha1, sha256
from p2phub.formats.ids import ContentId, Kind, PublisherId, head_key
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.manifest import Card, FileEntry, Lineage, Release
from p2phub.formats.paths import parse_path
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PiecePlanner
from p2phub.formats.publisher import (
    Delegation,
    Head,
    Index,
    KeySet,
    Ref,
    ReleaseKey,
    RepoEntry,
    Root,
    build_pages,
)
from p2phub.trust.envelope import Envelope, sign, sign_payload
from p2phub.trust.keys import SigningKey

CREATED = 1_700_000_000
"""The unix second in which every fake document was made, unless told otherwise."""

Files = Mapping[str, bytes] | Sequence[FileEntry]


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything one `publish` signed, packed. `pages` begins with the root page."""

    release: Envelope
    index: Envelope
    head: Envelope
    pages: tuple[bytes, ...]

    @property
    def packed(self) -> tuple[bytes, ...]:
        """Every document in the order in which a gate takes them."""
        return (self.head.pack(), self.index.pack(), *self.pages, self.release.pack())


@dataclass(frozen=True, slots=True)
class FakeFile:
    """A file as a release names it, with its bytes and its piece table (None up to 1 MiB)."""

    entry: FileEntry
    data: bytes
    table: PieceTable | None


def fake_file(path: str, data: bytes) -> FakeFile:
    """The file `path` with the bytes `data`, cut as a publisher cuts it."""
    if len(data) > MAX_PIECE:
        planner = PiecePlanner(len(data))
        lengths = planner.feed(data) + planner.finish()
        table = PieceTable.build(lengths, piece_digests(data, lengths))
        content = table.content_id
    else:
        table, content = None, ContentId(len(data), sha256(data))
    entry = FileEntry(
        parse_path(path),
        len(data),
        sha256(data),
        content,
        git_blob_sha1(data) if len(data) <= MAX_PIECE else None,
    )
    return FakeFile(entry, data, table)


def piece_digests(data: bytes, lengths: Iterable[int]) -> list[bytes]:
    """The digests of `data` cut into these lengths."""
    digests, start = [], 0
    for length in lengths:
        digests.append(blake3(data[start : start + length]))
        start += length
    return digests


class FakePublisher:
    """A publisher whose every key comes from `seed`; `writers` name its release keys.

    With more than one root key, `root_threshold` of them sign. `not_after` (unix seconds, 0 for
    never) goes into every head.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        writers: Sequence[str] = ("release",),
        threshold: int = 1,
        root_keys: int = 1,
        root_threshold: int = 1,
        not_after: int = 0,
        created: int = CREATED,
    ) -> None:
        self.seed = seed
        self.not_after = not_after
        self.created = created
        self._root_keys, self._root_threshold = root_keys, root_threshold
        self.roots: list[Envelope] = []
        self.documents: dict[bytes, bytes] = {}
        self.contents: dict[ContentId, bytes] = {}
        self.tables: dict[ContentId, bytes] = {}
        self.entries: dict[str, RepoEntry] = {}
        self.seq = 0
        self.index: Envelope | None = None
        self.head: Envelope | None = None
        self.delegation_version = 0
        self._writer_seqs: dict[bytes, int] = {}
        self._signers = self.root_signers(1)
        self._add_root(self.root_key_set(1), b"", self._signers)
        self.publisher = PublisherId(self.roots[0].digest)
        self.delegation = self.delegate(*writers, threshold=threshold)

    # ------------------------------------------------------------ keys

    def key(self, name: str) -> SigningKey:
        """The key called `name` ("release" is the one that signs unless told otherwise)."""
        return SigningKey(sha256(f"fake publisher {self.seed}, key {name}".encode()))

    def root_signers(self, v: int, branch: str = "") -> list[SigningKey]:
        """The keys of root `v`."""
        return [self.key(f"root {v}{branch} {at}") for at in range(self._root_keys)]

    def root_key_set(self, v: int, branch: str = "") -> KeySet:
        keys = tuple(key.public for key in self.root_signers(v, branch))
        return KeySet(keys, self._root_threshold)

    @property
    def recovery(self) -> KeySet:
        """The recovery keys that every root names: one key, called "recovery"."""
        return KeySet((self.key("recovery").public,), 1)

    @property
    def head_key(self) -> str:
        """Where the DHT keeps this publisher's head."""
        return head_key(self.publisher)

    # ------------------------------------------------------------ who it is

    def rotate(self, branch: str = "") -> Envelope:
        """A new root that reveals the committed keys; the delegation is signed again by them.

        Another `branch` is another root of the same number by the same keys: a fork.
        """
        v = len(self.roots) + 1
        signers = self.root_signers(v)
        return self._follow(self.root_key_set(v), signers, signers, branch)

    def recover(self, branch: str = "") -> Envelope:
        """A new root by the recovery key, with root keys that nobody committed to."""
        line = f" recovered{branch}"
        v = len(self.roots) + 1
        keys, signers = self.root_key_set(v, line), self.root_signers(v, line)
        return self._follow(keys, [self.key("recovery")], signers, branch)

    def _follow(
        self,
        keys: KeySet,
        signers: Sequence[SigningKey],
        now_in_force: list[SigningKey],
        branch: str,
    ) -> Envelope:
        made = self._add_root(keys, self.roots[-1].digest, signers, branch)
        self._signers = now_in_force
        self.delegation = sign_payload("delegation", self.delegation.payload, now_in_force)
        return made

    def _add_root(
        self, keys: KeySet, previous: bytes, signers: Sequence[SigningKey], branch: str = ""
    ) -> Envelope:
        v = len(self.roots) + 1
        next_keys = self.root_key_set(v + 1, branch).digest
        root = sign(Root(v, previous, keys, next_keys, self.recovery), signers)
        self.roots.append(root)
        return root

    def delegate(
        self,
        *writers: str | ReleaseKey,
        threshold: int = 1,
        version: int | None = None,
        signers: Sequence[SigningKey] | None = None,
    ) -> Envelope:
        """A new delegation, one version up, to these release keys; later heads carry it."""
        self.delegation_version = version or self.delegation_version + 1
        keys = tuple(
            writer if isinstance(writer, ReleaseKey) else ReleaseKey(self.key(writer).public)
            for writer in writers
        )
        document = Delegation(self.publisher.digest, self.delegation_version, keys, threshold)
        self.delegation = sign(document, signers or self._signers)
        return self.delegation

    # ------------------------------------------------------------ what it has

    def publish(
        self,
        name: str,
        files: Files,
        *,
        ref: str = "main",
        tag: bool = False,
        kind: Kind = "model",
        message: str = "",
        card: Card | None = None,
        lineage: tuple[Lineage, ...] = (),
        writer: str = "release",
        signers: Sequence[str] | None = None,
    ) -> Publication:
        """Sign a release of `name`, and the index, pages and head that list it."""
        before = self.entries.get(name)
        last = before.refs.get(ref) if before else None
        release = self.release(
            name,
            files,
            kind=kind,
            message=message,
            card=card,
            lineage=lineage,
            parents=(last.release,) if last else (),
            signers=signers or (writer,),
        )
        refs = dict(before.refs) if before else {}
        refs[ref] = Ref(release.digest, self.seq + 1, tag)
        document = Release.from_payload(release.payload)
        self.entries[name] = RepoEntry(
            name, kind, refs, document.card, document.total_size, document.created
        )
        index, pages = self.sign_index(writer=writer)
        return Publication(release, index, self.sign_head(signers=(writer,)), pages)

    def release(
        self,
        name: str,
        files: Files,
        *,
        kind: Kind = "model",
        message: str = "",
        card: Card | None = None,
        lineage: tuple[Lineage, ...] = (),
        parents: tuple[bytes, ...] = (),
        signers: Sequence[str] = ("release",),
        created: int | None = None,
    ) -> Envelope:
        """A signed release that no index lists yet."""
        entries = tuple(self._entries(files))
        document = Release(
            publisher=self.publisher.digest,
            name=name,
            kind=kind,
            created=self.created if created is None else created,
            files=entries,
            total_size=sum(entry.size for entry in entries),
            message=message,
            parents=parents,
            card=card or Card(),
            lineage=lineage,
        )
        return self._keep(sign(document, [self.key(signer) for signer in signers]))

    def sign_index(
        self,
        *,
        writer: str = "release",
        parents: Sequence[bytes] | None = None,
        seq: int | None = None,
        writer_seq: int | None = None,
        entries: Iterable[RepoEntry] | None = None,
        created: int | None = None,
        signer: str | None = None,
    ) -> tuple[Envelope, tuple[bytes, ...]]:
        """The next index and its pages, root page first. What is given overrides what is right."""
        key = self.key(writer)
        number = writer_seq or self._writer_seqs.get(key.public, 0) + 1
        self._writer_seqs[key.public] = max(number, self._writer_seqs.get(key.public, 0))
        if parents is None:
            parents = () if self.index is None else (self.index.digest,)
        root_page, pages = build_pages(self.entries.values() if entries is None else entries)
        document = Index(
            publisher=self.publisher.digest,
            writer=key.public,
            writer_seq=number,
            parents=tuple(parents),
            seq=seq or self.seq + 1,
            created=self.created if created is None else created,
            profile={},
            pages=root_page,
        )
        index = self._keep(sign(document, [self.key(signer or writer)]))
        self.documents |= pages
        self.index, self.seq = index, document.seq
        return index, tuple(reversed(pages.values()))

    def sign_head(
        self,
        *,
        index: bytes | None = None,
        seq: int | None = None,
        not_after: int | None = None,
        root_v: int | None = None,
        delegation_version: int | None = None,
        roots: Sequence[Envelope] | None = None,
        delegation: Envelope | None = None,
        publisher: PublisherId | None = None,
        signers: Sequence[str] = ("release",),
    ) -> Envelope:
        """A head for the newest index. What is given overrides what is right."""
        given = Delegation.from_payload((delegation or self.delegation).payload)
        chain = self.roots if roots is None else roots
        head = Head(
            publisher=(publisher or self.publisher).digest,
            index=index or (self.index.digest if self.index else bytes(32)),
            root_v=root_v or len(chain),
            delegation_version=delegation_version or given.version,
            seq=seq or max(self.seq, 1),
            not_after=self.not_after if not_after is None else not_after,
            roots=tuple(root.pack() for root in chain),
            delegation=(delegation or self.delegation).pack(),
        )
        self.head = self._keep(sign(head, [self.key(signer) for signer in signers]))
        return self.head

    def _entries(self, files: Files) -> Iterable[FileEntry]:
        if not isinstance(files, Mapping):
            yield from files
            return
        for path, data in files.items():
            made = fake_file(path, data)
            self.contents[made.entry.content] = data
            if made.table is not None:
                self.tables[made.entry.content] = made.table.pack()
            yield made.entry

    def _keep(self, envelope: Envelope) -> Envelope:
        self.documents[envelope.digest] = envelope.pack()
        return envelope
