"""Every way in which a peer sends a file badly, over real sockets: alone or beside an honest one.

Beside one honest peer the pull succeeds. Alone it ends with 4 if wrong bytes came and with 6 if
none did, and what was verified is kept. What peers do on the other doors is in
`test_hostile_peers`; the same faults in virtual time are in `test_fetch_from_bad_neighbours`.
"""

import re
import time
from collections.abc import Callable, Iterable

import pytest
import trio

from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import PieceTable
from p2phub.testing.files import random_bytes
from p2phub.testing.peers import GarbagePeer, ResetError, Script
from p2phub.testing.publishers import FakePublisher, piece_digests
from p2phub.testing.strangers import Faults
from tests.scenarios.nodes import MIB, consumer, contents, node, pull, refused, stock
from tests.scenarios.test_hostile_peers import (
    SEED,
    Scene,
    honest_about_documents,
    library_of,
)

pytestmark = pytest.mark.slow

NAME = "model.safetensors"
DATA = random_bytes("a model of some pieces", 5 * MIB)
FILES = {NAME: DATA}
Body = Callable[[bytes], Iterable[bytes]]


@pytest.fixture
def lab():
    lab = FakePublisher(1)
    lab.publish("x", FILES)
    return lab


@pytest.fixture
def scene(tmp_path, lab, nursery):
    return Scene(tmp_path, lab, nursery)


def sends(body: Body) -> Script:
    """The right head for a range of the file, and `body(the right bytes)`."""

    def script(request: bytes) -> Iterable[bytes]:
        first, last = map(int, re.search(rb"bytes=(\d+)-(\d+)", request).groups())
        yield b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n" % (last - first + 1)
        yield b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (first, last, len(DATA))
        yield from body(DATA[first : last + 1])

    return script


def wrong_at(part: float) -> Body:
    """One bit off, at so much of what is sent."""

    def body(data: bytes) -> Iterable[bytes]:
        wrong, at = bytearray(data), min(int(part * len(data)), len(data) - 1)
        wrong[at] ^= 1
        yield bytes(wrong)

    return body


def other_content(data: bytes) -> Iterable[bytes]:
    yield bytes(len(data))


def without_end(data: bytes) -> Iterable[bytes]:
    yield bytes(len(data))
    while True:
        yield bytes(1 << 16)


def one_byte_a_second(data: bytes) -> Iterable[bytes]:
    for byte in data:
        yield bytes([byte])
        time.sleep(1)


def reset_at(part: float) -> Body:
    def body(data: bytes) -> Iterable[bytes]:
        yield data[: int(part * len(data))]
        raise ResetError

    return body


def reset_in_the_head(request: bytes) -> Iterable[bytes]:
    yield b"HTTP/1.1 206 Partial Con"
    raise ResetError


def reset_before_the_head(request: bytes) -> Iterable[bytes]:
    raise ResetError
    yield b""


def has_none(request: bytes) -> Iterable[bytes]:
    yield b"HTTP/1.1 404 Not Found\r\nP2PHub-Error: 1; gone\r\nContent-Length: 0\r\n\r\n"


FAULTS: dict[str, tuple[int, Script]] = {
    "wrong bytes in the first piece": (4, sends(wrong_at(0.0))),
    "wrong bytes in a piece in the middle": (4, sends(wrong_at(0.5))),
    "wrong bytes in the last piece": (4, sends(wrong_at(1.0))),
    "right length and wrong content": (4, sends(other_content)),
    "a body without an end": (4, sends(without_end)),
    "one byte a second": (6, sends(one_byte_a_second)),
    "reset before the head": (6, reset_before_the_head),
    "reset in the head": (6, reset_in_the_head),
    "reset before the first byte": (6, sends(reset_at(0.0))),
    "reset in the first piece": (6, sends(reset_at(0.05))),
    "claims all and has none": (6, has_none),
}
"""How a pull from such a peer alone ends."""
HALF_BAD = {"reset behind the last byte": sends(reset_at(1.0))}
"""Alone they may bring the file or not: what a reset takes with it is the system's choice."""
SLOW = {name for name, (exit, _) in FAULTS.items() if exit == 6}
"""Tried again for a while, because no wrong byte came."""


def all_of_them(slow: set[str]) -> list:
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in FAULTS]


SCRIPTS = {name: script for name, (_, script) in FAULTS.items()} | HALF_BAD


@pytest.mark.parametrize("fault", all_of_them(SLOW))
async def test_alone(scene, lab, fault):
    exit, script = FAULTS[fault]
    await scene.bystander_is(honest=False)
    with GarbagePeer(honest_about_documents(lab, script), seed=SEED) as port:
        await scene.joins(
            library=library_of(lab), data_port=port.endpoint.port, stream=Faults().hang_up
        )
        async with scene.consumer() as pulling:
            error = await refused(exit, pulling)
            assert NAME in error.message
            assert error.remedy


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*all_of_them({"one byte a second"}), *HALF_BAD])
async def test_beside_an_honest_peer(scene, lab, fault):
    await scene.bystander_is(honest=True)
    with GarbagePeer(honest_about_documents(lab, SCRIPTS[fault]), seed=SEED) as port:
        await scene.joins(library=library_of(lab), data_port=port.endpoint.port)
        async with scene.consumer() as pulling:
            assert contents((await pull(pulling)).path) == FILES


async def test_what_a_liar_sent_right_is_kept_for_the_next_pull(scene, lab, tmp_path):
    await scene.bystander_is(honest=False)
    script = sends(wrong_at(1.0))
    with GarbagePeer(honest_about_documents(lab, script), seed=SEED) as port:
        await scene.joins(
            library=library_of(lab), data_port=port.endpoint.port, stream=Faults().hang_up
        )
        async with scene.consumer() as pulling:
            await refused(4, pulling)
            stock(tmp_path / "late", lab)
            async with node(tmp_path / "late", pulling) as late:
                await pulling.connect(late.identity.addresses[0])
                done = await pull(pulling)
    assert contents(done.path) == FILES
    assert 0 < done.bytes_fetched < len(DATA)


# ---------------------------------------------------------------- piece tables

RECORD = bytes(32)


def packed(*lengths: int) -> bytes:
    return b"".join(length.to_bytes(4, "little") + RECORD for length in lengths)


TABLES = {
    "that sums to less than its file": packed(MIB, MIB),
    "that sums to more than its file": packed(*[MIB] * 6),
    "with a piece that is longer than any": packed(5 * MIB),
    "with lengths that overflow": packed(*[2**32 - 1] * 5),
    "of a million pieces of length 0": packed(0) * 1_000_000,
    "that is torn": packed(*[MIB] * 5)[:-1],
    "that is empty": b"",
}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
async def test_a_signed_table(scene, lab, table):
    """Its publisher has signed nonsense: 4, without cost, and whoever passes it on is no liar."""
    data = TABLES[table]
    content = ContentId(5 * MIB, sha256(data))
    lab.publish("x", [FileEntry((NAME,), content.size, sha256(DATA), content, None)])
    library = library_of(lab)
    library.documents[content.digest] = data
    await scene.bystander_is(honest=False)
    await scene.joins(library=library)
    async with scene.consumer() as pulling:
        # More than a table of this file can have is not even read: nobody has brought one.
        error = await refused(4 if len(data) < MIB else 6, pulling)
        assert NAME in error.message
        assert not pulling._services.liars.names(content, trio.current_time())


async def test_two_releases_that_name_different_tables_for_one_sha256(tmp_path, nursery):
    """Both are honest: nobody who has the one or the other is taken for a liar."""
    data = random_bytes("cut in two ways", 17 * MIB)
    one, two = FakePublisher(1), FakePublisher(2)
    one.publish("x", {NAME: data})
    lengths = [MIB // 2] * 34
    table = PieceTable.build(lengths, piece_digests(data, lengths))
    two.contents[table.content_id], two.tables[table.content_id] = data, table.pack()
    two.publish("x", [FileEntry((NAME,), len(data), sha256(data), table.content_id, None)])
    assert set(one.contents) != set(two.contents)
    for name, lab in (("one", one), ("two", two)):
        stock(tmp_path / name, lab)
    async with (
        node(tmp_path / "one") as first,
        node(tmp_path / "two", first) as second,
        consumer(tmp_path / "here", second, one.publisher) as pulling,
    ):
        await pulling.trust.add("other", str(two.publisher))
        await pulling.connect(first.identity.addresses[0])
        for reference in ("lab/x", "other/x"):
            assert contents((await pull(pulling, reference)).path) == {NAME: data}
        for content in (*one.contents, *two.contents):
            assert not pulling._services.liars.names(content, trio.current_time())
