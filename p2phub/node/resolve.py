"""From what a person typed to a release that may be trusted.

`lab/minilm@v1` becomes a publisher id (pinned alias or full id), the publisher's newest head (what
is on disk, the DHT, connected peers; the highest that passes the gate wins), the index pages on
the way to the repo, and the release the revision names. Each document passes `Knowledge.learn`.
What is missing is asked of peers that are said to keep that publisher's documents: they provide
its publisher id in the DHT, because the records of a release cannot be looked up before the index
has named it.

Damage is told apart from absence: if peers delivered only documents that the gate refused, that
refusal is raised (exit 4); if nobody had any, `NoSourceError` (exit 6)."""

import contextlib
from dataclasses import dataclass

import trio

from p2phub.errors import (
    NoRevisionError,
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RemoteError,
    UntrustedError,
    UsageError,
    WrongBytesError,
    plain_errors,
)
from p2phub.formats import limits
from p2phub.formats.ids import (
    PublisherId,
    Reference,
    RepoId,
    commit_id,
    head_key,
    is_commit_id,
    is_commit_prefix,
)
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import RepoEntry
from p2phub.node.asking import first_right
from p2phub.node.knowledge import CALLED, Missing
from p2phub.node.locate import (
    DEFAULT_REVISION,
    ResolvedRelease,
    called,
    locate,
    name_of,
    publisher_of,
    require_let_in,
)
from p2phub.node.services import Services
from p2phub.protocol.ports import Source
from p2phub.trust.catalog import Accepted, PublisherState
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

ASKED_FOR_HEADS = 8  # connected peers asked beside the DHT
HEAD_TIME = 5.0  # seconds for all answers about one head
PEER_TIME = 0.5  # seconds that peers may still take once the DHT has answered and a head is known
HISTORY = 256  # releases walked back to find a commit


async def resolve(
    services: Services, reference: Reference, *, waiting: bool = False
) -> ResolvedRelease:
    """The release that `reference` names now; one that waits in quarantine only if `waiting`.

    Of our own publisher nobody knows more than this disk, and a commit never changes: for those
    nobody is asked, unless something is missing or has rotted here.

    Raises `NotFoundError` for an unknown alias, repo or revision, `UntrustedError` for documents
    the gate refused, `NoSourceError` if nobody has the documents, `QuarantinedError`."""
    begun = await services.on_disk(_begin, services, reference, waiting=waiting)
    if begun.here is not None:
        return begun.here
    finder = _Finder(services, begun.publisher, own=begun.own)
    await finder.newest_head()
    repo = RepoId(begun.publisher, reference.name)
    entry = await finder.entry(repo.name)
    revision = reference.revision or DEFAULT_REVISION
    digest = await finder.release_named(entry, revision)
    if not waiting:
        await services.on_disk(require_let_in, services.store, digest, str(reference))
    accepted = await finder.release(digest)
    assert isinstance(accepted.document, Release)
    _require_of(repo, digest, accepted.document)
    return ResolvedRelease(
        repo,
        revision,
        digest,
        accepted.document,
        accepted.judgement,
        entry.refs,
        await services.on_disk(name_of, services.store, repo, revision),
        finder.refused(),
        finder.teller,
    )


def _require_of(repo: RepoId, digest: bytes, release: Release) -> None:
    """It is of the repo that was asked for, whatever else its publisher lists it as: nobody gets
    other software than was named, well signed as it may be.
    """
    if release.name != repo.name:
        raise UntrustedError(
            f"commit {commit_id(digest)[:16]} is a release of {release.name}, and the index of its"
            f" publisher lists it as one of {repo.name}",
            remedy=f"pull {release.name} if that is what you want, and tell its publisher",
        )


@dataclass(frozen=True, slots=True)
class _Begun:
    """What this disk says of a reference."""

    publisher: PublisherId
    own: bool
    here: ResolvedRelease | None = None
    """The release, where nobody has to be asked for it."""


def _begin(services: Services, reference: Reference, *, waiting: bool) -> _Begun:
    """All that needs no network, in one thread and one go."""
    store = services.store
    publisher = publisher_of(store, reference)
    own = publisher == store.documents.own_publisher()
    if own or is_commit_id(reference.revision or ""):
        with contextlib.suppress(NotFoundError, UntrustedError):
            here = locate(store, services.knowledge, reference, waiting=waiting)
            return _Begun(publisher, own, here)
    return _Begun(publisher, own)


async def catch_up(services: Services, own: PublisherId) -> tuple[bytes, ...]:
    """Learn what the network knows of our own publisher, before we sign more: every head of it
    that was heard, whether the gate took it or not.

    A store that was restored from a backup is behind its own signatures: going on from there would
    be a fork. Raises `NoSourceError` if a newer index exists and nobody reachable has it.
    """
    if not services.network.peers():
        return ()
    finder = _Finder(services, own, own=False)
    await finder.ask_for_heads()
    await bring_index(services, own)
    return tuple(finder.heard)


async def bring_index(services: Services, publisher: PublisherId) -> None:
    """Fetch what this disk lacks of the newest index of our own publisher.

    One by a key that was taken back since is left alone: the next index goes on from what was
    before. Raises `NoSourceError` if nobody reachable has it.
    """
    finder = _Finder(services, publisher, own=False)
    while (lacking := await services.on_disk(services.knowledge.lacking, publisher)) is not None:
        try:
            await finder.fetch(lacking)
        except NoSourceError as error:
            raise NoSourceError(
                f"another machine of this publisher has published, and {error.message}",
                remedy="wait until that machine, or a peer that pulled from it, is online; if it is"
                " no machine of yours, the release key was stolen: `p2phub key revoke --key`",
            ) from error
        except Refusal as error:
            if error.verdict in (Verdict.REVOKED, Verdict.UNTRUSTED_KEY):
                return
            raise


async def bring_manifest(services: Services, publisher: PublisherId, digest: bytes) -> None:
    """Fetch a release that the publisher's index lists, if it is not on this disk.

    Raises `NoSourceError` if nobody reachable has it, `UntrustedError` if the gate refuses it.
    """
    await _Finder(services, publisher, own=False).release(digest)


class _Finder:
    """The documents of one publisher, wherever they are.

    Of our `own` publisher nobody knows a newer head.
    """

    def __init__(self, services: Services, publisher: PublisherId, *, own: bool) -> None:
        self._services, self._publisher, self._own = services, publisher, own
        self._refusals: list[UntrustedError] = []
        self._damage: UntrustedError | None = None
        self._sources: list[Source] | None = None
        self.heard: dict[bytes, None] = {}
        """Every head that somebody sent."""
        self.teller = ""
        """The source of the document that was fetched last."""

    def refused(self) -> tuple[str, ...]:
        """What the gate said of the heads it refused, each once."""
        return tuple(dict.fromkeys(refusal.message for refusal in self._refusals))

    async def newest_head(self) -> PublisherState:
        """The publisher's state after everybody was asked for a newer head."""
        state = await self._state()
        if not (self._own and state is not None):
            await self.ask_for_heads()
            state = await self._state() or await self._state_from_holders()
        if state is not None:
            return state
        if self._refusals:
            refusal = self._refusals[0]
            what = f"the head of {await self._called()} that was delivered"
            raise _retold(refusal, f"{what} is refused: {refusal.message}")
        if self._damage is not None:
            raise self._damage
        raise NoSourceError(
            f"nobody reachable has a head of publisher {self._publisher}",
            remedy="check `p2phub peers`; connect to a peer that knows this publisher",
        )

    async def entry(self, name: str) -> RepoEntry:
        """What the index says of a repo, after its pages were fetched."""
        while True:
            found = await self._services.on_disk(
                self._services.knowledge.find, self._publisher, name
            )
            if isinstance(found, RepoEntry):
                return found
            await self.fetch(found)

    async def release(self, digest: bytes) -> Accepted:
        """A release that the gate wants, from disk or from a peer."""
        damage: UntrustedError | None = None
        try:
            here = await self._services.on_disk(self._services.knowledge.document, digest, Release)
        except UntrustedError as error:
            here, damage = None, error
        return here or await self.fetch(Missing(digest, Release, damage))

    async def release_named(self, entry: RepoEntry, revision: str) -> bytes:
        """The digest of the release that a ref, a tag or a commit id (8 digits at least) names."""
        ref = entry.refs.get(revision)
        if ref is not None:
            return ref.release
        if not is_commit_prefix(revision):
            known = ", ".join(sorted(entry.refs))
            raise NoRevisionError(
                f"{entry.name} has no revision {revision} (it has: {known})",
                remedy="name one of those, or a commit by 8 digits at least",
            )
        found = await self._in_history(entry, revision)
        if not found:
            raise NoRevisionError(
                f"{entry.name} has no commit {revision}",
                remedy="`p2phub info` lists the commits that are known here",
            )
        if len(found) > 1:
            names = ", ".join(commit_id(digest)[:16] for digest in sorted(found))
            raise UsageError(
                f"{revision} is the beginning of several commits: {names}",
                remedy="write more of its digits",
            )
        return found.pop()

    async def _in_history(self, entry: RepoEntry, prefix: str) -> set[bytes]:
        seen: set[bytes] = set()
        todo = [ref.release for ref in entry.refs.values()]
        while todo and len(seen) < HISTORY:
            digest = todo.pop(0)
            if digest in seen:
                continue
            seen.add(digest)
            if commit_id(digest) == prefix:
                return {digest}
            try:
                accepted = await self.release(digest)
            except NoSourceError:
                continue  # nobody keeps this old release any more: its branch of history ends
            assert isinstance(accepted.document, Release)
            for parent in accepted.document.parents:
                await self._services.on_disk(
                    self._services.knowledge.expect, parent, self._publisher
                )
                todo.append(parent)
        return {digest for digest in seen if commit_id(digest).startswith(prefix)}

    async def _state(self) -> PublisherState | None:
        try:
            return await self._services.on_disk(self._services.knowledge.state, self._publisher)
        except UntrustedError as error:
            self._damage = error
            return None

    async def ask_for_heads(self) -> None:
        """The DHT decides how long this takes; a peer that hangs costs a moment more."""
        with trio.move_on_after(HEAD_TIME), plain_errors():
            async with trio.open_nursery() as nursery:
                for peer in self._services.network.peers()[:ASKED_FOR_HEADS]:
                    nursery.start_soon(self._heads_from_peer, peer.peer_id)
                await self._heads_from_records()
                if await self._state() is not None:
                    nursery.cancel_scope.deadline = trio.current_time() + PEER_TIME

    async def _state_from_holders(self) -> PublisherState | None:
        """The state after those were asked who keep this publisher's documents: the DHT may have
        lost its head record, or hold none but forgeries.
        """
        with trio.move_on_after(HEAD_TIME), plain_errors():
            async with trio.open_nursery() as nursery:
                sources = await self._neighbours(again=True)
                is_lent = self._services.neighbours.is_lent
                for source in (each for each in sources if not is_lent(each.name)):
                    nursery.start_soon(self._heads_from_peer, source.name)
        return await self._state()

    async def _heads_from_records(self) -> None:
        try:
            records = await self._services.records.get_heads(head_key(self._publisher))
        except RemoteError:
            return
        for record in records:
            await self._offer_head(record)

    async def _heads_from_peer(self, peer_id: str) -> None:
        try:
            heads = await self._services.control.heads(peer_id, [self._publisher.digest])
        except P2PHubError:
            return
        for head in heads:
            await self._offer_head(head)

    async def _offer_head(self, record: bytes) -> None:
        self.heard[record] = None
        try:
            await self._services.on_disk(
                self._services.knowledge.learn_head, self._publisher, record
            )
        except UntrustedError as error:
            self._refusals.append(error)

    async def fetch(self, missing: Missing) -> Accepted:
        """Ask sources until the gate takes what one says; who answered well before comes first."""

        async def ask(source: Source) -> Accepted:
            data = await source.document(missing.digest, limits.MAX_RELEASE)
            return await self._services.on_disk(
                self._services.knowledge.learn, data, missing.digest, missing.kind
            )

        refusal: UntrustedError | None = None
        for again in (False, True):
            sources = await self._neighbours(again=again)
            asked = await first_right(sources, ask)
            for source, accepted in asked.answers[:1]:
                sources.remove(source)
                sources.insert(0, source)
                self.teller = source.name
                return accepted
            refusal = asked.lies[-1] if asked.lies else refusal
        if missing.damage is not None and refusal is None:
            raise missing.damage
        of = await self._called()
        what = f"the {CALLED[missing.kind]} {missing.digest.hex()[:16]}… of {of}"
        if refusal is not None:
            raise _retold(refusal, f"{what} that was delivered is refused: {refusal.message}")
        raise NoSourceError(
            f"{what} is with nobody reachable", remedy="pull when a peer that has it is online"
        )

    async def _called(self) -> str:
        return await self._services.on_disk(called, self._services.store, self._publisher)

    async def _neighbours(self, *, again: bool = False) -> list[Source]:
        """Whoever is found first; everybody who can be found, if those did not do."""
        if self._sources is None or again:
            self._sources = await self._services.neighbours.holders(
                self._publisher.digest, again=again, few=not again
            )
        return self._sources


def _retold(refusal: UntrustedError, message: str) -> UntrustedError:
    """The same refusal, in words that say what it is about."""
    remedy = refusal.remedy or "pull again when another peer has it"
    if isinstance(refusal, Refusal):
        return type(refusal)(message, verdict=refusal.verdict, steps=refusal.steps, remedy=remedy)
    return WrongBytesError(message, remedy=remedy)
