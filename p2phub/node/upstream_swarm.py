"""A file of which only the SHA-256 is known, from peers who say that they hashed it whole.

They name it by a content id, and so a piece table, that nobody has signed. It is fetched by that,
every piece checked against the table, then hashed whole; only if it is what was wanted is it used.
A table that leads to another file is a lie of who named it, and is remembered; those who served
pieces which matched it have done nothing wrong.

>>> SHORT_OF
262144
"""

import contextlib
from collections.abc import Callable
from typing import Final

import trio

from p2phub.errors import P2PHubError, TooSlowError, plain_errors
from p2phub.formats.ids import ContentId, PublisherId, RepoId
from p2phub.formats.limits import MAX_PIECE, MIN_BIG_FILE
from p2phub.formats.manifest import FileEntry, Release
from p2phub.node.asking import all_quick
from p2phub.node.bring import bring_all
from p2phub.node.events import Event, Progress
from p2phub.node.locate import ResolvedRelease
from p2phub.node.services import Services
from p2phub.protocol.ports import Source
from p2phub.store.incoming import WholeDigest
from p2phub.trust.verdict import Judgement, Verdict

LOOK: Final = 3.0
"""Seconds in which peers must say that they have the file."""
LEFT_OUT: Final = 60.0
"""Seconds for which who was silent is not asked: a repo has many files."""
STALL: Final = 10.0
"""Seconds in which `SHORT_OF` bytes must come, else the swarm is given up."""
SHORT_OF: Final = 256 << 10
MOST_TRIED: Final = 3
"""Content ids that are tried for one SHA-256."""
NOBODY: Final = PublisherId(bytes(32))


class Swarm:
    """Brings files by their SHA-256. `lies`: content ids that were found to be another file."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lies: set[tuple[WholeDigest, ContentId]] = set()
        self._late: dict[str, float] = {}
        """Who did not say anything, and until when nobody waits for them."""

    async def bring(self, wanted: WholeDigest) -> ContentId | None:
        """The file as a blob that was hashed whole; None if no peer has it."""
        if not wanted.is_sha256 or not self._services.network.peers():
            return None
        for content in (await self._named(wanted))[:MOST_TRIED]:
            if await self._brought(wanted, content):
                return content
        return None

    async def _named(self, wanted: WholeDigest) -> list[ContentId]:
        """The content ids that peers name, those that most of them name first."""
        named: dict[ContentId, int] = {}
        silent: set[str] = set()

        async def ask(source: Source) -> None:
            silent.add(source.name)
            try:
                content = await source.content_of(wanted.digest)
            except P2PHubError:
                content = None
            silent.remove(source.name)
            if content is not None and self._may_be(wanted, content):
                named[content] = named.get(content, 0) + 1

        with trio.move_on_after(LOOK):
            neighbours = self._services.neighbours
            if wanted.size > MIN_BIG_FILE:  # announced by its SHA-256
                sources = await neighbours.holders(wanted.digest)
            else:
                sources = await neighbours.near()
            now = trio.current_time()
            await all_quick([each for each in sources if self._late.get(each.name, 0) < now], ask)
        self._late |= dict.fromkeys(silent, trio.current_time() + LEFT_OUT)
        return sorted(named, key=lambda content: -named[content])

    def _may_be(self, wanted: WholeDigest, content: ContentId) -> bool:
        small = wanted.size <= MAX_PIECE and content.digest != wanted.digest
        return content.size == wanted.size and not small and (wanted, content) not in self._lies

    async def _brought(self, wanted: WholeDigest, content: ContentId) -> bool:
        services = self._services
        try:
            if not await services.on_disk(services.store.blobs.has, content):
                await self._fetch(wanted, content)
            found = await services.on_disk(services.store.blobs.hash_whole, content)
        except P2PHubError:
            return False  # who has them leaves, or sends other bytes: the upstream is asked
        if found == wanted.digest:
            return True
        self._lies.add((wanted, content))
        with contextlib.suppress(P2PHubError):
            await services.on_disk(services.store.blobs.remove, content)
        return False

    async def _fetch(self, wanted: WholeDigest, content: ContentId) -> None:
        """Bring it, piece by piece. Raises what a pull raises, `TooSlowError` if it stalls."""
        came = 0

        def report(event: Event) -> None:
            nonlocal came
            if isinstance(event, Progress):
                came = event.bytes_done

        resolved = _unsigned(wanted, content)
        async with self._services.bringing.of(("swarm", content)):
            with plain_errors():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_give_up_if_it_stalls, lambda: came, wanted.size)
                    await bring_all(self._services, resolved, list(resolved.release.files), report)
                    nursery.cancel_scope.cancel()


async def _give_up_if_it_stalls(came: Callable[[], int], size: int) -> None:
    while True:
        before = came()
        await trio.sleep(STALL)
        if came() < size and came() - before < SHORT_OF:
            raise TooSlowError("peers send next to nothing of the file")


def _unsigned(wanted: WholeDigest, content: ContentId) -> ResolvedRelease:
    """The file as if a release had it, for the part of a pull that moves bytes: nobody signed it,
    it is told to nobody, and its peers are those of its SHA-256.
    """
    entry = FileEntry(("file",), wanted.size, wanted.digest, content)
    release = Release(
        publisher=NOBODY.digest,
        name="file",
        kind="model",
        created=0,
        files=(entry,),
        total_size=wanted.size,
    )
    return ResolvedRelease(
        repo=RepoId(NOBODY, "file"),
        revision="main",
        digest=wanted.digest,
        release=release,
        judgement=Judgement(Verdict.UNSIGNED),
        refs={},
        called=f"the file {wanted.digest.hex()[:16]}",
    )
