"""What an upstream hub said, and which of its files were fetched and checked.

Answers are kept so that they can be told again while the upstream is away, with their age; the
oldest go when there are more than `MOST_ANSWERS` or `MOST_BYTES` of them. Only what anybody may
know belongs here: an answer that took a token is never handed to this module.

A row of a file says that bytes were hashed whole here and are those that the upstream names.

>>> Origin("https://hub.example", "model", "org/x", "c" * 40).repo
'org/x'
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2phub.formats.ids import ContentId, Kind
from p2phub.store.index import Index

MOST_ANSWERS: Final = 50_000
MOST_BYTES: Final = 256 << 20
"""Bytes of all answers together."""
TOO_LONG: Final = 16 << 20
"""Bytes of an answer that is not kept."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, and when it was given (unix seconds)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: int


@dataclass(frozen=True, slots=True)
class Origin:
    """A commit of a repo of an upstream."""

    endpoint: str
    kind: Kind
    repo: str
    commit: str


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file of an upstream, as it was found here. `path` as the upstream writes it."""

    path: str
    content: ContentId
    sha256: bytes
    git_sha1: bytes | None


class UpstreamNotes:
    """Answers and files of upstreams. Thread-safe."""

    def __init__(self, index: Index, *, answers: int = MOST_ANSWERS, size: int = MOST_BYTES):
        self._index, self._most, self._size = index, answers, size

    def answer(self, *question: str | bytes) -> KeptAnswer | None:
        """What was answered to a question before."""
        with self._index.read() as statements:
            row = statements.one("upstream.answer", _key(question))
        return KeptAnswer(row[0], json.loads(row[1]), row[2], row[3]) if row else None

    def put_answer(self, answer: KeptAnswer, *question: str | bytes) -> None:
        """Keep an answer that anybody may know, in the place of the one before."""
        if len(answer.body) > TOO_LONG:
            return
        headers = json.dumps(dict(answer.headers), separators=(",", ":"))
        with self._index.write() as statements:
            statements.run(
                "upstream.put_answer",
                _key(question),
                answer.status,
                headers,
                answer.body,
                answer.asked,
            )
            row = statements.one("upstream.total")
            count, size = row if row else (0, 0)
            while count > 1 and (count > self._most or size > self._size):
                statements.run("upstream.drop_oldest", max(1, count // 10))
                row = statements.one("upstream.total")
                count, size = row if row else (0, 0)

    def put_file(self, origin: Origin, file: SeenFile) -> bool:
        """A file was checked here; whether that is new."""
        with self._index.write() as statements:
            return bool(
                statements.run(
                    "upstream.put_file",
                    origin.endpoint,
                    origin.kind,
                    origin.repo,
                    origin.commit,
                    file.path,
                    file.content.size,
                    file.content.digest,
                    file.sha256,
                    file.git_sha1,
                )
            )

    def files(self, origin: Origin) -> list[SeenFile]:
        """The files of a commit that were checked here, by path."""
        with self._index.read() as statements:
            rows = statements.all(
                "upstream.files", origin.endpoint, origin.kind, origin.repo, origin.commit
            )
        return [SeenFile(path, ContentId(size, d), sha, git) for path, size, d, sha, git in rows]

    def by_git_sha1(self, digest: bytes, size: int) -> list[ContentId]:
        """Files that were found to have this git blob SHA-1."""
        with self._index.read() as statements:
            rows = statements.all("upstream.by_git_sha1", digest, size)
        return [ContentId(size, row[0]) for row in rows]


def _key(question: tuple[str | bytes, ...]) -> bytes:
    """Each part with its length, so that no two questions are one."""
    digest = hashlib.sha256()
    for part in question:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
