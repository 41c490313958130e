"""What every sink must do, whether it keeps pieces in memory or in a store's partial file."""

import mmap
import threading
from contextlib import contextmanager

import pytest

from p2phub.errors import NoSpaceError, WrongBytesError
from p2phub.formats.limits import MIB
from p2phub.protocol.ports import Sink
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk
from p2phub.testing.samples import MemorySink, make_sample

BIG = make_sample(2_100_000, seed="big", piece=100_000)
"""Its 21 pieces are of one length, so that only the digest tells them apart."""
UNEVEN = make_sample(3 * MIB + 17, seed="uneven", piece=MIB)
SMALL = make_sample(1000, seed="small")
EMPTY = make_sample(0)


class InMemory:
    """The fake."""

    def __init__(self, sample, folder):
        self.sink = MemorySink(sample.table)

    def close(self):
        pass

    @property
    def kept(self):
        return set(self.sink.pieces)

    @property
    def data(self):
        return self.sink.data


class OnDisk:
    """A partial file of a store; complete ones are committed and read as blobs."""

    def __init__(self, sample, folder, disk=None):
        self._sample = sample
        self._store = Store.open(Layout.of(folder / "home"), disk=disk or CountingDisk())
        self.sink = self._store.partials.open(sample.content, sample.table)

    def close(self):
        self._store.close()

    @property
    def kept(self):
        return {n for n in range(self._sample.table.count) if self.sink.have(n)}

    @property
    def data(self):
        if self.sink.complete:
            self.sink.commit()
            with self._store.blobs.opened(self._sample.content) as fd:
                return open(fd, "rb", closefd=False).read()
        return b"".join(self.sink.read(start, stop - start) for start, stop in self.sink.ranges())


class OnDiskAgain(OnDisk):
    """The same after another process made it, got a piece, and went."""

    def __init__(self, sample, folder):
        super().__init__(sample, folder)
        if sample.table.count > 1:
            self.sink.accept(1, memoryview(sample.piece(1)))
        self.close()
        super().__init__(sample, folder)


@pytest.fixture(params=[InMemory, OnDisk, OnDiskAgain], ids=["memory", "partial", "begun partial"])
def opened(request, tmp_path):
    """Makes the sink of a sample, empty or with piece 1."""

    @contextmanager
    def make(sample):
        place = request.param(sample, tmp_path)
        yield place
        place.close()

    return make


def give(sink: Sink, sample, *indexes):
    for index in indexes:
        sink.accept(index, memoryview(sample.piece(index)))


@pytest.mark.parametrize(
    "sample", [BIG, UNEVEN, SMALL, EMPTY], ids=lambda each: str(len(each.data))
)
def test_every_piece_in_order_is_the_file(opened, sample):
    with opened(sample) as place:
        give(place.sink, sample, *range(sample.table.count))
        assert place.data == sample.data


@pytest.mark.parametrize("order", [range(20, -1, -1), sorted(range(21), key=lambda n: n * 8 % 21)])
def test_the_order_in_which_pieces_come_does_not_matter(opened, order):
    with opened(BIG) as place:
        give(place.sink, BIG, *order)
        assert place.data == BIG.data


def test_a_part_is_kept_as_a_part(opened):
    with opened(BIG) as place:
        give(place.sink, BIG, 1, 2, 20)
        assert place.kept == {1, 2, 20}
        assert place.data == BIG.data[100_000:300_000] + BIG.data[2_000_000:]


def test_a_piece_may_come_again(opened):
    with opened(BIG) as place:
        give(place.sink, BIG, 0, 1, 1, 0, *range(21))
        assert place.data == BIG.data


WRONG = {
    "other bytes": bytes(100_000),
    "another piece": BIG.piece(4),
    "a byte short": BIG.piece(3)[:-1],
    "a byte long": BIG.piece(3) + b"x",
    "nothing": b"",
    "one bit": bytes([BIG.piece(3)[0] ^ 1]) + BIG.piece(3)[1:],
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_wrong_bytes_are_refused_and_the_right_ones_can_come_later(opened, data):
    with opened(BIG) as place:
        with pytest.raises(WrongBytesError):
            place.sink.accept(3, memoryview(data))
        assert 3 not in place.kept
        give(place.sink, BIG, *range(21))
        assert place.data == BIG.data


def test_wrong_bytes_for_a_piece_that_is_here_are_refused_and_change_nothing(opened):
    with opened(BIG) as place:
        give(place.sink, BIG, *range(21))
        with pytest.raises(WrongBytesError):
            place.sink.accept(3, memoryview(bytes(100_000)))
        assert place.data == BIG.data


@pytest.mark.parametrize("index", [-1, 21, -21, 1 << 40])
def test_a_piece_that_the_file_does_not_have_is_refused(opened, index):
    with opened(BIG) as place:
        before = place.kept
        with pytest.raises(WrongBytesError):
            place.sink.accept(index, memoryview(BIG.piece(index % 21)))
        assert place.kept == before


def test_an_empty_file_has_no_piece_to_take(opened):
    with opened(EMPTY) as place, pytest.raises(WrongBytesError):
        place.sink.accept(0, memoryview(b""))


def test_a_buffer_is_the_sources_again_as_soon_as_a_piece_was_taken(opened):
    buffer = memoryview(bytearray(BIG.data))
    with opened(BIG) as place:
        for index in range(21):
            window = buffer[index * 100_000 : (index + 1) * 100_000]
            place.sink.accept(index, window)
            window[:] = bytes(100_000)
        assert place.data == BIG.data


def test_bytes_from_any_memory_will_do(opened):
    with mmap.mmap(-1, 100_000) as area:
        area[:] = BIG.piece(3)
        with opened(BIG) as place, memoryview(area) as view:
            place.sink.accept(3, view)
            place.sink.accept(4, memoryview(bytearray(BIG.piece(4))))
            place.sink.accept(5, memoryview(BIG.data).toreadonly()[500_000:600_000])
            assert {3, 4, 5} <= place.kept


def test_many_threads_bring_one_file(opened):
    failures = []

    def bring(place, first):
        for index in [*range(first, 21), *range(first)]:
            try:
                give(place.sink, BIG, index)
            except Exception as error:  # told below, by the thread that can fail the test
                failures.append(error)

    with opened(BIG) as place:
        threads = [threading.Thread(target=bring, args=(place, n)) for n in range(0, 21, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert place.data == BIG.data


class FillingMemory(InMemory):
    def fill(self):
        self.sink.room = len(self.sink.pieces)

    def mend(self):
        self.sink.room = BIG.table.count


class FillingDisk(OnDisk):
    def __init__(self, sample, folder):
        self._disk = FullDisk()
        super().__init__(sample, folder, self._disk)
        self.fill, self.mend = self._disk.fail, self._disk.mend


@pytest.mark.parametrize("make", [FillingMemory, FillingDisk], ids=["memory", "partial"])
def test_a_full_disk_is_said_and_what_was_kept_stays(make, tmp_path):
    place = make(BIG, tmp_path)
    give(place.sink, BIG, 0, 1, 2)
    place.fill()
    for index in (3, 4, 3):
        with pytest.raises(NoSpaceError):
            give(place.sink, BIG, index)
    give(place.sink, BIG, 1)
    with pytest.raises(WrongBytesError):
        place.sink.accept(3, memoryview(bytes(100_000)))
    assert place.kept == {0, 1, 2}
    assert place.data == BIG.data[:300_000]
    place.mend()
    give(place.sink, BIG, *range(3, 21))
    assert place.data == BIG.data
    place.close()
