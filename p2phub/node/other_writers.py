"""Hear what other nodes of our publisher wrote, also where nobody will join it but us.

Usually the node whose index lost against ours joins both. But a machine may be gone for good, or
this store was restored from a backup and went on from there: then peers have a head that is not
older than what we went on from, and yet is not in our history. Its index and pages are fetched and
remembered as one more end of it (`store.tips`); the next index joins them.

Rules it keeps:
 * only for our own publisher, and only what a release key of the delegation in force has signed,
   under that very delegation;
 * a document is what its digest says; what does not hold is left alone;
 * so many at a time (`MAX_STRAYS`), each with so many pages (`MAX_PAGES`).
"""

import logging
from dataclasses import dataclass, field

from p2phub.errors import P2PHubError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId, head_key
from p2phub.formats.publisher import Index, Page
from p2phub.node.asking import first_right
from p2phub.node.resolve import catch_up
from p2phub.node.services import Services
from p2phub.protocol.ports import Source
from p2phub.trust import envelope
from p2phub.trust.records import HeadRecord, check_head

log = logging.getLogger(__name__)

MAX_STRAYS = 4
"""Indexes beside the newest one that are fetched at a time."""
MAX_PAGES = 1024
"""Pages of one such index."""


async def hear_other_writers(services: Services, own: PublisherId) -> None:
    """Learn what the network knows of our own publisher, before we sign more.

    Raises `NoSourceError` if a newer index exists and nobody reachable has it.
    """
    heads = await catch_up(services, own)
    strays = await services.on_disk(_strays, services, own, heads)
    for record in strays[:MAX_STRAYS]:
        try:
            await _Stray(services, own, record).bring()
        except P2PHubError as error:
            log.warning("what another node of this publisher wrote: %s", error.message)


def _strays(services: Services, own: PublisherId, heads: tuple[bytes, ...]) -> list[HeadRecord]:
    """The heads that hold, were made under our delegation, and name an index that is not here."""
    state, found = services.knowledge.state(own), dict[bytes, HeadRecord]()
    for data in heads:
        try:
            record = check_head(head_key(own), data)
        except P2PHubError:
            continue
        index, here = record.head.index, services.store.documents.get(record.head.index)
        if state is not None and here is None and record.order[:2] == state.order[:2]:
            found[index] = record
    return list(found.values())


@dataclass(slots=True)
class _Stray:
    """One index that is in nobody's history, and what of it was fetched so far."""

    services: Services
    own: PublisherId
    record: HeadRecord
    documents: list[tuple[bytes, str, bytes]] = field(default_factory=list)

    async def bring(self) -> None:
        """Fetch it whole and remember it. Raises `NoSourceError`, `UntrustedError`."""
        services, record = self.services, self.record
        sources = await services.neighbours.holders(self.own.digest, again=True, few=False)
        data = await self._fetch(sources, record.head.index)
        signed = envelope.unpack(data)
        index = Index.from_payload(signed.payload)
        allowed = record.identity.release_key(index.writer) is not None
        ours = index.publisher == self.own.digest and index.seq == record.head.seq
        if not (ours and allowed and index.writer in signed.signed_by()):
            raise WrongBytesError("the index that a head of ours names is not one of ours")
        self.documents.append((record.head.index, Index.TYPE, data))
        todo = [index.pages]
        while todo and len(self.documents) <= MAX_PAGES:
            digest = todo.pop()
            page = Page.from_payload(data := await self._fetch(sources, digest))
            self.documents.append((digest, Page.TYPE, data))
            todo += (child for _, child in page.children)
        if not todo:
            await services.on_disk(self._keep)

    async def _fetch(self, sources: list[Source], digest: bytes) -> bytes:
        async def ask(source: Source) -> bytes:
            data = await source.document(digest, limits.MAX_INDEX + limits.MAX_ENVELOPE_OVERHEAD)
            found = envelope.unpack(data).digest if envelope.is_envelope(data) else sha256(data)
            if found != digest:
                raise WrongBytesError("these bytes are not the document that was asked for")
            return data

        asked = await first_right(sources, ask)
        for _, data in asked.answers[:1]:
            return data
        raise WrongBytesError(f"nobody gave the document {digest.hex()[:16]}…")

    def _keep(self) -> None:
        store = self.services.store
        store.documents.put_many(self.documents)
        store.tips.replace([*store.tips.all(), self.record.head.index])
