"""Releases that came through the gate of this node and wait there: their files are here, kept from
being dropped, and nobody sees them.

A release is in quarantine or held, never both, so that all who ask what is held (`repos`) know
nothing of it. `let_in` makes the one into the other in one transaction: there is no moment at which
half of it is visible, and a crash leaves it on one side. What only a release in quarantine needs is
*hidden*: whoever gives out bytes or documents by their digest asks here first.

Rules it keeps:
 * a rejected release stays noted, without its files, until somebody allows it again;
 * the same release that comes again later is another case, with a number that was never used: no
   approval of the first is good for it;
 * new results of the checks end the approvals that were given for other ones.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from p2phub.errors import NotFoundError
from p2phub.formats.ids import ContentId, commit_id
from p2phub.store.index import Index, Row, Statements

State = Literal["coming", "waiting", "rejected"]
KEPT: Final = frozenset({"coming", "waiting"})
"""The states in which its files are here."""


@dataclass(frozen=True, slots=True)
class Case:
    """A release that came, and where it stands."""

    digest: bytes
    case: bytes
    """16 bytes: what an approval names it by, beside the digest."""
    ref: str
    origin: str
    """The bundle it came from."""
    since: int
    """Unix seconds."""
    state: State
    reason: str
    """Why it was rejected."""
    checks: bytes
    """What the checks found, packed; empty before they ran."""
    approvals: tuple[bytes, ...] = ()
    """Packed envelopes, one an approver."""


class Quarantine:
    """What waits in one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index, self._lock = index, threading.Lock()
        self._empty: bool | None = None
        """Whether nothing waits, so that nobody has to ask the database; None: not known yet."""

    def get(self, digest: bytes) -> Case | None:
        """Where a release stands; None if it never came, or was let in."""
        with self._index.read() as statements:
            row = statements.one("quarantine.find", digest)
            return None if row is None else _case(statements, row)

    def all(self) -> list[Case]:
        """Every case, the oldest first."""
        with self._index.read() as statements:
            return [_case(statements, row) for row in statements.all("quarantine.all")]

    def is_held(self, digest: bytes) -> bool:
        """Whether a release is on this side of the gate: a pull of it, or a publish, has ended."""
        with self._index.read() as statements:
            return statements.one("quarantine.is_held", digest) is not None

    def begin(self, digest: bytes, case: bytes, ref: str, origin: str, now: int) -> bool:
        """A release comes: from now on its files are kept and hidden. One that waits stays as it
        is. A pull of it that never ended is forgotten. False if it is held already: then it is on
        this side of the gate, and nothing is done.
        """
        with self._changing() as statements:
            if statements.one("repos.release", digest) is None:
                raise NotFoundError(f"no release {commit_id(digest)} was recorded")
            if statements.one("quarantine.is_held", digest) is not None:
                return False
            if statements.one("quarantine.find", digest) is None:
                statements.run("quarantine.add", digest, case, ref, origin, now)
                statements.run("quarantine.forget_pull", digest)
            return True

    def checked(self, digest: bytes, checks: bytes) -> None:
        """All of it is here, and this is what the checks found."""
        with self._changing() as statements:
            row = statements.one("quarantine.find", digest)
            if row is None or not statements.run("quarantine.set_checks", checks, digest):
                raise NotFoundError(f"release {commit_id(digest)} does not wait here")
            if row[7] != checks:
                statements.run("quarantine.drop_approvals", digest)

    def approve(self, digest: bytes, approver: str, data: bytes) -> None:
        """Keep what an approver signed."""
        with self._changing() as statements:
            statements.run("quarantine.put_approval", digest, approver, data)

    def let_in(self, digest: bytes, case: bytes, now: int) -> None:
        """From now on the release is held and visible. Raises `NotFoundError` if it does not wait
        under this number any more.
        """
        with self._changing() as statements:
            row = statements.one("quarantine.find", digest)
            if row is None or row[1] != case or row[5] != "waiting":
                raise NotFoundError(f"release {commit_id(digest)} does not wait here any more")
            statements.run("quarantine.drop", digest)
            statements.run("repos.hold", digest, row[2], 1, now)

    def reject(self, digest: bytes, reason: str) -> tuple[ContentId, ...]:
        """Keep it out: the contents that nothing else needs and that may be dropped now."""
        with self._changing() as statements:
            if not statements.run("quarantine.set_state", "rejected", reason, digest):
                raise NotFoundError(f"release {commit_id(digest)} does not wait here")
            statements.run("quarantine.drop_approvals", digest)
            rows = statements.all("repos.free_of", digest)
        return tuple(ContentId(*row) for row in rows)

    def forget(self, digest: bytes) -> tuple[ContentId, ...]:
        """As if it had never come: the contents that nothing else needs."""
        with self._changing() as statements:
            statements.run("quarantine.drop", digest)
            rows = statements.all("repos.free_of", digest)
        return tuple(ContentId(*row) for row in rows)

    def hides(self, content: ContentId) -> bool:
        """Whether a file is here for releases in quarantine alone."""
        return bool(self.hidden([content]))

    def hidden(self, contents: Iterable[ContentId]) -> frozenset[ContentId]:
        """Those of `contents` of which that is so. Costs nothing while nothing waits."""
        if self._is_empty():
            return frozenset()
        with self._index.read() as statements:
            return frozenset(
                content
                for content in contents
                if statements.one("quarantine.hides", content.digest, content.size)
            )

    def hides_document(self, digest: bytes) -> bool:
        """The same for a release, and for the piece table of a file."""
        if self._is_empty():
            return False
        with self._index.read() as statements:
            return statements.one("quarantine.hides_document", digest) is not None

    def _is_empty(self) -> bool:
        with self._lock:
            if self._empty is None or self._index.read_only:
                with self._index.read() as statements:
                    self._empty = statements.one("quarantine.any") is None
            return self._empty

    @contextmanager
    def _changing(self) -> Iterator[Statements]:
        """A transaction; whoever asks while it lasts, or after it, asks the database."""
        with self._lock:
            self._empty = False
        try:
            with self._index.write() as statements:
                yield statements
        finally:
            with self._lock:
                self._empty = None


def _case(statements: Statements, row: Row) -> Case:
    approvals = statements.all("quarantine.approvals", row[0])
    digest, case, ref, origin, since, state, reason, checks = row
    kept = tuple(data for (data,) in approvals)
    return Case(digest, case, ref, origin, since, state, reason, checks, kept)
