"""Peers that answer badly, on every door, over real sockets.

A pull that has only such a peer ends with 6 (it does not speak our protocol, or not at all) or 4
(its bytes are wrong), soon and without taking in much; with one honest peer beside it, it succeeds.
"""

import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from p2phub.errors import P2PHubError
from p2phub.formats.pieces import PieceTable
from p2phub.node.node import Node
from p2phub.testing import peers
from p2phub.testing.files import random_bytes
from p2phub.testing.forgeries import damaged_signature, signed_by_others, tampered, unsigned
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.peers import GarbagePeer, Script, ServedPeer
from p2phub.testing.publishers import FakePublisher
from p2phub.testing.samples import Sample
from p2phub.testing.strangers import Faults, Stranger
from p2phub.trust.keys import SigningKey
from tests.scenarios.nodes import MIB, consumer, contents, node, pull, refused, stock

pytestmark = pytest.mark.slow
SEED = bytes(31) + b"s"
FILES = {"config.json": b"{}", "model.bin.safetensors": random_bytes("model", 3 * MIB)}
BIG = "model.bin.safetensors"


@pytest.fixture
def lab():
    """A publisher with one release, `x`."""
    lab = FakePublisher(1)
    lab.publish("x", FILES)
    return lab


def library_of(lab: FakePublisher) -> MemoryLibrary:
    """Everything that `lab` has signed and published."""
    library = MemoryLibrary()
    library.documents |= lab.documents
    library.heads[lab.publisher.digest] = lab.head.pack()
    for content, data in lab.contents.items():
        small = content not in lab.tables
        table = (
            PieceTable.for_small(content)
            if small
            else PieceTable.unpack(lab.tables[content], content)
        )
        library.add(Sample(table, data))
    return library


class Scene:
    """A node that knows nobody's publisher, and those who join it."""

    def __init__(self, tmp_path, lab: FakePublisher, nursery: trio.Nursery) -> None:
        self.tmp_path, self.lab, self._nursery = tmp_path, lab, nursery
        self.bystander: Node

    async def bystander_is(self, *, honest: bool) -> None:
        home = self.tmp_path / "bystander"
        if honest:
            stock(home, self.lab)
        self.bystander = await self._nursery.start(stays, node(home))

    async def is_there(self, seed: bytes = SEED, **behaviour) -> Stranger:
        """A stranger who says nothing to the DHT."""
        stranger = Stranger(seed, bootstrap=self.bystander.identity.addresses, **behaviour)
        return await self._nursery.start(stays, stranger.running())

    async def joins(self, **behaviour) -> Stranger:
        """A stranger who says that it has everything of `lab`."""
        stranger = await self.is_there(**behaviour)
        release = self.lab.entries["x"].refs["main"].release
        assert await stranger.network.put_head(self.lab.head_key, self.lab.head.pack())
        for digest in (self.lab.publisher.digest, release):
            assert await stranger.network.provide(digest)
        return stranger

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[Node]:
        home = self.tmp_path / "consumer"
        async with consumer(home, self.bystander, self.lab.publisher) as running:
            yield running


@pytest.fixture
def scene(tmp_path, lab, nursery):
    return Scene(tmp_path, lab, nursery)


async def stays(resource: AbstractAsyncContextManager, task_status) -> None:
    """Hold what a block gives until the test ends."""
    async with resource as held:
        task_status.started(held)
        await trio.sleep_forever()


async def is_brought(scene: Scene, within: float) -> None:
    with trio.fail_after(within):
        async with scene.consumer() as pulling:
            assert contents((await pull(pulling)).path) == FILES


async def is_refused(scene: Scene, exit: int, within: float) -> P2PHubError:
    with trio.fail_after(within):
        async with scene.consumer() as pulling:
            return await refused(exit, pulling)


# ---------------------------------------------------------------- the control protocol

HANGS = pytest.mark.slow
CONTROL_FAULTS = [
    "garbage",
    "noise_in_a_frame",
    "a_gigabyte",
    "endless",
    pytest.param("hang", marks=HANGS),
    "hang_up",
    "another_answer",
    "blame",
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", CONTROL_FAULTS)
async def test_control_alone(scene, fault):
    faults = Faults()
    await scene.bystander_is(honest=False)
    await scene.joins(control=getattr(faults, fault))
    error = await is_refused(scene, 6, within=25)
    assert error.remedy
    assert faults.sent < 8 * MIB  # a message or two for each of a few questions


@pytest.mark.parametrize("fault", CONTROL_FAULTS)
async def test_control_beside_an_honest_peer(scene, fault):
    await scene.bystander_is(honest=True)
    await scene.joins(control=getattr(Faults(), fault))
    await is_brought(scene, within=20)


async def test_a_gigabyte_is_claimed_and_not_allocated(scene):
    await scene.bystander_is(honest=True)
    await scene.joins(control=Faults().a_gigabyte)
    tracemalloc.start()
    try:
        await is_brought(scene, within=60)
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- the data port


def honest_about_documents(lab: FakePublisher, of_files: Script) -> Script:
    """Documents and piece tables are right, and it says that it has every file; what it sends
    of files is `of_files`.
    """
    documents = library_of(lab).documents

    def script(request: bytes) -> Iterable[bytes]:
        asked = re.match(rb"(GET|HEAD) /v1/(documents|files)/(\S+)", request)
        if asked is None:
            return
        if asked[2] == b"documents":
            data = documents[bytes.fromhex(asked[3].decode())]
            yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data
        elif asked[1] == b"HEAD":
            size = int(asked[3].partition(b"-")[0])
            have = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nP2PHub-Have: bytes=0-%d\r\n\r\n"
            yield have % (size, size - 1)
        else:
            yield from of_files(request)

    return script


def answered(request: bytes, body: Callable[[bytes], Iterable[bytes]]) -> Iterable[bytes]:
    """The right head for a range of a file, and `body(what was asked for)`."""
    first, last = map(int, re.search(rb"bytes=(\d+)-(\d+)", request).groups())
    size = int(re.search(rb"/v1/files/(\d+)-", request)[1])
    yield b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n" % (last - first + 1)
    yield b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (first, last, size)
    data = next(data for data in FILES.values() if len(data) == size)
    yield from body(data[first : last + 1])


def half(data: bytes) -> Iterable[bytes]:
    yield data[: len(data) // 2]


def and_more(data: bytes) -> Iterable[bytes]:
    """Twice, and then for ever."""
    yield bytes(len(data))
    while True:
        yield bytes(65536)


def other_bytes(data: bytes) -> Iterable[bytes]:
    yield bytes(len(data))


def one_bit_off(data: bytes) -> Iterable[bytes]:
    yield data[:-1] + bytes([data[-1] ^ 1])


def sends(body: Callable[[bytes], Iterable[bytes]]) -> Script:
    return lambda request: answered(request, body)


def too_long(request: bytes) -> Iterable[bytes]:
    """A range of ten bytes, said to be a gigabyte."""
    yield b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1000000000\r\n"
    yield b"Content-Range: bytes 0-999999999/1000000000\r\n\r\n0123456789"


def without_length(request: bytes) -> Iterable[bytes]:
    yield b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + bytes(65536) + b"\r\n"


FILE_FAULTS = {
    "garbage": (6, peers.answer_garbage),
    "nothing, and no end": (6, peers.answer_nothing),
    "too long": (6, too_long),
    "without a length": (6, without_length),
    "an endless head": (6, peers.endless_head),
    "half of it, and no end": (6, sends(half)),
    "endless": (4, sends(and_more)),
    "other bytes": (4, sends(other_bytes)),
    "one bit off": (4, sends(one_bit_off)),
}


HANGING = [fault for fault in FILE_FAULTS if "no end" in fault]
TRIED_AGAIN = ["too long", "without a length", "an endless head", *HANGING]
"""Not wrong bytes, so that it is tried again and again for some seconds."""


def with_slow(slow: list[str]) -> list:
    return [pytest.param(each, marks=HANGS if each in slow else ()) for each in FILE_FAULTS]


@pytest.mark.parametrize("fault", with_slow(TRIED_AGAIN))
async def test_files_alone(scene, lab, fault):
    exit, script = FILE_FAULTS[fault]
    await scene.bystander_is(honest=False)
    with GarbagePeer(honest_about_documents(lab, script), seed=SEED) as port:
        await scene.joins(
            library=library_of(lab), data_port=port.endpoint.port, stream=Faults().hang_up
        )
        error = await is_refused(scene, exit, within=150 if fault in HANGING else 60)
    assert "config.json" in error.message or BIG in error.message
    assert error.remedy
    assert len(port.requests) < 150


@pytest.mark.parametrize("fault", with_slow(HANGING))
async def test_files_beside_an_honest_peer(scene, lab, fault):
    _, script = FILE_FAULTS[fault]
    await scene.bystander_is(honest=True)
    with GarbagePeer(honest_about_documents(lab, script), seed=SEED) as port:
        await scene.joins(library=library_of(lab), data_port=port.endpoint.port)
        await is_brought(scene, within=20)


DOCUMENT_FAULTS = [
    peers.answer_garbage,
    peers.claim_a_gigabyte,
    peers.endless_head,
    peers.endless_body,
    pytest.param(peers.answer_nothing, marks=HANGS),
    pytest.param(peers.truncated_body, marks=HANGS),
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", DOCUMENT_FAULTS, ids=lambda fault: fault.__name__)
async def test_documents_alone(scene, fault):
    await scene.bystander_is(honest=False)
    exit = 4 if fault is peers.endless_body else 6  # ten bytes that are not what was asked for
    with GarbagePeer(fault, seed=SEED) as port:
        await scene.joins(data_port=port.endpoint.port, stream=Faults().hang_up)
        error = await is_refused(scene, exit, within=25)
    assert "lab" in error.message
    assert len(port.requests) < 30


@pytest.mark.parametrize("fault", DOCUMENT_FAULTS, ids=lambda fault: fault.__name__)
async def test_documents_beside_an_honest_peer(scene, fault):
    await scene.bystander_is(honest=True)
    with GarbagePeer(fault, seed=SEED) as port:
        await scene.joins(data_port=port.endpoint.port)
        await is_brought(scene, within=20)


@pytest.mark.parametrize("honest", [False, True], ids=["alone", "beside an honest peer"])
async def test_a_document_in_place_of_another(scene, lab, honest):
    """A true document of the publisher, but not the one that was asked for."""
    assert lab.index is not None
    wrong = library_of(lab)
    wrong.documents[lab.index.digest] = lab.documents[lab.entries["x"].refs["main"].release]
    await scene.bystander_is(honest=honest)
    with ServedPeer(wrong, seed=SEED) as port:
        await scene.joins(library=wrong, data_port=port.endpoint.port, tickets=port.tickets)
        if honest:
            await is_brought(scene, within=20)
        else:
            assert "index" in (await is_refused(scene, 4, within=20)).message


# ---------------------------------------------------------------- who answers at the data port


@pytest.mark.parametrize("stream", ["honest", "hang_up", "garbage"])
async def test_another_peers_certificate(scene, lab, stream):
    """What stands there is not believed, however right its bytes are; the stream is."""
    await scene.bystander_is(honest=False)
    library = library_of(lab)
    with ServedPeer(library, seed=bytes(32)) as another:
        handler = None if stream == "honest" else getattr(Faults(), stream)
        port = another.endpoint.port
        await scene.joins(library=library, data_port=port, tickets=another.tickets, stream=handler)
        if stream == "honest":
            await is_brought(scene, within=20)
        else:
            await is_refused(scene, 6, within=25)


@pytest.mark.slow
@pytest.mark.parametrize("plain", ["garbage", "nothing", "silence"])
async def test_a_data_port_without_tls(scene, lab, plain):
    await scene.bystander_is(honest=False)
    script = peers.answer_garbage if plain == "garbage" else peers.answer_nothing
    with GarbagePeer(script, plain=True, hangs=plain == "silence") as port:
        await scene.joins(library=library_of(lab), data_port=port.endpoint.port)
        await is_brought(scene, within=25)


# ---------------------------------------------------------------- heads

FORGERIES = {
    "tampered": tampered,
    "damaged signature": damaged_signature,
    "unsigned": unsigned,
    "signed by somebody else": lambda data: signed_by_others(data, SigningKey(bytes(32))),
    "truncated": lambda data: data[:-10],
    "noise": lambda data: random_bytes("head", 300),
}


@pytest.mark.slow
@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("honest", [False, True], ids=["alone", "beside an honest peer"])
async def test_a_damaged_head_that_a_peer_delivers(scene, lab, forgery, honest):
    library = library_of(lab)
    library.heads[lab.publisher.digest] = FORGERIES[forgery](lab.head.pack())
    await scene.bystander_is(honest=honest)
    await scene.is_there(library=library)
    if honest:
        await is_brought(scene, within=20)
    else:
        assert "head" in (await is_refused(scene, 4, within=20)).message


async def test_no_head_anywhere(scene):
    await scene.bystander_is(honest=False)
    await scene.is_there()
    await is_refused(scene, 6, within=20)


@pytest.mark.parametrize("known", [False, True], ids=["at first sight", "that is known already"])
async def test_an_older_head(scene, lab, known):
    """True once, and replayed by everybody in the DHT: it never moves anything back."""
    old = lab.head.pack()
    lab.publish("x", {**FILES, "new.txt": b"new"})
    await scene.bystander_is(honest=True)
    for number in range(3):
        stranger = await scene.is_there(seed=bytes(31) + bytes([number]), credulous=True)
        await stranger.network.put_head(lab.head_key, old)
    async with scene.consumer() as pulling:
        if known:
            await pull(pulling)
        assert "new.txt" in contents((await pull(pulling)).path)


@pytest.mark.slow
async def test_a_dht_flooded_with_heads_that_nobody_signed(scene, lab):
    """Four peers near the key keep and tell nothing but forgeries, and push them to the others."""
    await scene.bystander_is(honest=True)
    flooders = [
        await scene.is_there(seed=bytes(31) + bytes([number]), credulous=True)
        for number in range(4)
    ]
    await scene.joins(library=library_of(lab))
    for forge in FORGERIES.values():
        for number, flooder in enumerate(flooders):
            record = forge(lab.sign_head(seq=1000 + number).pack())
            await flooder.network.put_head(lab.head_key, record)
    await is_brought(scene, within=25)
