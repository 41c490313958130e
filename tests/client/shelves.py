"""A node that has two releases of one repo in memory, for what reads them file by file."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from p2phub.errors import NoFileError, NoRevisionError, NotFoundError
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.values import FileRow, RepoInfo, RepoRow, Report, SearchQuery
from p2phub.testing.nodes import PUBLISHER, FakeNode

FIRST, SECOND = "1" * 40, "2" * 40
CREATED = 1_700_000_000


def text(commit: str, path: str, size: int) -> bytes:
    """What a file holds: different in every release."""
    line = f"{commit[:4]} {path} ".encode()
    return (line * (size // len(line) + 1))[:size]


class ShelfNode(FakeNode):
    """Knows `lab/set`; `refs` say which release each ref names now."""

    def __init__(self, snapshot: Path) -> None:
        super().__init__(snapshot)
        self.reset()

    def reset(self) -> None:
        """Be as new."""
        self.asked.clear()
        self.fails = None
        sizes = {
            "README.md": 20,
            "empty.txt": 0,
            "data/0.csv": 1000,
            "data/1.csv": 100_000,
            "data/deep/er/a b%20c.txt": 7,
            "database.bin": 3_000_000,
        }
        self.releases = {
            commit: {path: text(commit, path, size) for path, size in sizes.items()}
            for commit in (FIRST, SECOND)
        }
        self.refs = {"main": FIRST, "refs/pr/1": SECOND}

    def _release(self, reference: str) -> tuple[str, dict[str, bytes]]:
        repo, _, revision = reference.partition("@")
        if repo not in ("lab/set", f"{PUBLISHER}/set"):
            raise NotFoundError(f"there is no {repo}", remedy="try `p2phub search`")
        commit = self.refs.get(revision or "main", revision)
        if commit not in self.releases:
            raise NoRevisionError(f"{repo} has no revision {revision}")
        return commit, self.releases[commit]

    async def resolve(self, reference: str) -> Named:
        await self._ask(("resolve", reference))
        return Named("lab/set@main", self._release(reference)[0], PUBLISHER, self.verdict)

    async def info(self, reference: str) -> RepoInfo:
        info = await super().info("lab/minilm")
        return replace(info, commit=self._release(reference)[0], created=CREATED)

    async def ls(self, reference: str | None) -> Sequence[RepoRow] | Sequence[FileRow]:
        await self._ask(("ls", reference))
        if reference is None:
            row = RepoRow("lab/set@main", FIRST, "dataset", "verified", "none", 1, 1, 0)
            return (row, replace(row, ref=f"{PUBLISHER}/other@main"))
        found = []
        for path, data in self._release(reference)[1].items():
            digest = hashlib.sha256(data).hexdigest()
            found.append(FileRow(path, len(data), digest, True, f"{len(data)}-{digest}", "none"))
        return tuple(found)

    async def search(self, query: SearchQuery) -> Sequence[object]:
        if query.publisher not in (None, "lab") and len(query.publisher or "") < 52:
            raise NotFoundError(f"nobody is called {query.publisher} here")
        return ()

    async def bring_ranges(self, request: PartRequest, report: Report) -> PartHere:
        await self._work(request, report)
        size = len(self._release(request.reference)[1][request.path])
        return PartHere("lab/set@main", FIRST, request.path, size, size, 0)

    async def read(self, request: PartRequest) -> bytes:
        await self._ask(request)
        data = self._release(request.reference)[1].get(request.path)
        if data is None:
            raise NoFileError(f"no file {request.path}")
        return b"".join(data[start:stop] for start, stop in request.ranges)

    def resolved(self) -> int:
        """How often somebody wanted to know what a ref names."""
        return sum(isinstance(each, tuple) and each[0] == "resolve" for each in self.asked)

    def reads(self) -> list[PartRequest]:
        return [each for each in self.asked if isinstance(each, PartRequest)]
