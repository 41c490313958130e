"""Streams whose readers sleep, whose writers are cancelled and whose connections die."""

import random
from contextlib import nullcontext

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF

from p2phub.errors import RemoteError, TooSlowError
from p2phub.network import libp2p_patches as patches
from p2phub.network import libp2p_streams
from p2phub.network.libp2p_streams import MAX_HELD, MAX_PAUSE, Libp2pStream
from tests.network.loopback import address_of, echo, network, running, talk, until

MIB = 1024 * 1024


class Muxed:
    """What a stream of the library knows of itself and its connection."""

    def __init__(self) -> None:
        self.recv_closed = self.reset_received = False
        self.event_shutting_down = trio.Event()


class RawStream:
    """A stream of the library, reduced to what ours uses of it."""

    def __init__(self, *arriving: bytes, then: str = "silence") -> None:
        self.arriving, self.then = list(arriving), then
        self.muxed_stream = self.muxed_conn = Muxed()
        self.written: list[bytes] = []
        self.closed = self.resets = 0

    async def read(self, limit: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.arriving:
            return self.arriving.pop(0)
        if self.then == "silence":
            await trio.sleep_forever()
        if self.then == "fin":
            self.muxed_stream.recv_closed = True
        if self.then == "reset":
            self.muxed_stream.recv_closed = self.muxed_stream.reset_received = True
        if self.then == "dies":
            self.muxed_stream.recv_closed = True
            self.muxed_stream.event_shutting_down.set()
        raise StreamEOF

    async def write(self, data: bytes) -> None:
        await trio.sleep(1)
        self.written.append(data)

    async def close(self) -> None:
        self.closed += 1

    async def reset(self) -> None:
        self.resets += 1


async def everything(stream: Libp2pStream) -> bytes:
    found = b""
    while data := await stream.read(7):
        found += data
    return found


async def test_bytes_come_in_order_and_end(autojump_clock, nursery):
    stream = Libp2pStream(RawStream(b"hel", b"lo wor", b"ld, hello", then="fin"), "peer")
    nursery.start_soon(stream.pump)
    assert await everything(stream) == b"hello world, hello"
    assert await stream.read(1) == b""


async def test_a_reset_is_no_end_of_a_stream(autojump_clock, nursery):
    stream = Libp2pStream(RawStream(b"half of it", then="reset"), "peer")
    nursery.start_soon(stream.pump)
    assert await stream.read(100) == b"half of it"
    with pytest.raises(RemoteError, match="cut off"):
        await stream.read(100)


async def test_a_dying_connection_is_no_end_of_a_stream(autojump_clock, nursery):
    stream = Libp2pStream(RawStream(b"half of it", then="dies"), "peer")
    nursery.start_soon(stream.pump)
    assert await stream.read(100) == b"half of it"
    with pytest.raises(RemoteError, match="cut off"):
        await stream.read(100)


async def test_a_reader_that_sleeps_loses_the_stream_before_the_writer_gives_up(
    autojump_clock, nursery
):
    raw = RawStream(*[bytes(MIB)] * 10)
    stream = Libp2pStream(raw, "peer")
    nursery.start_soon(stream.pump)
    await trio.sleep(MAX_PAUSE + 0.5)
    assert raw.resets == 1
    assert MAX_PAUSE < 5  # the writer's patience (yamux.py:285)
    with pytest.raises(TooSlowError, match="too slowly"):
        await stream.read(1)


async def test_a_reader_that_is_slow_but_steady_keeps_the_stream(autojump_clock, nursery):
    raw = RawStream(*[bytes(MAX_HELD)] * 5, then="fin")
    stream = Libp2pStream(raw, "peer")
    nursery.start_soon(stream.pump)
    for _ in range(5):
        await trio.sleep(MAX_PAUSE * 0.9)
        assert len(await stream.read(MAX_HELD)) == MAX_HELD
    assert await stream.read(1) == b""
    assert raw.resets == 0


async def test_what_waits_for_a_reader_is_bounded(autojump_clock, nursery):
    raw = RawStream(*[bytes(MAX_HELD // 4)] * 100)
    stream = Libp2pStream(raw, "peer")
    nursery.start_soon(stream.pump)
    await trio.sleep(MAX_PAUSE / 2)
    assert len(raw.arriving) == 96


async def test_long_writes_go_out_in_chunks(autojump_clock, nursery):
    raw = RawStream()
    stream = Libp2pStream(raw, "peer")
    await stream.write(bytes(MIB + 1))
    assert [len(each) for each in raw.written] == [libp2p_streams.CHUNK] * 4 + [1]


async def test_a_cancelled_write_resets_the_stream(autojump_clock, nursery):
    raw = RawStream()
    stream = Libp2pStream(raw, "peer")
    nursery.start_soon(stream.pump)
    with trio.move_on_after(1.5):
        await stream.write(bytes(MIB))
    assert raw.resets == 1
    with pytest.raises(RemoteError, match="cancelled"):
        await stream.write(b"more")


async def test_a_closed_stream_drops_what_still_comes_and_ends(autojump_clock):
    raw = RawStream(*[bytes(MIB)] * 50)
    stream = Libp2pStream(raw, "peer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.pump)
        await stream.close()
        with pytest.raises(RemoteError, match="closed"):
            await stream.read(1)
        with pytest.raises(RemoteError, match="closed"):
            await stream.write(b"x")
    assert (raw.closed, raw.resets) == (1, 1)


async def test_a_closed_stream_that_was_finished_is_not_reset(autojump_clock):
    raw = RawStream(b"all", then="fin")
    stream = Libp2pStream(raw, "peer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.pump)
        assert await everything(stream) == b"all"
        await stream.close()
        await stream.close()
    assert (raw.closed, raw.resets) == (1, 0)


def agreeing(*words: str) -> bytes:
    return b"".join(bytes([len(each) + 1]) + each.encode() + b"\n" for each in words)


async def test_a_proposal_goes_out_with_the_first_bytes(autojump_clock, nursery):
    answer = agreeing("/multistream/1.0.0", "/a/1") + b"hello"
    raw = RawStream(*[answer[at : at + 1] for at in range(len(answer))], then="fin")
    stream = Libp2pStream(raw, "peer", proposed="/a/1")
    nursery.start_soon(stream.pump)
    await stream.write(b"question")
    await stream.write(b"more")
    assert raw.written == [agreeing("/multistream/1.0.0", "/a/1") + b"question", b"more"]
    assert await everything(stream) == b"hello"


async def test_who_only_listens_proposes_too(autojump_clock, nursery):
    answer = agreeing("/multistream/1.0.0", "/a/1") + b"hello"
    raw = RawStream(*[answer[at : at + 1] for at in range(len(answer))], then="fin")
    stream = Libp2pStream(raw, "peer", proposed="/a/1")
    nursery.start_soon(stream.pump)
    assert await everything(stream) == b"hello"
    assert raw.written == [agreeing("/multistream/1.0.0", "/a/1")]


@pytest.mark.parametrize(
    "answer",
    [
        agreeing("/multistream/1.0.0", "na"),
        agreeing("/multistream/2.0.0", "/a/1"),
        agreeing("/multistream/1.0.0", "/a/2"),
        b"\x05hello",
        b"\xff" * 11,
        agreeing("/multistream/1.0.0"),
        b"",
    ],
)
async def test_who_does_not_agree_is_not_listened_to(answer, autojump_clock, nursery):
    raw = RawStream(*[answer[at : at + 1] for at in range(len(answer))], then="fin")
    stream = Libp2pStream(raw, "peer", proposed="/a/1")
    nursery.start_soon(stream.pump)
    await stream.write(b"question")
    with pytest.raises(RemoteError, match="does not speak /a/1"):
        await stream.read(100)
    assert raw.resets == 1


async def test_a_protocol_that_a_peer_gave_up_is_an_error():
    one, two = network("one"), network("two")
    one.handle("/echo/1", echo)
    async with running(one, two):
        await two.connect(address_of(one))
        one._session.host.remove_stream_handler("/echo/1")
        with pytest.raises(RemoteError, match="does not speak /echo/1"), trio.fail_after(20):
            await talk(two, one.peer_id)


@pytest.mark.parametrize(("patched", "fewest", "most"), [(True, 5, 10), (False, 11, 30)])
async def test_a_short_question_costs_few_frames(patched, fewest, most, monkeypatch):
    one, two = network("one"), network("two")
    one.handle("/echo/1", echo)
    patch = patches.a_window_is_renewed_when_half_of_it_is_used
    with nullcontext() if patched else patches.without(patch):
        async with running(one, two):
            await two.connect(address_of(one))
            assert await talk(two, one.peer_id) == b"hello"
            frames = []
            for each in (one, two):
                (connection,) = each._session.host.get_network().get_connections()
                muxed = connection.muxed_conn
                monkeypatch.setattr(muxed, "_write_frame", noting(frames, muxed._write_frame))
            assert await talk(two, one.peer_id) == b"hello"
            await trio.sleep(0.2)
            (stream,) = {each[4:8] for each in frames if b"hello" in each}
            assert fewest <= sum(each[4:8] == stream for each in frames) <= most


def noting(frames: list[bytes], write):
    async def write_frame(data: bytes) -> None:
        frames.append(data)
        await write(data)

    return write_frame


async def test_a_megabyte_comes_back_over_real_sockets():
    one, two = network("one"), network("two")
    one.handle("/echo/1", echo)
    words = random.Random(0).randbytes(3 * MIB)
    async with running(one, two):
        await two.connect(address_of(one))
        stream = await two.open_stream(one.peer_id, "/echo/1")
        heard = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, words)
            while len(heard) < len(words):
                heard += await stream.read(MIB)
        assert bytes(heard) == words


async def test_the_end_of_a_stream_arrives_after_its_last_byte():
    async def say(peer_id, stream):
        await stream.write(bytes(MIB))

    one, two = network("one"), network("two")
    one.handle("/say/1", say)
    async with running(one, two):
        await two.connect(address_of(one))
        stream = await two.open_stream(one.peer_id, "/say/1")
        assert len(await everything_at_once(stream)) == MIB


async def everything_at_once(stream) -> bytes:
    found = b""
    while data := await stream.read(MIB):
        found += data
    return found


async def test_a_sleeping_reader_is_told_to_the_writer_and_to_itself():
    woken, heard = trio.Event(), []

    async def sleep(peer_id, stream):
        await woken.wait()
        try:
            await stream.read(1)
        except TooSlowError as error:  # the library leaves a reader without a word
            heard.append(error)

    one, two = network("one"), network("two")
    one.handle("/sleep/1", sleep)
    one.handle("/echo/1", echo)
    async with running(one, two):
        await two.connect(address_of(one))
        stream = await two.open_stream(one.peer_id, "/sleep/1")
        with pytest.raises(RemoteError):
            await stream.write(bytes(64 * MIB))
        woken.set()
        await until(lambda: heard)
        assert await talk(two, one.peer_id) == b"hello"


@pytest.mark.parametrize("patched", [True, False])
async def test_a_cancelled_write_does_not_break_the_other_streams(patched, monkeypatch):
    one, two = network("one"), network("two")
    one.handle("/echo/1", echo)
    patch = patches.a_cancelled_write_sends_its_frame_whole
    with nullcontext() if patched else patches.without(patch):
        async with running(one, two):
            await two.connect(address_of(one))
            (connection,) = two._session.host.get_network().get_connections()
            half_way_through(connection, monkeypatch)
            stream = await two.open_stream(one.peer_id, "/echo/1")
            with trio.move_on_after(0.3):
                await stream.write(b"x" * 1000 + b"STOP HERE")
            assert await still_talks(two, one.peer_id, 20 if patched else 2) == patched


def half_way_through(connection, monkeypatch) -> None:
    """A socket whose buffer is full for a moment in the middle of one frame."""
    secured = connection.muxed_conn.secured_conn
    tcp = secured.conn.read_writer.read_write_closer.stream
    send_all, encrypt = tcp.stream.send_all, secured.conn.encrypt
    marked: list[bytes] = []

    def remember(data: bytes) -> bytes:
        encrypted = encrypt(data)
        if b"STOP HERE" in data:
            marked.append(bytes(encrypted))
        return encrypted

    async def send(data: bytes) -> None:
        if marked and marked[0] in bytes(data):
            marked.clear()
            await send_all(data[:500])
            await trio.sleep(1)
            data = data[500:]
        await send_all(data)

    monkeypatch.setattr(secured.conn, "encrypt", remember)
    monkeypatch.setattr(tcp.stream, "send_all", send)


async def still_talks(one, peer_id: str, seconds: float) -> bool:
    with trio.move_on_after(seconds):
        try:
            return await talk(one, peer_id) == b"hello"
        except RemoteError:
            return False
    return False


@pytest.mark.parametrize("patched", [True, False])
async def test_a_sender_that_ignores_the_window_is_cut_off(patched):
    async def sleep(peer_id, stream):
        await trio.sleep_forever()

    one, two = network("one"), network("two")
    one.handle("/sleep/1", sleep)
    with nullcontext() if patched else patches.without(patches.a_peer_is_held_to_its_window):
        async with running(one, two):
            await two.connect(address_of(one))
            stream = await two.open_stream(one.peer_id, "/sleep/1")
            (connection,) = one._session.host.get_network().get_connections()
            await until(lambda: connection.muxed_conn.stream_buffers)
            stream._raw.muxed_stream.send_window = 1 << 40
            try:
                await stream.write(bytes(20 * MIB))
            except RemoteError:
                assert patched
            held = sum(map(len, connection.muxed_conn.stream_buffers.values()))
            assert (held < 10 * MIB) == patched
