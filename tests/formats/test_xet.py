"""Xorbs and shards of strangers: what they say is checked, and nothing swells."""

import struct
from contextlib import suppress

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError
from p2phub.formats.xet import MAX_CHUNK, Chunk, chunks_of, files_of, hash_text, is_hash, unpacked

END = b"\xff" * 32 + bytes(16)
HEAD = b"HFRepoMetaData".ljust(48, b"\0")


def packed(data, scheme):
    """A chunk as a client packs it."""
    stored = data
    if scheme == 2:
        stored = b"".join(data[lane::4] for lane in range(4))
    if scheme:
        stored = lz4.frame.compress(stored)
    sizes = len(stored).to_bytes(3, "little"), len(data).to_bytes(3, "little")
    return b"\0" + sizes[0] + bytes([scheme]) + sizes[1] + stored


def shard(*files, flags=0):
    """A shard of files, each a list of (xorb, bytes, first, end)."""
    body = b""
    for segments in files:
        body += bytes(32) + struct.pack("<IIQ", flags, len(segments), 0)
        for xorb, size, first, end in segments:
            body += xorb + struct.pack("<IIII", 0, size, first, end)
        body += bytes(48) * (len(segments) * bool(flags >> 31) + bool(flags & (1 << 30)))
    return HEAD + body + END


@given(st.binary(min_size=1, max_size=3000), st.sampled_from([0, 1, 2]))
def test_a_chunk_comes_out_as_it_went_in(data, scheme):
    stored = packed(data, scheme)
    chunk = chunks_of(stored[:8], 0)
    assert chunk is not None
    assert unpacked(chunk, stored[chunk.start :]) == data


def test_chunks_end_at_the_end_or_at_a_footer():
    assert chunks_of(b"", 7) is None
    assert chunks_of(b"XETBLOB\1", 7) is None


@pytest.mark.parametrize(
    "head",
    [
        b"\1" + bytes(7),
        b"\0\0\0\0\0\1\0\0",
        b"\0\1\0\0\0\0\0\0",
        b"\0\1\0\0\3\1\0\0",
        b"\0\1\0\0\0" + (MAX_CHUNK + 1).to_bytes(3, "little"),
        b"\0\1\0",
    ],
)
def test_a_header_that_is_none_is_refused(head):
    with pytest.raises(MalformedError):
        chunks_of(head, 0)


@pytest.mark.parametrize("length", [1, 10, 99_999])
def test_a_chunk_that_swells_to_another_length_is_refused(length):
    stored = lz4.frame.compress(bytes(100_000))
    with pytest.raises(MalformedError):
        unpacked(Chunk(0, len(stored), 1, length), stored)


def test_a_bomb_is_not_blown_up():
    stored = lz4.frame.compress(bytes(200 << 20))
    with pytest.raises(MalformedError):
        unpacked(Chunk(0, len(stored), 1, 1000), stored)


@pytest.mark.parametrize("stored", [b"", b"no frame", b"\x04\x22\x4d\x18"])
def test_what_is_no_lz4_frame_is_refused(stored):
    with pytest.raises(MalformedError):
        unpacked(Chunk(0, len(stored), 1, 10), stored)


@pytest.mark.parametrize("flags", [0, 1 << 31, 1 << 30, 3 << 30])
def test_files_are_read_whatever_stands_between_them(flags):
    one, two = [(bytes(range(32)), 10, 0, 2)], [(bytes(32), 3, 1, 2), (bytes(32), 4, 5, 7)]
    files = list(files_of(shard(one, two, flags=flags)))
    assert [file.size for file in files] == [10, 7]
    assert files[0].segments[0].xorb == hash_text(bytes(range(32)))
    assert [(part.first, part.end) for part in files[1].segments] == [(1, 2), (5, 7)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        b"x" * 200,
        HEAD + bytes(32) + struct.pack("<IIQ", 0, 1 << 31, 0) + END,
        shard([(bytes(32), 1, 0, 1)])[:-60],
        shard([(bytes(32), 1, 5, 5)]),
    ],
)
def test_a_shard_that_is_none_is_refused(data):
    with pytest.raises(MalformedError):
        list(files_of(data))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_shard_or_refused(data):
    for body in (data, HEAD + data):
        with suppress(MalformedError):
            list(files_of(body))


def test_names_of_xorbs():
    assert is_hash("0" * 64)
    assert not any(map(is_hash, ["0" * 63, "g" * 64, "A" * 64, "../" + "0" * 61]))
