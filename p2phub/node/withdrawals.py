"""Releases that were taken back while this node has them: who is told, and who must obey.

A notice (a revocation, a withdrawal, a fork proof), a new delegation or a recovery can make a
release that was good yesterday one that is refused today. Whatever is asked of the node from then
on passes the gate and is refused there. What goes on already (a pull, a model that answers) cannot
ask again at every step: it listens here, and ends when its release is named.

Rules it keeps:
 * `check` looks at every release of a publisher that is kept here, through the same gate as a pull;
 * a release is named once, and again if it was good in between;
 * who listens misses nothing from the moment it began to; it never holds up the others.

    with services.withdrawals.listen() as news:
        async for withdrawn in news:
            await unload(withdrawn.digest)
"""

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import trio

from p2phub.errors import NotFoundError, RevokedError, UntrustedError, plain_errors
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.formats.manifest import Release
from p2phub.node.events import ReleaseWithdrawn
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import name_of
from p2phub.store.repos import RepoRow
from p2phub.store.store import Store
from p2phub.trust.refusals import verdict_of

log = logging.getLogger(__name__)


class Withdrawals:
    """Tells of releases on this disk that are refused from now on.

    `no_more(digest)` is called for each: the node stops saying that it has it.
    """

    def __init__(
        self, store: Store, knowledge: Knowledge, no_more: Callable[[bytes], None]
    ) -> None:
        self._store, self._knowledge, self._no_more = store, knowledge, no_more
        self._told: set[bytes] = set()
        self._listeners: list[trio.MemorySendChannel[ReleaseWithdrawn]] = []

    async def check(self, publisher: PublisherId) -> tuple[ReleaseWithdrawn, ...]:
        """Look again at every release of `publisher` here; what is refused and was not told yet."""
        refused = await trio.to_thread.run_sync(self._refused, publisher)
        news = []
        for digest, withdrawn in refused.items():
            if withdrawn is None:
                self._told.discard(digest)
            elif digest not in self._told:
                self._told.add(digest)
                news.append(withdrawn)
                self._tell(digest, withdrawn)
        return tuple(news)

    def hold_back(self, withdrawn: ReleaseWithdrawn) -> None:
        """End what goes on with a release that came in a bundle and has to wait, or was rejected
        while it came.
        """
        self._tell(bytes.fromhex(withdrawn.digest), withdrawn)

    @contextmanager
    def listen(self) -> Iterator[trio.MemoryReceiveChannel[ReleaseWithdrawn]]:
        """Everything that is told from now on."""
        send, receive = trio.open_memory_channel[ReleaseWithdrawn](math.inf)
        self._listeners.append(send)
        try:
            yield receive
        finally:
            self._listeners.remove(send)
            receive.close()

    @asynccontextmanager
    async def obeyed(self, digest: bytes) -> AsyncIterator[None]:
        """Run the block as long as the release is good. Raises `RevokedError` when it is not."""
        with self.listen() as news, plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_named, news, digest.hex())
                yield
                nursery.cancel_scope.cancel()

    def _tell(self, digest: bytes, withdrawn: ReleaseWithdrawn) -> None:
        log.warning("%s is served no more: %s", withdrawn.ref, withdrawn.reason)
        self._no_more(digest)
        for listener in self._listeners:
            listener.send_nowait(withdrawn)

    def _refused(self, publisher: PublisherId) -> dict[bytes, ReleaseWithdrawn | None]:
        rows = [row for row in self._store.repos.local() if row.repo.publisher == publisher]
        return {row.digest: self._look(row) for row in rows}

    def _look(self, row: RepoRow) -> ReleaseWithdrawn | None:
        try:
            judge(self._knowledge, row.repo.publisher, row.repo.name, row.digest)
        except UntrustedError as error:
            return ReleaseWithdrawn(
                ref=name_of(self._store, row.repo, row.ref),
                commit=commit_id(row.digest),
                digest=row.digest.hex(),
                publisher_id=str(row.repo.publisher),
                verdict=verdict_of(error).value,
                reason=error.message,
            )
        return None


def judge(knowledge: Knowledge, publisher: PublisherId, name: str, digest: bytes) -> str:
    """The verdict on a release as the gate gives it today, after what lists it was offered again.

    Raises `UntrustedError` if it is refused. Empty if its manifest is not on this disk.
    """
    with suppress(NotFoundError):  # no index lists it any more: it stands by its signatures
        knowledge.find(publisher, name)
    knowledge.expect(digest, publisher)
    accepted = knowledge.document(digest, Release)
    return accepted.judgement.text if accepted is not None else ""


async def _until_named(news: trio.MemoryReceiveChannel[ReleaseWithdrawn], digest: str) -> None:
    async for withdrawn in news:
        if withdrawn.digest == digest:
            raise RevokedError(
                f"{withdrawn.ref} was taken back meanwhile: {withdrawn.reason}",
                remedy="use another release",
            )
