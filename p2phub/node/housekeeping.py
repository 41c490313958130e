"""What a node does when nobody asks: hash whole files, renew heads, remember peers, drop old parts.

A file that was pulled is whole and every piece of it was verified, but its SHA-256 is a claim of
the publisher until this node has hashed it. Only then is it shared or found under its SHA-256. A
claim that turns out wrong poisons nothing: the file stays what its pieces say, is known under the
SHA-256 it really has, and `verify` names the lie."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import trio

from p2phub.errors import P2PHubError, RemoteError
from p2phub.formats import limits
from p2phub.formats.ids import ContentId, PublisherId, commit_id
from p2phub.node.other_writers import hear_other_writers
from p2phub.node.own_index import FRESH_FOR, join_writers, renew_head
from p2phub.node.proposals import drop
from p2phub.node.resolve import catch_up
from p2phub.node.services import Bell, Services
from p2phub.protocol.ports import PeerAddress
from p2phub.store.sent_parts import IDLE

log = logging.getLogger(__name__)

RENEW_EVERY = 6 * 3600  # seconds between two looks at our own head
REMEMBER_EVERY = 5  # seconds
JOIN_EVERY = 600  # seconds between two looks at what other nodes of our publisher wrote
JOIN_AGAIN = (1, 5, 30)  # seconds until an index that was told of is asked for again
TRY_AGAIN = 30  # seconds until the next look, where that one did not succeed
SWEEP_EVERY = 6 * 3600  # seconds between two looks at parts of files
SWEPT = 10_000  # files that one look removes
DAY = 24 * 3600  # seconds
MEASURE_EVERY = 1  # seconds


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """A full disk or a key that cannot be read is logged; the node lives on and tries again."""
    try:
        yield
    except P2PHubError as error:
        log.warning("%s", error)


async def hash_in_background(services: Services) -> None:
    """Hash every blob that was only verified by pieces, as they come, for ever.

    While models answer it goes on slowly: a moment of rest before each piece.
    """
    while True:
        for content in await services.on_disk(services.store.blobs.unhashed):
            await _hash(services, content)
        await services.hashing_waits.wait()


async def _hash(services: Services, content: ContentId) -> None:
    with _said():
        yields = services.pressure.wait_a_moment
        sha256 = await services.on_disk(services.store.blobs.hash_whole, content, yields)
        hides = services.store.quarantine.hides
        if content.size > limits.MIN_BIG_FILE and not await services.on_disk(hides, content):
            services.announcer.file(sha256)


async def renew_own_head(services: Services) -> None:
    """Sign our own head again before it grows stale, for ever."""
    while True:
        with _said():
            async with services.signing:
                renewed = await services.on_disk(renew_head, services, FRESH_FOR // 2)
            if renewed:
                own = await services.on_disk(services.store.documents.own_publisher)
                assert own is not None
                services.announcer.publisher(own, changed=True)
        await trio.sleep(RENEW_EVERY)


async def join_what_is_told(services: Services) -> None:
    """Join what another node of our publisher wrote as soon as its head was heard of, for ever."""
    told: set[PublisherId] = set()
    bell = Bell()

    def heard(publisher: PublisherId) -> None:
        told.add(publisher)
        bell.ring()

    services.spreading.when_head(heard)
    while True:
        await bell.wait()
        publishers = frozenset(told)
        told.clear()
        if await services.on_disk(services.store.documents.own_publisher) in publishers:
            await _join_soon(services)


async def _join_soon(services: Services) -> None:
    """Whoever told the head may not have the index yet, or be gone: it is tried a few times."""
    for pause in JOIN_AGAIN:
        with _said():
            await join_writers(services)
            return
        await trio.sleep(pause)


async def follow_other_writers(services: Services) -> None:
    """Hear what other nodes of our publisher wrote and join it with ours: when peers are met, and
    now and then, for ever. At first only what is newer than ours: whoever lost has to join.
    """
    hear: Callable[[Services, PublisherId], Awaitable[object]] = catch_up
    while True:
        pause: float = REMEMBER_EVERY
        own = await services.on_disk(services.store.documents.own_publisher)
        if own is not None and services.network.peers():
            pause = TRY_AGAIN
            with _said():
                await hear(services, own)
                await join_writers(services)
                pause, hear = JOIN_EVERY, hear_other_writers
        await trio.sleep(pause)


async def drop_old_parts(services: Services) -> None:
    """Remove parts of files that nobody wants any more, and files that are in no repo here, now
    and then, for ever.
    """
    while True:
        with _said():
            await services.on_disk(_drop_old_parts, services)
            for sha256 in await services.on_disk(_drop_unneeded, services):
                services.announcer.forget(sha256)
        await trio.sleep(SWEEP_EVERY)


async def drop_idle_uploads(services: Services) -> None:
    """Free the room of what clients began to send and left, now and then, for ever."""
    while True:
        await trio.sleep(IDLE / 3)
        with _said():
            await services.on_disk(services.store.sent_parts.sweep)
            await services.on_disk(services.store.xorbs.sweep)


async def drop_old_proposals(services: Services) -> None:
    """Forget releases that nobody signed in time, now and then, for ever."""
    while True:
        with _said():
            for proposal in await services.on_disk(
                services.store.proposals.expired, services.now()
            ):
                await services.on_disk(drop, services, proposal.digest)
                log.info("nobody signed %s in time", commit_id(proposal.digest))
        await trio.sleep(SWEEP_EVERY)


def _drop_unneeded(services: Services) -> list[bytes]:
    """Files that were read through the gateway, or uploaded and never committed: those that went,
    by their SHA-256.
    """
    store, days, gone = services.store, services.config.store.keep_parts, list[bytes]()
    before = services.now() - DAY * days
    for content in store.repos.unneeded(before, SWEPT) if days else ():
        sha256 = store.blobs.sha256(content)
        if store.blobs.remove(content):
            gone += [sha256] if sha256 is not None else []
            log.info("removed %s, which is in no repo here, after %d days", content, days)
    return gone


def _drop_old_parts(services: Services) -> None:
    store, days = services.store, services.config.store.keep_parts
    before = services.now() - DAY * days
    unused = store.partials.unused_since(before) if days else ()
    if days:
        store.incoming.drop_unused(before)
    for content in unused:
        if not store.repos.awaited(content) and store.partials.remove_unused(content, before):
            log.info("removed the part of %s that nobody used for %d days", content, days)


async def remember_peers(services: Services) -> None:
    """Keep the addresses of connected peers for the next start, for ever."""
    known: tuple[PeerAddress, ...] = ()
    while True:
        await trio.sleep(REMEMBER_EVERY)
        peers = services.network.peers()
        if set(peers) != set(known):
            known = peers
            await remember_now(services)


async def remember_now(services: Services) -> None:
    """Keep the addresses of whoever is connected now; also the last thing that a node does."""
    peers = services.network.peers()
    if peers:
        with _said():
            await services.on_disk(services.store.peers.remember, peers, services.now())


async def announce_what_is_here(services: Services) -> None:
    """Tell the DHT again of everything kept on this disk; once, after a start."""
    store = services.store
    for publisher in await services.on_disk(store.repos.held_publishers):
        services.announcer.publisher(publisher)
    for digest in await services.on_disk(store.repos.held_releases):
        services.announcer.release(digest)
    for sha256 in await services.on_disk(store.blobs.big_files, limits.MIN_BIG_FILE):
        services.announcer.file(sha256)


async def look_for_withdrawn(services: Services) -> None:
    """Look once, after a start, whether releases kept on this disk were taken back."""
    for publisher in await services.on_disk(services.store.repos.held_publishers):
        with _said():
            await services.withdrawals.check(publisher)


async def meet_again(services: Services, most: int) -> None:
    """Dial the peers that were met last time, all at once; those that are gone are no fault."""

    async def dial(peer: PeerAddress) -> None:
        with contextlib.suppress(RemoteError):
            await services.network.connect(peer)

    async with trio.open_nursery() as nursery:
        for peer in await services.on_disk(services.store.peers.recent, most):
            nursery.start_soon(dial, peer)


async def measure_uploads(services: Services, sent: Callable[[], int]) -> None:
    """Turn the data server's count of bytes into a rate, for ever."""
    before = sent()
    while True:
        await trio.sleep(MEASURE_EVERY)
        now = sent()
        services.traffic.up.add(now - before)
        before = now
