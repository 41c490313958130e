"""What was seen of publishers and must outlive a restart: how far they had come, which numbers
their writers used, and what they took back.

Nothing is judged here: what is put in came through the gate (`trust.catalog`), and is told to it
again when a publisher is first touched after a start.
"""

from dataclasses import dataclass
from typing import Final

from p2phub.formats.ids import PublisherId
from p2phub.store.index import Index
from p2phub.trust.history import REMEMBERED, Order

KEPT: Final = REMEMBERED
"""Indexes of one publisher whose numbers are kept."""


@dataclass(frozen=True, slots=True)
class Written:
    """The index that a writer gave a number to."""

    writer: bytes
    number: int
    index: bytes


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A notice as it was accepted, packed."""

    digest: bytes
    data: bytes


class Seen:
    """What was seen of publishers. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def saw(self, publisher: PublisherId, order: Order) -> None:
        """The newest head of a publisher has this order."""
        with self._index.write() as statements:
            statements.run("seen.saw", str(publisher), *order)

    def highest(self, publisher: PublisherId) -> Order | None:
        """How far a publisher had come; None if no head of it was accepted."""
        with self._index.read() as statements:
            row = statements.one("seen.highest", str(publisher))
        return (row[0], row[1], row[2]) if row else None

    def wrote(self, publisher: PublisherId, written: Written) -> None:
        """An index of a publisher was accepted. The newest `KEPT` stay."""
        with self._index.write() as statements:
            added = statements.run(
                "seen.wrote",
                str(publisher),
                written.writer,
                written.number,
                written.index,
            )
            if added:
                statements.run("seen.drop_older_written", str(publisher), KEPT)

    def written(self, publisher: PublisherId) -> list[Written]:
        """The numbers that the writers of a publisher used, oldest first."""
        with self._index.read() as statements:
            rows = statements.all("seen.written", str(publisher))
        return [Written(*row) for row in rows]

    def add_notice(
        self, publisher: PublisherId, digest: bytes, type: str, data: bytes, now: int
    ) -> None:
        """Keep a notice for ever; both rows or none."""
        with self._index.write() as statements:
            statements.run("documents.put", digest, type, data)
            statements.run("seen.add_notice", digest, str(publisher), now)

    def notices(self, publisher: PublisherId) -> list[KeptNotice]:
        """Every notice of a publisher, by digest."""
        with self._index.read() as statements:
            rows = statements.all("seen.notices", str(publisher))
        return [KeptNotice(*row) for row in rows]

    def has_notices(self, publisher: PublisherId) -> bool:
        """Whether a publisher took anything back, or forked."""
        with self._index.read() as statements:
            return statements.one("seen.any_notice", str(publisher)) is not None
