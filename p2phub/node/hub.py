"""What a hub of repos answers about them: to Hugging Face's clients, through the gateway.

A repo that is not here is looked for, with everything that a pull asks. A ref that was looked up
less than `FRESH` seconds ago is answered from this disk: those clients ask a few times for each
file. Files come through `on_demand`.

Nothing that the rule for its publisher refuses is told of or handed out.
"""

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

import trio

from p2phub.errors import (
    NoRevisionError,
    NoSourceError,
    NotFoundError,
    P2PHubError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.ids import Kind, PublisherId, Reference, commit_id, is_commit_id
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.xet import files_of
from p2phub.node.committing import CommitRequest, RefRequest, commit, set_revision
from p2phub.node.discussing import Discussing
from p2phub.node.headers import Described, describe, describe_here
from p2phub.node.locate import ResolvedRelease, by_ref, locate, publisher_of
from p2phub.node.on_demand import OnDemand, Reading, ignore
from p2phub.node.parameters import weights_of
from p2phub.node.pull import obey_policy
from p2phub.node.resolve import bring_manifest, resolve
from p2phub.node.services import Services
from p2phub.node.upstream_copies import at_upstreams_commit, find_copy
from p2phub.node.upstream_desk import UpstreamDesk
from p2phub.node.values import Published
from p2phub.store.sent_parts import InParts
from p2phub.store.uploads import Kept

FRESH: Final = 20.0
"""Seconds for which the answer to what a ref names is good."""
HISTORY: Final = 1000
"""Releases that are walked back."""
MAX_README: Final = 1 << 20
"""Bytes of a README that is read."""
README: Final = ("README.md",)


@dataclass(frozen=True, slots=True)
class Past:
    """One release of a repo's history."""

    digest: bytes
    release: Release

    @property
    def commit(self) -> str:
        return commit_id(self.digest)


class HubDesk:
    """The repos of one node, for clients of a hub. `run` has to run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._on_demand = OnDemand(services)
        self.discussions = Discussing(services)
        self.upstream = UpstreamDesk(services) if services.config.gateway.upstream else None
        """The other hub, if node.toml names one."""
        self._asked: dict[PublisherId, float] = {}
        """When the newest head of a publisher was asked for, by trio's clock."""

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """What goes on for readers, until it is cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._on_demand.run)
            if self.upstream is not None:
                await nursery.start(self.upstream.run)
            task_status.started()

    async def find(self, repo: str, revision: str | None, kind: Kind) -> ResolvedRelease:
        """The release that a revision of a repo names; None is `main`. Of a repo of the upstream
        that is a copy which somebody signed.

        Raises `NotFoundError` (`NoRevisionError` if only the revision is unknown),
        `UntrustedError`, `NoSourceError`.
        """
        if self.upstream is not None and await self.upstream.means(repo):
            find, history = self._find, self.history
            return await find_copy(self._services, find, history, repo, revision, kind)
        try:
            return await self._find(repo, revision, kind)
        except NoRevisionError:
            if not is_commit_id(revision or ""):
                raise
            main = await self._find(repo, None, kind)
            copy = await at_upstreams_commit(main, self.history, revision or "")
            if copy is None:
                raise
            return copy

    async def _find(self, repo: str, revision: str | None, kind: Kind) -> ResolvedRelease:
        reference = _reference(repo, revision)
        resolved = await self._recently(reference) or await self._anew(reference)
        if resolved.release.kind != kind:
            raise NotFoundError(
                f"{repo} is a {resolved.release.kind}, and no {kind}",
                remedy=f"ask for it as a {resolved.release.kind}",
            )
        await obey_policy(self._services, resolved, ignore)
        # Clients ask by commit, people by ref.
        return await self._services.on_disk(by_ref, self._services.store, resolved)

    async def _recently(self, reference: Reference) -> ResolvedRelease | None:
        """The release, if it was asked for a moment ago and is known here."""
        return await self._services.on_disk(self._known, reference, trio.current_time())

    def _known(self, reference: Reference, now: float) -> ResolvedRelease | None:
        services = self._services
        asked = self._asked.get(publisher_of(services.store, reference))
        if asked is None or now - asked > FRESH:
            return None
        try:
            return locate(services.store, services.knowledge, reference)
        except (NotFoundError, UntrustedError):
            return None

    async def _anew(self, reference: Reference) -> ResolvedRelease:
        """One asks for all who want to know of a publisher at the same time."""
        services = self._services
        publisher = await services.on_disk(publisher_of, services.store, reference)
        async with services.bringing.of(("head", publisher)):
            resolved = await self._recently(reference)
            if resolved is None:
                resolved = await self._asked_for(publisher, reference)
                self._asked[publisher] = trio.current_time()
        return resolved

    async def _asked_for(self, publisher: PublisherId, reference: Reference) -> ResolvedRelease:
        try:
            return await resolve(self._services, reference)
        except NoSourceError:
            if not await self._services.on_disk(self._published_nothing, publisher):
                raise
        raise NotFoundError(f"there is no {reference}: nothing of this publisher was published yet")

    def _published_nothing(self, publisher: PublisherId) -> bool:
        """Whether it is our own publisher, and nobody knows of a release of it."""
        own = self._services.store.documents.own_publisher()
        return publisher == own and self._services.knowledge.state(publisher) is None

    async def history(self, resolved: ResolvedRelease, most: int = HISTORY) -> Sequence[Past]:
        """A release and those before it, the newest first, as far as anybody keeps them."""
        found: dict[bytes, Past] = {}
        todo = [resolved.digest]
        while todo and len(found) < most:
            digest = todo.pop(0)
            if digest in found:
                continue
            release = await self._past(resolved, digest)
            if release is not None:
                found[digest] = Past(digest, release)
                todo += release.parents
        return sorted(found.values(), key=lambda past: -past.release.created)

    async def _past(self, resolved: ResolvedRelease, digest: bytes) -> Release | None:
        """A release of the same repo; None if nobody has it, or it is refused."""
        if digest == resolved.digest:
            return resolved.release
        services, publisher = self._services, resolved.repo.publisher
        try:
            await services.on_disk(services.knowledge.expect, digest, publisher)
            await bring_manifest(services, publisher, digest)
            accepted = await services.on_disk(services.knowledge.document, digest, Release)
        except (NoSourceError, UntrustedError):
            return None
        found = accepted.document if accepted is not None else None
        if not isinstance(found, Release) or found.name != resolved.repo.name:
            return None
        return found

    async def described(self, resolved: ResolvedRelease, *, fetch: bool) -> Described | None:
        """What the headers of its weights say; None if they are not here and shall not be fetched,
        or cannot be read.
        """
        weights = weights_of([file.path for file in resolved.release.files])
        try:
            if fetch:
                return await describe(self._services, resolved, weights)
            return await self._services.on_disk(describe_here, self._services, resolved, weights)
        except P2PHubError:
            return None

    async def readme(self, resolved: ResolvedRelease, *, fetch: bool) -> str:
        """The text of its README; empty if it has none, or it is not here and is not fetched."""
        for file in resolved.release.files:
            if file.path == README and file.size <= MAX_README:
                here = await self._services.on_disk(self._services.store.blobs.has, file.content)
                return await self._text(resolved, file) if fetch or here else ""
        return ""

    async def _text(self, resolved: ResolvedRelease, file: FileEntry) -> str:
        async with self.reading(resolved, file, 0, file.size) as reading:
            return b"".join([data async for data in reading]).decode(errors="replace")

    async def commit(self, request: CommitRequest) -> Published:
        """See `p2phub.node.committing`."""
        return await commit(self._services, request, ignore)

    async def set_revision(self, request: RefRequest) -> None:
        """See `p2phub.node.committing`."""
        await set_revision(self._services, request)

    async def upload(self, size: int, sha256: bytes | None, body: AsyncIterable[bytes]) -> Kept:
        """Keep what a client sends. Raises `WrongBytesError` if it is not what was promised,
        `NoSpaceError`, `QuotaError`.
        """
        on_disk = self._services.on_disk
        upload = await on_disk(self._services.store.uploads.begin, size)
        try:
            async for data in body:
                await on_disk(upload.write, data)
            return await on_disk(upload.keep, sha256)
        finally:
            with trio.CancelScope(shield=True):
                await on_disk(upload.__exit__, None, None, None)

    async def upload_part(self, what: InParts, number: int, body: AsyncIterable[bytes]) -> str:
        """Keep a part of a file: its tag. Raises what `store.sent_parts` does."""
        on_disk = self._services.on_disk
        part = await on_disk(self._services.store.sent_parts.begin, what, number)
        async for data in body:
            await on_disk(part.write, data)
        return await on_disk(part.keep)

    async def finish_parts(self, what: InParts, tags: Mapping[int, str]) -> Kept:
        """Keep a file whose parts are here. Raises what `store.sent_parts` does."""
        return await self._services.on_disk(self._services.store.sent_parts.finish, what, tags)

    async def keep_xorb(
        self, upload: str, name: str, size: int, body: AsyncIterable[bytes]
    ) -> bool:
        """Keep a xorb of an upload, of at most `size` bytes; whether it is new.

        Raises `MalformedError`, `NoSpaceError`.
        """
        on_disk, xorbs = self._services.on_disk, self._services.store.xorbs
        xorb = await on_disk(xorbs.begin, upload, name, size)
        try:
            async for data in body:
                await on_disk(xorb.write, data)
            return await on_disk(xorbs.keep, upload, xorb)
        finally:
            with trio.CancelScope(shield=True):
                await on_disk(xorbs.end, xorb)

    async def take_shard(self, upload: str, data: bytes) -> Sequence[Kept]:
        """Keep the files that a shard makes of the xorbs of an upload.

        Raises `MalformedError`, `NotFoundError` if a xorb did not come, `NoSpaceError`.
        """
        make = self._services.store.xorbs.make
        files = await self._services.on_disk(lambda: list(files_of(data)))
        return [await self._services.on_disk(make, upload, file) for file in files]

    async def uploaded(self, sha256: bytes, size: int) -> Kept | None:
        """A file that was sent, or was here before."""
        return await self._services.on_disk(self._services.store.uploads.find, sha256, size)

    def reading(
        self, resolved: ResolvedRelease, file: FileEntry, start: int, stop: int
    ) -> AbstractAsyncContextManager[Reading]:
        """The verified bytes [start, stop) of a file: see `OnDemand.reading`."""
        return self._on_demand.reading(resolved, file, start, stop)


def _reference(repo: str, revision: str | None) -> Reference:
    try:
        found = Reference.parse(repo if revision is None else f"{repo}@{revision}")
    except UsageError as error:
        raise NotFoundError(f"there is no {repo[:200]} here: {error.message}") from None
    return found
