"""What is told to the DHT, in virtual time with a DHT that can refuse."""

from contextlib import asynccontextmanager

import trio

from p2phub.errors import NoSpaceError, RemoteError
from p2phub.formats.ids import PublisherId, head_key
from p2phub.node.announce import Announcer
from p2phub.protocol.schedule import EVERY, RETRY

LAB = PublisherId(bytes(32))


class Dht:
    """Remembers what it was told, and when; refuses while `down`."""

    def __init__(self) -> None:
        self.heads: list[tuple[float, str, bytes]] = []
        self.provided: list[tuple[float, bytes]] = []
        self.down = False

    async def put_head(self, key: str, record: bytes) -> int:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise RemoteError("nobody answers")
        self.heads.append((trio.current_time(), key, record))
        return 1

    async def provide(self, digest: bytes) -> int:
        await trio.lowlevel.checkpoint()
        if self.down:
            return 0
        self.provided.append((trio.current_time(), digest))
        return 1


async def one_head(publisher: PublisherId) -> bytes | None:
    await trio.lowlevel.checkpoint()
    return b"head"


@asynccontextmanager
async def announcing(dht, head_of=one_head):
    announcer = Announcer(dht, head_of)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        yield announcer
        nursery.cancel_scope.cancel()


async def test_a_head_is_put_before_anything_else_and_publish_can_wait_for_it(autojump_clock):
    dht = Dht()
    async with announcing(dht) as announcer:
        announcer.file(b"f" * 32)
        announcer.release(b"r" * 32)
        announcer.publisher(LAB, changed=True)
        assert await announcer.told(LAB, patience=5)
        await trio.sleep(5)
    assert [key for _, key, _ in dht.heads] == [head_key(LAB)]
    assert [digest for _, digest in dht.provided] == [LAB.digest, b"r" * 32, b"f" * 32]


async def test_a_dht_that_is_down_is_told_later_and_nobody_waits_for_ever(autojump_clock):
    dht = Dht()
    dht.down = True
    async with announcing(dht) as announcer:
        announcer.publisher(LAB, changed=True)
        assert not await announcer.told(LAB, patience=5)
        await trio.sleep(RETRY / 2)
        dht.down = False
        await trio.sleep(RETRY + 5)
        assert len(dht.heads) == 1
        assert announcer.lag() == 0


async def test_a_disk_that_fails_to_give_a_head_does_not_end_the_announcer(autojump_clock):
    async def broken(publisher: PublisherId) -> bytes | None:
        raise NoSpaceError("the disk is full")

    dht = Dht()
    async with announcing(dht, broken) as announcer:
        announcer.publisher(LAB, changed=True)
        announcer.release(b"r" * 32)
        await trio.sleep(5)
    assert dht.heads == []
    assert b"r" * 32 in [digest for _, digest in dht.provided]


async def test_records_are_put_again_before_they_die(autojump_clock):
    dht = Dht()
    async with announcing(dht) as announcer:
        announcer.publisher(LAB)
        announcer.release(b"r" * 32)
        await trio.sleep(2 * EVERY + 60)
    assert len(dht.heads) == 3
    assert [digest for _, digest in dht.provided].count(b"r" * 32) == 3


async def test_a_thousand_releases_do_not_arrive_as_a_burst(autojump_clock):
    dht = Dht()
    async with announcing(dht) as announcer:
        for number in range(1000):
            announcer.release(number.to_bytes(32, "big"))
        await trio.sleep(1500)
    times = [when for when, _ in dht.provided]
    assert len(times) == 1000
    assert max(sum(t <= u < t + 10 for u in times) for t in times[20::50]) <= 10


async def test_what_was_removed_is_announced_no_more(autojump_clock):
    dht = Dht()
    async with announcing(dht) as announcer:
        announcer.release(b"r" * 32)
        await trio.sleep(1)
        announcer.forget(b"r" * 32)
        await trio.sleep(2 * EVERY)
    assert len(dht.provided) == 1


async def test_whoever_listens_hears_of_new_heads_and_of_nothing_else(autojump_clock):
    heard = []
    async with announcing(Dht()) as announcer:
        announcer.when_changed(heard.append)
        announcer.publisher(LAB)
        announcer.release(b"r" * 32)
        assert heard == []
        announcer.publisher(LAB, changed=True)
        assert heard == [LAB]
