"""What every control network promises, over real loopback sockets and over the one in memory."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2phub.errors import NoSourceError, RemoteError, TooSlowError, UsageError
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import (
    KEY,
    address_of,
    echo,
    running,
    talk,
    until,
)

DIGEST = b"d" * 32
MIB = 1024 * 1024


async def everything(stream) -> bytes:
    heard = b""
    while more := await stream.read(10):
        heard += more
    return heard


@asynccontextmanager
async def pair(place):
    """Two networks that are connected; the first serves `echo`."""
    one, two = place.network("one"), place.network("two")
    one.handle("/echo/1", echo)
    async with running(one, two):
        await two.connect(address_of(one))
        await until(lambda: one.peers() and two.peers())
        yield one, two


@asynccontextmanager
async def several(place, count: int):
    """Networks that started from the first and found each other."""
    first = place.network("node-0")
    async with running(first):
        others = [place.network(f"node-{n}", bootstrap=first.addresses()) for n in range(1, count)]
        async with running(*others):
            yield [first, *others]


class TestConnections:
    async def test_both_sides_know_of_a_connection(self, place, clock):
        async with pair(place) as (one, two):
            await until(lambda: one.peers() == (address_of(two),))
            assert two.peers() == (address_of(one),)
            assert (one.remote_host(two.peer_id), two.remote_host("x")) == ("127.0.0.1", None)
            await until(lambda: one.peer_agent(two.peer_id) == "two")
            assert one.addresses()[0].endswith(one.peer_id)

    async def test_connecting_again_changes_nothing(self, place, clock):
        async with pair(place) as (one, two):
            await two.connect(address_of(one))
            assert await two.connect_multiaddr(one.addresses()[0]) == address_of(one)
            assert len(two.peers()) == 1

    async def test_a_dead_address_is_a_remote_error(self, place, clock):
        one, gone = place.network("one"), place.network("gone")
        async with running(one):
            with pytest.raises(RemoteError):
                await one.connect(PeerAddress(gone.peer_id, ("/ip4/127.0.0.1/tcp/1",)))
            with pytest.raises(RemoteError):
                await one.connect(PeerAddress(gone.peer_id, ()))
            with pytest.raises(UsageError):
                await one.connect_multiaddr("nonsense")

    async def test_who_is_told_to_connect_to_itself_says_so(self, place, clock):
        one = place.network("one")
        async with running(one):
            with pytest.raises(UsageError, match="this node itself"):
                await one.connect_multiaddr(one.addresses()[0])
            assert one.peers() == ()

    async def test_another_peer_at_the_address_is_a_remote_error(self, place, clock):
        one, two = place.network("one"), place.network("two")
        async with running(one, two):
            other = place.network("other").peer_id
            with pytest.raises(RemoteError, match="another peer"):
                await two.connect(PeerAddress(other, address_of(one).addresses))
            assert two.peers() == ()

    async def test_a_dead_address_before_a_good_one_is_no_error(self, place, clock):
        one, two = place.network("one"), place.network("two")
        async with running(one, two):
            both = ("/ip4/127.0.0.1/tcp/1", *address_of(one).addresses)
            await two.connect(PeerAddress(one.peer_id, both))

    async def test_connecting_to_ourselves_is_a_remote_error(self, place, clock):
        one = place.network("one")
        async with running(one):
            with pytest.raises(RemoteError):
                await one.connect(address_of(one))

    async def test_a_disconnection_is_known_on_both_sides(self, place, clock):
        async with pair(place) as (one, two):
            await two.disconnect(one.peer_id)
            await until(lambda: not one.peers() and not two.peers())
            with pytest.raises(RemoteError):
                await two.open_stream(one.peer_id, "/echo/1")

    async def test_a_peer_that_ends_is_gone(self, place, clock):
        one, two = place.network("one"), place.network("two")
        async with running(one):
            async with running(two):
                await two.connect(address_of(one))
                await until(one.peers)
            await until(lambda: not one.peers())

    async def test_nothing_works_before_the_start(self, place, clock):
        one = place.network("one")
        assert (one.state, one.peers()) == ("starting", ())
        for operation in (one.get_heads(KEY), one.provide(DIGEST), one.open_stream("x", "/y")):
            with pytest.raises(RemoteError):
                await operation


class TestStreams:
    async def test_bytes_come_back(self, place, clock):
        async with pair(place) as (one, two):
            assert await talk(two, one.peer_id, b"hello") == b"hello"

    async def test_a_handler_hears_who_asks(self, place, clock):
        asked = []

        async def remember(peer_id, stream):
            asked.append(peer_id)
            await stream.write(b"!")

        async with pair(place) as (one, two):
            one.handle("/who/1", remember)
            stream = await two.open_stream(one.peer_id, "/who/1")
            assert await stream.read(1) == b"!"
            assert asked == [two.peer_id]

    async def test_streams_go_both_ways(self, place, clock):
        async with pair(place) as (one, two):
            two.handle("/echo/1", echo)
            assert await talk(one, two.peer_id) == b"hello"

    async def test_a_read_gives_no_more_than_was_asked_for(self, place, clock):
        async with pair(place) as (one, two):
            stream = await two.open_stream(one.peer_id, "/echo/1")
            await stream.write(b"0123456789")
            heard = [await stream.read(4)]
            while sum(map(len, heard)) < 10:
                heard.append(await stream.read(4))
            assert max(map(len, heard)) <= 4
            assert b"".join(heard) == b"0123456789"

    async def test_megabytes_arrive_whole(self, place, clock):
        async with pair(place) as (one, two):
            stream = await two.open_stream(one.peer_id, "/echo/1")
            words, heard = bytes(range(256)) * 12 * 1024, bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.write, words)
                while len(heard) < len(words):
                    heard += await stream.read(MIB)
            assert bytes(heard) == words

    async def test_the_end_of_a_stream_is_empty_again_and_again(self, place, clock):
        async def say(peer_id, stream):
            await stream.write(b"all")

        async with pair(place) as (one, two):
            one.handle("/say/1", say)
            stream = await two.open_stream(one.peer_id, "/say/1")
            assert (await everything(stream), await stream.read(10)) == (b"all", b"")

    async def test_a_stream_cut_in_the_middle_does_not_look_complete(self, place, clock):
        async def fail(peer_id, stream):
            await stream.write(b"half of")
            raise RemoteError("enough of this")

        async with pair(place) as (one, two):
            one.handle("/fail/1", fail)
            stream = await two.open_stream(one.peer_id, "/fail/1")
            with pytest.raises(RemoteError):
                await everything(stream)
            assert await talk(two, one.peer_id) == b"hello"

    async def test_a_dying_peer_does_not_make_a_stream_look_complete(self, place, clock):
        async def hold(peer_id, stream):
            await stream.write(b"half of")
            await trio.sleep_forever()

        one, two = place.network("one"), place.network("two")
        one.handle("/hold/1", hold)
        async with running(two):
            async with running(one):
                await two.connect(address_of(one))
                stream = await two.open_stream(one.peer_id, "/hold/1")
                assert await stream.read(100) == b"half of"
            with pytest.raises(RemoteError):
                await stream.read(100)
            with pytest.raises(RemoteError):
                await stream.write(b"x")

    async def test_a_closed_stream_is_closed(self, place, clock):
        async with pair(place) as (one, two):
            stream = await two.open_stream(one.peer_id, "/echo/1")
            await stream.close()
            await stream.close()
            with pytest.raises(RemoteError):
                await stream.write(b"x")
            with pytest.raises(RemoteError):
                await stream.read(1)

    async def test_a_reset_is_heard_on_the_other_side(self, place, clock):
        heard = []

        async def listen(peer_id, stream):
            try:
                await stream.write(b"!")
                await stream.read(1)
            except RemoteError as error:
                heard.append(error)
                raise

        async with pair(place) as (one, two):
            one.handle("/listen/1", listen)
            stream = await two.open_stream(one.peer_id, "/listen/1")
            await stream.read(1)
            await stream.reset()
            await until(lambda: heard)

    async def test_a_cancelled_write_ends_its_stream_only(self, place, clock):
        async def sleep(peer_id, stream):
            await trio.sleep_forever()

        async with pair(place) as (one, two):
            one.handle("/sleep/1", sleep)
            stream = await two.open_stream(one.peer_id, "/sleep/1")
            with trio.move_on_after(0.3) as scope:
                await stream.write(bytes(64 * MIB))
            assert scope.cancelled_caught
            with pytest.raises(RemoteError):
                await stream.write(b"more")
            assert await talk(two, one.peer_id) == b"hello"

    async def test_a_reader_that_sleeps_loses_the_stream(self, place, clock):
        async def shout(peer_id, stream):
            await stream.write(bytes(64 * MIB))

        async with pair(place) as (one, two):
            one.handle("/shout/1", shout)
            stream = await two.open_stream(one.peer_id, "/shout/1")
            await trio.sleep(6)
            with pytest.raises(TooSlowError):
                await stream.read(1)

    async def test_an_unknown_protocol_is_a_remote_error(self, place, clock):
        async with pair(place) as (one, two):
            with pytest.raises(RemoteError, match="/other/1"):
                await two.open_stream(one.peer_id, "/other/1")


class TestRecords:
    async def test_a_head_is_found_by_all(self, place, clock):
        async with several(place, 3) as nodes:
            assert await nodes[1].put_head(KEY, b"1:head") >= 1
            for node in nodes:
                assert await node.get_heads(KEY) == (b"1:head",)

    async def test_the_newest_head_wins_and_an_older_one_is_not_taken(self, place, clock):
        async with several(place, 3) as (one, two, three):
            await one.put_head(KEY, b"1:old")
            await two.put_head(KEY, b"2:new")
            assert (await one.get_heads(KEY))[-1] == b"2:new"
            assert await three.put_head(KEY, b"1:old") == 0

    async def test_an_invalid_head_is_refused_at_home(self, place, clock):
        one = place.network("one")
        async with running(one):
            with pytest.raises(ValueError, match="record"):
                await one.put_head(KEY, b"nonsense")

    async def test_nothing_found_is_empty_and_nobody_there_is_an_error(self, place, clock):
        lonely = place.network("lonely")
        async with several(place, 2) as (one, _), running(lonely):
            assert await one.get_heads(KEY) == ()
            assert await one.providers(DIGEST, 1) == ()
            with pytest.raises(NoSourceError):
                await lonely.get_heads(KEY)
            assert await lonely.put_head(KEY, b"1:mine") == 0
            assert await lonely.get_heads(KEY) == (b"1:mine",)

    async def test_providers_are_distinct_and_others_than_us(self, place, clock):
        async with several(place, 4) as (one, two, three, _):
            for node in (one, two, two):
                assert await node.provide(DIGEST) >= 1
            found = await one.providers(DIGEST, 10)
            assert found == (address_of(two),)
            found = await three.providers(DIGEST, 10)
            assert {each.peer_id for each in found} == {one.peer_id, two.peer_id}

    async def test_what_was_put_outlives_its_publisher(self, place, clock):
        async with several(place, 3) as nodes:
            leaving = place.network("leaving", bootstrap=nodes[0].addresses())
            async with running(leaving):
                await leaving.put_head(KEY, b"1:head")
                await leaving.provide(DIGEST)
            assert await nodes[2].get_heads(KEY) == (b"1:head",)
            assert [each.peer_id for each in await nodes[2].providers(DIGEST, 5)] == [
                leaving.peer_id
            ]


class TestDeath:
    async def test_a_host_that_dies_comes_back_where_it_was(self, place, clock):
        async with pair(place) as (one, two):
            address = address_of(one)
            stream = await two.open_stream(one.peer_id, "/echo/1")
            place.kill(one)
            await until(lambda: one.state == "restarting")
            with pytest.raises(RemoteError):
                await stream.read(1)
            for operation in (one.get_heads(KEY), one.connect(address_of(two))):
                with pytest.raises(RemoteError, match="restarting"):
                    await operation
            await until(lambda: one.state == "running")
            assert one.restarts == 1
            assert address_of(one) == address
            await until(lambda: not two.peers())
            await two.connect(address)
            assert await talk(two, one.peer_id) == b"hello"
            assert await two.put_head(KEY, b"1:after") == 1
            assert await one.get_heads(KEY) == (b"1:after",)
