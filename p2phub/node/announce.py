"""Keep the DHT told of what this node has: heads, releases, big files.

`AnnounceSchedule` says what is due; this module knows what a key stands for and tells the DHT.
What is announced:
 * the head record of every publisher whose repos this node keeps, so that a name resolves after
   its publisher left;
 * the publisher id, as a provider key: who keeps that publisher's documents;
 * each release kept here in full;
 * each file over 16 MiB whose SHA-256 this node has checked itself. Never a piece.
"""

from collections.abc import Awaitable, Callable

import trio

from p2phub.errors import P2PHubError
from p2phub.formats.ids import PublisherId, head_key
from p2phub.protocol.ports import Records
from p2phub.protocol.schedule import AnnounceSchedule

HeadOf = Callable[[PublisherId], Awaitable[bytes | None]]
_PRIORITY = {"head": 0, "publisher": 1, "release": 2, "file": 3}


class Announcer:
    """The task that announces. `head_of(publisher)` gives the head record from the store."""

    def __init__(self, records: Records, head_of: HeadOf) -> None:
        self._records, self._head_of = records, head_of
        self._schedule = AnnounceSchedule()
        self._wake = trio.Event()
        self._told = trio.Event()
        self._when_changed: list[Callable[[PublisherId], None]] = []

    def when_changed(self, listener: Callable[[PublisherId], None]) -> None:
        """Call `listener` whenever there is a new head of a publisher to announce."""
        self._when_changed.append(listener)

    def publisher(self, publisher: PublisherId, *, changed: bool = False) -> None:
        """Announce a publisher's head and that we keep its documents; `changed` puts a new head at
        once.
        """
        now = trio.current_time()
        self._schedule.want(b"p" + publisher.digest, _PRIORITY["publisher"], now)
        change = self._schedule.renew if changed else self._schedule.want
        change(b"h" + publisher.digest, _PRIORITY["head"], now)
        self._wake.set()
        for listener in self._when_changed if changed else ():
            listener(publisher)

    def release(self, digest: bytes) -> None:
        """Announce that a whole release is here."""
        self._want(digest, "release")

    def file(self, sha256: bytes) -> None:
        """Announce a big file by the SHA-256 that this node has checked."""
        self._want(sha256, "file")

    def forget(self, digest: bytes) -> None:
        """Announce a release or a file no more; the records of it die by themselves."""
        self._schedule.forget(b"p" + digest)

    def lag(self) -> float:
        """Seconds by which the most overdue announcement is late."""
        return self._schedule.lag(trio.current_time())

    async def told(self, publisher: PublisherId, patience: float) -> bool:
        """Wait until the head of `publisher` is in the DHT, for `patience` seconds at most."""
        key = b"h" + publisher.digest
        with trio.move_on_after(patience):
            while self._schedule.is_new(key):
                await self._told.wait()
        return not self._schedule.is_new(key)

    async def run(self) -> None:
        """Announce what is due, for ever."""
        while True:
            key = self._schedule.next(trio.current_time())
            if key is None:
                with trio.move_on_after(self._schedule.wait(trio.current_time())):
                    await self._wake.wait()
                self._wake = trio.Event()
                continue
            told = await self._announce(key)
            change = self._schedule.done if told else self._schedule.failed
            change(key, trio.current_time())
            event, self._told = self._told, trio.Event()
            event.set()

    def _want(self, digest: bytes, kind: str) -> None:
        self._schedule.want(b"p" + digest, _PRIORITY[kind], trio.current_time())
        self._wake.set()

    async def _announce(self, key: bytes) -> bool:
        try:
            if key[:1] == b"p":
                return await self._records.provide(key[1:]) > 0
            publisher = PublisherId(key[1:])
            record = await self._head_of(publisher)
            if record is None:
                self._schedule.forget(key)
                return True
            return await self._records.put_head(head_key(publisher), record) > 0
        except P2PHubError:  # nobody took it, or the disk did not give it: tried again later
            return False
