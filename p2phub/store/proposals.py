"""Releases of our own publisher that nobody has listed yet: too few keys have signed them.

A proposal is kept with every signature that came for it, under the digest of the release. It is
in no index, so nobody takes it for a release; its files are kept here for as long as it is. One
that was finished, or that nobody finished in time, is dropped.

At most `MAX_PROPOSALS` are kept; the packed release has a limit of its own (`formats.limits`).
Which signatures count is `p2phub.trust`'s business.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from p2phub.errors import RefusedError
from p2phub.formats.ids import ContentId
from p2phub.store.index import Index

MAX_PROPOSALS = 64
"""Releases that may wait for signatures at once."""
KEPT_FOR = 30 * 24 * 3600
"""Seconds that a proposal waits for signatures."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A release that waits for signatures."""

    digest: bytes
    since: int
    """Unix seconds: when it came to this disk."""
    tag: str
    """The tag that is to name it; empty for none."""
    ours: bool
    """Whether its files were published or prepared on this machine."""
    data: bytes
    """Its packed envelope, with the signatures that came so far."""


class Proposals:
    """The proposals of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def put(self, proposal: Proposal, contents: Iterable[ContentId]) -> None:
        """Keep a proposal and hold on to the files it names, or keep another state of one that is
        here: it stays as old, as much ours and as tagged as it was.

        Raises `RefusedError` if there are too many others that are not too old yet.
        """
        with self._index.write() as statements:
            row = statements.one(
                "proposals.count_others", proposal.digest, proposal.since - KEPT_FOR
            )
            if row is not None and row[0] >= MAX_PROPOSALS:
                raise RefusedError(
                    f"{row[0]} releases wait for signatures here already, and no more may",
                    remedy="`p2phub key proposals` lists them: sign some, or drop some",
                )
            statements.run(
                "proposals.put",
                proposal.digest,
                proposal.since,
                proposal.tag,
                int(proposal.ours),
                proposal.data,
            )
            statements.many(
                "proposals.add_content",
                ((proposal.digest, content.digest, content.size) for content in contents),
            )

    def get(self, digest: bytes) -> Proposal | None:
        """The proposal with this digest."""
        with self._index.read() as statements:
            row = statements.one("proposals.get", digest)
        return _proposal(*row) if row else None

    def all(self, now: int) -> list[Proposal]:
        """Every proposal that is not too old, the oldest first."""
        with self._index.read() as statements:
            rows = statements.all("proposals.all", now - KEPT_FOR)
        return [_proposal(*row) for row in rows]

    def expired(self, now: int) -> list[Proposal]:
        """Those that waited for too long."""
        with self._index.read() as statements:
            rows = statements.all("proposals.expired", now - KEPT_FOR)
        return [_proposal(*row) for row in rows]

    def drop(self, digest: bytes) -> tuple[ContentId, ...]:
        """Forget a proposal: the contents that nothing else on this disk needs."""
        with self._index.write() as statements:
            rows = statements.all("proposals.contents", digest)
            statements.run("proposals.drop", digest)
            found = [ContentId(*row) for row in rows]
            return tuple(
                content
                for content in found
                if statements.one("blobs.referenced", content.digest, content.size) is None
            )


def _proposal(digest: bytes, since: int, tag: str, ours: int, data: bytes) -> Proposal:
    return Proposal(digest, since, tag, ours == 1, data)
