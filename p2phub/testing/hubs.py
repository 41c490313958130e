"""A hub without disk or network: what the routes of the Hugging Face Hub API are tested on.

`FakeHub` knows the releases of one repo, the files of which it holds in memory. It can be told to
fail (`fails`), and to hand out the bytes of files as a test says: `pieces` are what comes, one
after another, `pause` seconds apart, and an error among them is raised.

>>> FakeHub(FakePublisher(1), {"config.json": b"{}"}).repo
'lab/minilm'
"""

import os
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2phub.errors import (
    NoRevisionError,
    NotFoundError,
    ParentMovedError,
    UsageError,
    WrongBytesError,
)
from p2phub.formats.digest import sha256 as digest_of
from p2phub.formats.ids import Kind, RepoId, commit_id
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.publisher import Ref
from p2phub.gateway.ports import DiscussionsApi, UpstreamApi
from p2phub.node.committing import CommitRequest, RefRequest, changed
from p2phub.node.headers import Described
from p2phub.node.hub import Past
from p2phub.node.locate import ResolvedRelease
from p2phub.node.on_demand import Reading
from p2phub.node.parameters import weights_of
from p2phub.node.services import DiskThreads
from p2phub.node.values import Published
from p2phub.store.sent_parts import InParts
from p2phub.store.uploads import Kept
from p2phub.testing.discussions import FakeDiscussions
from p2phub.testing.publishers import FakePublisher, fake_file
from p2phub.trust.verdict import Judgement, Verdict


class FakeHub:
    """Answers like the hub of a node that holds a repo, whole and verified."""

    repo = "lab/minilm"

    def __init__(
        self, publisher: FakePublisher, files: Mapping[str, bytes], kind: Kind = "model"
    ) -> None:
        self._publisher, self._kind = publisher, kind
        self.past: list[Past] = []
        """The releases, the newest first."""
        self.refs: dict[str, Ref] = {}
        self.contents: dict[bytes, bytes] = {}
        self.found: list[tuple[str, str | None, Kind]] = []
        """What was asked for."""
        self.fails: Exception | None = None
        self.pieces: Sequence[bytes | Exception] | None = None
        self.pause = 0.0
        self.blob: Path | None = None
        """What lies on the disk of the file that is read, if it is said to be here."""
        self.commits: list[CommitRequest] = []
        self.kept: dict[bytes, FileEntry] = {}
        """What was uploaded, by its SHA-256."""
        self.parts: dict[tuple[InParts, int], bytes] = {}
        """What was uploaded of files in parts."""
        self.xorbs: dict[tuple[str, str], bytes] = {}
        self.shards: list[tuple[str, bytes]] = []
        self.discussions: DiscussionsApi = FakeDiscussions()
        self.upstream: UpstreamApi | None = None
        self.read: list[tuple[int, int]] = []
        """The ranges of files that were read."""
        self.publish(files)

    def publish(self, files: Mapping[str, bytes], message: str = "", ref: str = "main") -> str:
        """Release these files: the commit."""
        before = self.refs.get(ref) or self.refs.get("main")
        envelope = self._publisher.release(
            "minilm",
            files,
            kind=self._kind,
            message=message,
            parents=(before.release,) if before else (),
        )
        release = Release.from_payload(envelope.payload)
        self.past.insert(0, Past(envelope.digest, release))
        tag = ref != "main" and not ref.startswith("refs/")
        self.refs[ref] = Ref(release=envelope.digest, seq=len(self.past), tag=tag)
        self.contents |= {file.sha256: files["/".join(file.path)] for file in release.files}
        return commit_id(envelope.digest)

    async def find(self, repo: str, revision: str | None, kind: Kind) -> ResolvedRelease:
        await trio.lowlevel.checkpoint()
        self.found.append((repo, revision, kind))
        if self.fails is not None:
            raise self.fails
        if (repo, kind) != (self.repo, self._kind):
            raise NotFoundError(f"there is no {kind} {repo} here", remedy="look for another")
        ref = self.refs.get(revision or "main")
        for past in self.past:
            if past.commit == revision or (ref is not None and past.digest == ref.release):
                return self._resolved(past, revision or "main")
        raise NoRevisionError(f"{repo} has no revision {revision}")

    def _resolved(self, past: Past, revision: str) -> ResolvedRelease:
        return ResolvedRelease(
            repo=RepoId(self._publisher.publisher, "minilm"),
            revision=revision,
            digest=past.digest,
            release=past.release,
            judgement=Judgement(Verdict.VERIFIED),
            refs=self.refs,
            called=f"{self.repo}@{revision}",
        )

    async def history(self, resolved: ResolvedRelease, most: int = 1000) -> Sequence[Past]:
        await trio.lowlevel.checkpoint()
        known, todo = {past.digest: past for past in self.past}, [resolved.digest]
        found: dict[bytes, Past] = {}
        while todo:
            past = known[todo.pop()]
            found[past.digest] = past
            todo += past.release.parents
        return [past for past in self.past if past.digest in found][:most]

    async def described(self, resolved: ResolvedRelease, *, fetch: bool) -> Described | None:
        await trio.lowlevel.checkpoint()
        if not weights_of([file.path for file in resolved.release.files]):
            return None
        return Described({"model_type": "llama", "vocab_size": 7}, {}, {})

    async def readme(self, resolved: ResolvedRelease, *, fetch: bool) -> str:
        await trio.lowlevel.checkpoint()
        for file in resolved.release.files:
            if file.path == ("README.md",):
                return self.contents[file.sha256].decode()
        return ""

    async def commit(self, request: CommitRequest) -> Published:
        self.commits.append(request)
        before = self.past[0].release if self.past else None
        if request.parent and request.parent != self.past[0].commit:
            raise ParentMovedError("main has moved")
        files = changed(before.files if before else (), request.changes)
        named = {"/".join(file.path): self.contents[file.sha256] for file in files}
        commit = self.publish(named, message=request.message, ref=request.ref)
        publisher = str(self._publisher.publisher)
        return Published(f"lab/{request.name}", commit, commit, publisher, len(files), 0, 0)

    async def set_revision(self, request: RefRequest) -> None:
        now = self.refs.get(request.ref)
        if (commit_id(now.release) if now else None) != request.expected:
            raise ParentMovedError("somebody was faster")
        (digest,) = [past.digest for past in self.past if past.commit == request.commit]
        seq = 1 + max(ref.seq for ref in self.refs.values())
        self.refs[request.ref] = Ref(release=digest, seq=seq, tag=request.tag)

    async def upload(self, size: int, sha256: bytes | None, body: AsyncIterable[bytes]) -> Kept:
        data = b"".join([each async for each in body])
        if len(data) != size or (sha256 is not None and digest_of(data) != sha256):
            raise WrongBytesError("what came is not what was promised")
        self.contents[digest_of(data)] = data
        self.kept[digest_of(data)] = found = fake_file("x", data).entry
        return Kept(found.content, found.sha256, found.git_sha1)

    async def uploaded(self, sha256: bytes, size: int) -> Kept | None:
        found = self.kept.get(sha256)
        return None if found is None or found.size != size else Kept(found.content, sha256, None)

    async def upload_part(self, what: InParts, number: int, body: AsyncIterable[bytes]) -> str:
        start, end = what.span(number)
        data = b"".join([each async for each in body])
        if len(data) != end - start:
            raise WrongBytesError("a part of another size")
        self.parts[what, number] = data
        return digest_of(data).hex()

    async def finish_parts(self, what: InParts, tags: Mapping[int, str]) -> Kept:
        whole = {each: data for (file, each), data in self.parts.items() if file == what}
        if tags != {each: digest_of(data).hex() for each, data in whole.items()}:
            raise UsageError("other parts came")

        async def body() -> AsyncIterator[bytes]:
            for each in sorted(whole):
                yield whole[each]

        return await self.upload(what.size, what.sha256, body())

    async def keep_xorb(
        self, upload: str, name: str, size: int, body: AsyncIterable[bytes]
    ) -> bool:
        self.xorbs[upload, name] = b"".join([each async for each in body])
        return True

    async def take_shard(self, upload: str, data: bytes) -> Sequence[Kept]:
        self.shards.append((upload, data))
        return ()

    @asynccontextmanager
    async def reading(
        self, resolved: ResolvedRelease, file: FileEntry, start: int, stop: int
    ) -> AsyncIterator[Reading]:
        self.read.append((start, stop))
        whole = [self.contents[file.sha256][start:stop]]
        come = self._come(whole if self.pieces is None else self.pieces)
        blob = -1 if self.blob is None else os.open(self.blob, os.O_RDONLY)
        try:
            yield Reading(come, blob, DiskThreads(1))
        finally:
            if blob >= 0:
                os.close(blob)

    async def _come(self, pieces: Sequence[bytes | Exception]) -> AsyncIterator[bytes]:
        for piece in pieces:
            await trio.sleep(self.pause)
            if isinstance(piece, Exception):
                raise piece
            yield piece
