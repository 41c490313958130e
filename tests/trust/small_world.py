"""A small world: one publisher, a thief that steals its keys one by one, and nodes that hear of it.

`World` signs what the two of them do and keeps every document. `Listener` is a node: the real
`Knowledge` over a store in memory, which hears of documents in any order and can be restarted. What
is right is `model.py`'s business.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey, RevokedRelease
from p2phub.formats.publisher import (
    Delegation,
    Head,
    Index,
    KeySet,
    Page,
    Ref,
    ReleaseKey,
    RepoEntry,
    Root,
)
from p2phub.node.knowledge import Knowledge
from p2phub.store.seen import KeptNotice, Written
from p2phub.testing.notices import fork_proof, revoke, withdraw
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import changes
from p2phub.trust.aliases import Aliases
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import Envelope, sign, unpack
from p2phub.trust.envelope import merge as join
from p2phub.trust.history import Order
from p2phub.trust.identity import reached, verify_chain, verify_identity
from p2phub.trust.merging import merge
from p2phub.trust.refusals import Refusal
from p2phub.trust.survivors import survivors
from p2phub.trust.verdict import Verdict

NOW = 1_800_000_000
WRITERS = ("a", "b", "c")
REPOS = ("demo", "other")


@dataclass(frozen=True)
class Made:
    """An index, and what it lists."""

    signed: Envelope
    pages: tuple[bytes, ...]
    entries: tuple[RepoEntry, ...]

    @property
    def index(self) -> Index:
        return Index.from_payload(self.signed.payload)


@dataclass
class Documents:
    """Everything anybody signed, or as much of it as one node has heard of."""

    heads: dict[bytes, Envelope] = field(default_factory=dict)
    indexes: dict[bytes, Made] = field(default_factory=dict)
    releases: dict[bytes, Envelope] = field(default_factory=dict)
    notices: dict[bytes, Envelope] = field(default_factory=dict)

    def add(self, other: "Documents") -> None:
        self.heads |= other.heads
        self.indexes |= other.indexes
        self.releases |= other.releases
        for digest, notice in other.notices.items():
            known = self.notices.get(digest, notice)
            self.notices[digest] = join(known, notice)

    def backwards(self) -> "Documents":
        """The same, the latest first."""
        return Documents(
            dict(reversed(self.heads.items())),
            dict(reversed(self.indexes.items())),
            dict(reversed(self.releases.items())),
            dict(reversed(self.notices.items())),
        )

    def proofs(self, lab: FakePublisher) -> list[Envelope]:
        """Every fork that can be proved with these."""
        groups: dict[object, dict[bytes, Envelope]] = {}
        for made in self.indexes.values():
            name = ("index", made.index.writer, made.index.writer_seq)
            groups.setdefault(name, {})[made.signed.digest] = made.signed
        for each in self.heads.values():
            head = Head.from_payload(each.payload)
            delegation = unpack(head.delegation)
            name = ("delegation", head.roots[-1], head.delegation_version)
            groups.setdefault(name, {})[delegation.digest] = delegation
            for root in map(unpack, head.roots[1:]):
                name = ("root", Root.from_payload(root.payload).previous)
                groups.setdefault(name, {})[root.digest] = root
        found = []
        for group in groups.values():
            every = sorted(group.values(), key=lambda one: one.digest)
            found += [
                fork_proof(lab, one, two) for at, one in enumerate(every) for two in every[:at]
            ]
        return found


class World:
    """The publisher and its thief. Every method signs something and keeps it in `all`."""

    def __init__(self, threshold: int = 1) -> None:
        self.lab = FakePublisher(1, writers=WRITERS, threshold=threshold)
        self.threshold = threshold
        self.all = Documents()
        self.batches: list[Documents] = []
        """What was signed at one time: some of it reaches a node without the rest."""
        self.tips: list[Made] = []
        self.before: list[Made] = []
        """The tips of a moment ago, which a writer that is a little behind still has."""
        self.numbers: dict[bytes, int] = {}
        self.stolen: set[str] = set()
        """Release keys that the thief has."""
        self.revoked: set[str] = set()
        """Release keys that the publisher revoked, for ever."""
        self.lies: set[bytes] = set()
        """The digests of notices by the thief."""
        self.overrule = 0
        """The root by which a recovery undoes what the thief did with root keys; 0: nothing."""
        self.count = 0
        self.reissue()

    @property
    def delegation(self) -> Delegation:
        return Delegation.from_payload(self.lab.delegation.payload)

    def name_of(self, key: bytes) -> str:
        fresh = (f"fresh {at}" for at in range(self.count))
        names = (*WRITERS, "evil", *fresh)
        return next(name for name in names if self.lab.key(name).public == key)

    def fresh_key(self) -> ReleaseKey:
        """A release key that nobody ever had."""
        self.count += 1
        return ReleaseKey(self.lab.key(f"fresh {self.count - 1}").public)

    @property
    def writers(self) -> list[str]:
        """Those in force that may write everything."""
        return sorted(self.name_of(made.key) for made in self.delegation.keys if not made.repos)

    # ------------------------------------------------------------ what the publisher does

    def publish(
        self,
        writer: str,
        repo: str,
        *,
        behind: bool = False,
        alone: bool = False,
        restored: bool = False,
    ) -> None:
        """A release, tagged so that it stays listed, over all tips or those of a moment ago; by a
        machine that was `restored` from a backup under a number that it used already.
        """
        parents = self.before if behind and self.before else self.tips
        names = [writer] if alone else [writer, *(w for w in self.writers if w != writer)]
        release = self._release(repo, names[: self.threshold])
        made = self._index(writer, parents, [(repo, release.digest)], fork=restored)
        self.before = list(self.tips)
        self.tips = [tip for tip in self.tips if tip not in parents] + [made]
        self._tell([self._head(writer, made)], [made], [release], [])

    def delegate(self, writers: Iterable[str], *, limited: bool = False) -> None:
        """Other release keys, and everything told anew by one of them."""
        before = {made.key: made for made in self.delegation.keys}
        named = [self.lab.key(name).public for name in sorted(set(writers))]
        keys = [before.get(key, ReleaseKey(key)) for key in named] or [self.fresh_key()]
        if limited and len(keys) > 1:
            keys[0] = replace(keys[0], repos=(REPOS[0],))
        keys = [replace(key, repos=()) if len(keys) == 1 else key for key in keys]
        threshold = min(self.threshold, len(keys))
        self._delegate(replace(self.delegation, keys=tuple(keys), threshold=threshold))
        self.reissue()

    def rotate(self) -> None:
        self.lab.rotate()
        self.reissue()

    def recover(self, v: int) -> None:
        """Root `v` and what followed are overruled, the thief's keys are out."""
        delegation = self.delegation
        honest = [
            Revocation.from_payload(each.payload)
            for each in self.all.notices.values()
            if each.type == Revocation.TYPE and each.digest not in self.lies
        ]
        self.lab.roots = self.lab.roots[: v - 1]
        self.lab.recover()
        if v <= self.overrule:
            self.overrule = 0
        keep = [made.key for made in delegation.keys if self.name_of(made.key) not in self.stolen]
        if all(made.repos for made in delegation.keys if made.key in keep):
            fresh_key = self.fresh_key()
            delegation = replace(delegation, keys=(*delegation.keys, fresh_key))
            keep.append(fresh_key.key)
        fresh = changes.after_fork(changes.after_theft(delegation, v, keep), self.numbers)
        self._delegate(fresh)
        identity = verify_identity(verify_chain(self.lab.roots), self.lab.delegation)
        again = changes.revoke_again(identity.root, honest, self.lab._signers)
        self.reissue(notices=again)

    def revoke_key(self, name: str, last: Made | None = None) -> None:
        """As `p2phub key revoke`: `name` is out after the `last` good index, or the newest by
        others.
        """
        self.revoked.add(name)
        key = self.lab.key(name).public
        good = [made for made in self.tips if made.index.writer != key] or self.tips
        last = last or min(good, key=lambda made: (made.index.seq, made.signed.digest))
        notice = self._revoke(RevokedKey(key, last.index.seq, last.signed.digest))
        others = [made for made in self.delegation.keys if made.key != key]
        if all(made.repos for made in others):
            others.append(self.fresh_key())
        threshold = min(self.threshold, len(others))
        self._delegate(replace(self.delegation, keys=tuple(others), threshold=threshold))
        self.reissue(notices=[notice], after=last)

    def revoke_release(self, digest: bytes) -> None:
        notice = revoke(self.lab, RevokedRelease(digest), signers=self.lab._signers)
        self._tell([], [], [], [notice])

    def withdraw(self, digest: bytes, name: str) -> None:
        self._tell([], [], [], [withdraw(self.lab, digest, signers=[name])])

    def settle(self) -> None:
        """What an honest publisher does when it has heard of everything."""
        if self.overrule:
            self.recover(self.overrule)
            return
        keep = [made for made in self.delegation.keys if self.name_of(made.key) not in self.stolen]
        if all(made.repos for made in keep):
            keep.append(self.fresh_key())
        kept = replace(
            self.delegation, keys=tuple(keep), threshold=min(self.delegation.threshold, len(keep))
        )
        self._delegate(changes.after_fork(kept, self.numbers))
        self.reissue()

    def reissue(self, notices: Iterable[Envelope] = (), after: Made | None = None) -> None:
        """A new index by a writer in force, and the head with the papers of today."""
        writer = self.writers[0]
        tips = self.tips
        if after is not None:
            left = survivors(
                after.entries,
                merge([tip.entries for tip in tips]),
                seq=max(tip.index.seq for tip in tips) + 1,
                counts=self._counts,
            )
            made = self._index(writer, tips, [], entries=left.entries)
        else:
            made = self._index(writer, tips, [])
        self.before, self.tips = list(self.tips), [made]
        self._tell([self._head(writer, made)], [made], [], list(notices))

    # ------------------------------------------------------------ what the thief does

    def evil_release(
        self, name: str, repo: str, *, old: bool, fork: bool, base: Made | None
    ) -> None:
        """A release by one stolen key, listed as if it were old, perhaps under a used number."""
        self.stolen.add(name)
        parents = [base] if base is not None else self.tips
        release = self._release(repo, [name], message="evil")
        made = self._index(name, parents, [(repo, release.digest)], old=old, fork=fork)
        self._tell([self._head(name, made)], [made], [release], [])

    def evil_papers(self, *, rotates: bool, version: int, revokes: bytes | None) -> None:
        """With the keys of the newest root, or of the next: another delegation, a revocation."""
        v = len(self.lab.roots) + rotates
        self.overrule = min(self.overrule or 99, len(self.lab.roots) + 1)
        roots = list(self.lab.roots)
        signers = self.lab._signers
        if rotates:
            signers = self.lab.root_signers(v)
            keys = self.lab.root_key_set(v)
            next_keys = self.lab.root_key_set(v + 1, " thief").digest
            root = Root(v, roots[-1].digest, keys, next_keys, self.lab.recovery)
            roots.append(sign(root, signers))
        evil = ReleaseKey(self.lab.key("evil").public)
        known = self.delegation
        document = replace(known, version=max(1, known.version + version), keys=(evil,))
        document = replace(
            document, threshold=1, oms_keys=(b"\x02" + bytes([self.count % 200]) * 32,)
        )
        delegation = sign(document, signers)
        release = self._release(REPOS[0], ["evil"], message="evil")
        made = self._index("evil", self.tips, [(REPOS[0], release.digest)])
        head = self.lab.sign_head(
            index=made.signed.digest,
            seq=made.index.seq,
            roots=roots,
            delegation=delegation,
            signers=("evil",),
        )
        notices = []
        if revokes is not None:
            lie = revoke(self.lab, RevokedRelease(revokes), root_v=v, signers=signers)
            self.lies.add(lie.digest)
            notices.append(lie)
        self._tell([head], [made], [release], notices)

    # ------------------------------------------------------------ how it is signed

    def _delegate(self, document: Delegation) -> None:
        made = replace(document, version=self.delegation.version + 1)
        self.lab.delegation = sign(made, self.lab._signers)
        self.lab.delegation_version = made.version

    def _revoke(self, revoked: RevokedKey) -> Envelope:
        return revoke(self.lab, revoked, signers=self.lab._signers)

    def _release(self, repo: str, signers: list[str], message: str = "good") -> Envelope:
        self.count += 1
        files = {"README.md": f"{message} {self.count}".encode()}
        return self.lab.release(repo, files, message=message, signers=signers)

    def _counts(self, repo: str, digest: bytes) -> bool:
        signed, delegation = self.all.releases.get(digest), self.delegation
        if signed is None:
            return False
        keys = tuple(made.key for made in delegation.keys if not made.repos or repo in made.repos)
        return reached(KeySet(keys, delegation.threshold), signed.signed_by()).enough

    def _index(
        self,
        writer: str,
        parents: list[Made],
        releases: list[tuple[str, bytes]],
        *,
        old: bool = False,
        fork: bool = False,
        entries: tuple[RepoEntry, ...] | None = None,
    ) -> Made:
        seq = max((made.index.seq for made in parents), default=0) + 1
        listed = merge([made.entries for made in parents]) if entries is None else entries
        known = {entry.name: entry for entry in listed}
        for repo, release in releases:
            refs = dict(known[repo].refs) if repo in known else {}
            ref = Ref(release, max(1, seq - 2) if old else seq)
            refs |= {"main": ref, f"v{self.count}": replace(ref, tag=True)}
            known[repo] = RepoEntry(repo, "model", refs)
        key = self.lab.key(writer).public
        number = max(1, self.numbers.get(key, 0) + (not fork))
        self.numbers[key] = number
        signed, pages = self.lab.sign_index(
            writer=writer,
            parents=sorted(made.signed.digest for made in parents)[:8],
            seq=seq,
            writer_seq=number,
            entries=known.values(),
            created=NOW + self.count,
        )
        self.count += 1
        return Made(signed, pages, tuple(known[name] for name in sorted(known)))

    def _head(self, writer: str, made: Made) -> Envelope:
        return self.lab.sign_head(index=made.signed.digest, seq=made.index.seq, signers=(writer,))

    def _tell(
        self,
        heads: list[Envelope],
        indexes: list[Made],
        releases: list[Envelope],
        notices: list[Envelope],
    ) -> None:
        batch = Documents(
            {each.digest: each for each in heads},
            {each.signed.digest: each for each in indexes},
            {each.digest: each for each in releases},
            {each.digest: each for each in notices},
        )
        self.batches.append(batch)
        self.all.add(batch)


# ---------------------------------------------------------------- who hears of it


class Memory:
    """As much of a store as `Knowledge` needs, in memory: it outlives a restart."""

    def __init__(self) -> None:
        self.documents = self.seen = self.repos = self
        self._data: dict[bytes, bytes] = {}
        self._head: bytes | None = None
        self._order: Order | None = None
        self._notices: dict[bytes, KeptNotice] = {}
        self._written: list[Written] = []

    def get(self, digest: bytes) -> bytes | None:
        return self._data.get(digest)

    def put(self, digest: bytes, type: str, data: bytes) -> None:
        self._data[digest] = data

    def aliases(self) -> Aliases:
        return Aliases({})

    def head(self, publisher: object) -> bytes | None:
        return self._head

    def set_head(self, publisher: object, head: bytes, index: bytes, now: int) -> None:
        self._head = head

    def saw(self, publisher: object, order: Order) -> None:
        self._order = order

    def highest(self, publisher: object) -> Order | None:
        return self._order

    def wrote(self, publisher: object, written: Written) -> None:
        self._written.append(written)

    def written(self, publisher: object) -> list[Written]:
        return self._written

    def add_notice(
        self, publisher: object, digest: bytes, type: str, data: bytes, now: int
    ) -> None:
        self._data[digest] = data
        self._notices[digest] = KeptNotice(digest, data)

    def notices(self, publisher: object) -> list[KeptNotice]:
        return [self._notices[digest] for digest in sorted(self._notices)]

    def record_release(self, digest: bytes, release: Release) -> None:
        """Nobody searches here."""

    def record_many(self, publisher: object, entries: object) -> None:
        """Nobody searches here."""


class Listener:
    """A node, and what it has heard of so far, taken or not."""

    def __init__(self, lab: FakePublisher) -> None:
        self.lab = lab
        self.store = Memory()
        self.heard = Documents()
        self.restart()

    def restart(self) -> None:
        self.knowledge = Knowledge(self.store, TrustedCatalog(), lambda: NOW)  # type: ignore[arg-type]

    def hear(self, documents: Documents) -> None:
        """Everything it ever heard of comes by again after it, until nothing more is news."""
        older, self.heard = self.heard, Documents()
        self.heard.add(documents)
        self.heard.add(older)
        before = None
        while before != (before := self._snapshot()):
            for head in self.heard.heads.values():
                self._offer(head)
            for made in self.heard.indexes.values():
                self._offer(made.signed)
                for page in made.pages:
                    self._quietly(lambda page=page: self.knowledge.learn(page, sha256(page), Page))
            for notice in (*self.heard.notices.values(), *self.heard.proofs(self.lab)):
                self._quietly(lambda each=notice: self.knowledge.learn_notice(each.pack()))

    def _snapshot(self) -> object:
        state = self.knowledge.state(self.lab.publisher)
        kept = [(each.digest, each.data) for each in self.store.notices(self.lab.publisher)]
        return state, kept, frozenset(self.store._data)

    def _offer(self, signed: Envelope) -> None:
        if signed.type == Head.TYPE:
            self._quietly(lambda: self.knowledge.learn_head(self.lab.publisher, signed.pack()))
        else:
            self._quietly(lambda: self.knowledge.learn(signed.pack(), signed.digest, Index))

    @staticmethod
    def _quietly(offered: Callable[[], object]) -> None:
        with suppress(UntrustedError):
            offered()

    def verdict(self, release: Envelope) -> Verdict:
        """What this node says of a release that it is shown, whoever named it."""
        name = Release.from_payload(release.payload).name
        with suppress(NotFoundError):
            self.knowledge.find(self.lab.publisher, name)
        self.knowledge.expect(release.digest, self.lab.publisher)
        try:
            accepted = self.knowledge.learn(release.pack(), release.digest, Release)
        except Refusal as error:
            return error.verdict
        return accepted.judgement.verdict

    @property
    def order(self) -> Order | None:
        state = self.knowledge.state(self.lab.publisher)
        return state.order if state is not None else None

    @property
    def index(self) -> bytes:
        state = self.knowledge.state(self.lab.publisher)
        return state.index if state is not None else b""

    @property
    def forked(self) -> bool:
        state = self.knowledge.state(self.lab.publisher)
        return state is not None and bool(state.forked)
