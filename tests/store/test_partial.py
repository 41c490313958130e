"""Files on their way: wrong bytes never count, right ones are never lost."""

import os
import subprocess
import sys
import threading

import pytest

from p2phub.errors import NoSpaceError, NotFoundError, P2PHubError, WrongBytesError
from p2phub.formats.pieces import Run
from p2phub.store.stamp import stamp_now
from p2phub.testing.disks import FullDisk, PowerCut, PowerCutError
from p2phub.testing.samples import make_sample

from .conftest import held, leftovers

BIG = make_sample(1_200_000, seed="big", piece=100_000)
SMALL = make_sample(5_000, seed="small")
EMPTY = make_sample(0)


def begin(store, sample=BIG, **options):
    return store.partials.open(sample.content, sample.table, **options)


def give(partial, sample, *indexes):
    for index in indexes:
        partial.accept(index, memoryview(sample.piece(index)))


class TestWhatIsExpected:
    @pytest.fixture(autouse=True)
    def small_runs_count(self, monkeypatch):
        monkeypatch.setattr("p2phub.store.partial.EARLY", 300_000)

    def test_pieces_that_are_to_come_take_their_room_and_no_more(self, store):
        partial = begin(store)
        partial.expect(Run(2, 4))
        assert partial.missing() == [Run(0, 12)]
        taken = partial.data.stat().st_blocks * 512
        if not taken:
            pytest.skip("this file system gives no blocks beforehand")
        assert 400_000 <= taken < 500_000

    def test_a_few_pieces_take_none_before_they_come(self, store):
        partial = begin(store)
        partial.expect(Run(2, 2))
        assert not partial.data.exists()

    def test_what_was_expected_and_never_came_does_not_count_after_a_kill(self, reopen):
        store = reopen()
        partial = begin(store)
        partial.expect(Run(0, 12))
        give(partial, BIG, 0, 1)
        partial.claim_all()  # the bitmap outlived the bytes
        again = reopen()
        partial = begin(again)
        assert partial.missing() == [Run(2, 10)]
        give(partial, BIG, *range(2, 12))
        partial.commit()
        assert held(again, BIG.content) == BIG.data

    def test_a_disk_without_room_says_so_at_the_write_and_not_before(self, store, monkeypatch):
        monkeypatch.setattr(store.disk, "allocate", lambda *_: False)
        partial = begin(store)
        partial.expect(Run(0, 12))
        give(partial, BIG, *range(12))
        partial.commit()
        assert held(store, BIG.content) == BIG.data


class TestWhatCounts:
    def test_a_new_partial_has_nothing(self, store):
        partial = begin(store)
        assert partial.missing() == [Run(0, 12)]
        assert partial.ranges() == ()
        assert (partial.count_done, partial.bytes_done, partial.complete) == (0, 0, False)

    def test_pieces_count_in_any_order(self, store):
        partial = begin(store)
        give(partial, BIG, 7, 3, 4, 11)
        assert partial.missing() == [Run(0, 3), Run(5, 2), Run(8, 3)]
        assert partial.ranges() == (
            (300_000, 500_000),
            (700_000, 800_000),
            (1_100_000, 1_200_000),
        )
        assert (partial.count_done, partial.bytes_done) == (4, 400_000)
        assert [n for n in range(12) if partial.have(n)] == [3, 4, 7, 11]

    def test_the_same_piece_twice_counts_once(self, store):
        partial = begin(store)
        give(partial, BIG, 2, 2, 2)
        assert partial.count_done == 1

    @pytest.mark.parametrize("index", [-1, 12, 1 << 40])
    def test_a_piece_that_the_file_does_not_have_is_refused(self, store, index):
        partial = begin(store)
        with pytest.raises(WrongBytesError):
            partial.accept(index, memoryview(BIG.piece(0)))
        assert partial.count_done == 0

    @pytest.mark.parametrize("sample", [BIG, SMALL], ids=["big", "small"])
    def test_wrong_bytes_are_refused_and_written_nowhere(self, store, sample):
        partial = begin(store, sample)
        wrong = bytearray(sample.piece(0))
        wrong[-1] ^= 1
        for data in (wrong, sample.piece(0)[:-1], sample.piece(0) + b"x", b""):
            with pytest.raises(WrongBytesError, match="piece 0"):
                partial.accept(0, memoryview(data))
        assert partial.count_done == 0
        assert not partial.data.exists()

    def test_wrong_bytes_for_a_piece_that_is_here_are_a_lie_all_the_same(self, store):
        partial = begin(store)
        give(partial, BIG, 0)
        with pytest.raises(WrongBytesError):
            partial.accept(0, memoryview(BIG.piece(1)))
        assert partial.read(0, 100_000) == BIG.piece(0)

    def test_an_empty_file_is_complete_at_once(self, store):
        partial = begin(store, EMPTY)
        assert partial.complete
        partial.commit()
        assert held(store, EMPTY.content) == b""


class TestReading:
    def test_only_verified_bytes_are_given_out(self, store):
        partial = begin(store)
        give(partial, BIG, 3, 4)
        assert partial.read(350_000, 100_000) == BIG.data[350_000:450_000]
        for offset, length in ((299_999, 10), (499_999, 2), (0, 1)):
            with pytest.raises(NotFoundError):
                partial.read(offset, length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 5), (1_199_999, 2), (0, -1), (2**60, 1)])
    def test_bytes_outside_of_the_file_are_not_found(self, store, offset, length):
        partial = begin(store)
        give(partial, BIG, *range(12))
        with pytest.raises(NotFoundError):
            partial.read(offset, length)

    def test_no_bytes_are_always_here(self, store):
        assert begin(store).read(700, 0) == b""


class TestOpeningAgain:
    def test_what_was_got_is_verified_and_counts(self, store, reopen):
        give(begin(store), BIG, 1, 2, 9)
        seen = []
        partial = begin(reopen(), progress=seen.append)
        assert partial.missing() == [Run(0, 1), Run(3, 6), Run(10, 2)]
        assert sum(seen) == 300_000

    @pytest.mark.parametrize("sample", [BIG, SMALL], ids=["big", "small"])
    def test_a_torn_write_does_not_count(self, store, reopen, sample):
        partial = begin(store, sample)
        give(partial, sample, *range(sample.table.count))
        os.truncate(partial.data, sample.content.size - 10)
        again = begin(reopen(), sample)
        last = sample.table.count - 1
        assert again.missing() == [Run(last, 1)]
        give(again, sample, last)
        again.commit()
        assert held_again(again) == sample.data

    def test_a_bitmap_that_claims_what_never_reached_the_disk_is_not_believed(self, store, reopen):
        partial = begin(store)
        give(partial, BIG, 0)
        partial.bitmap.write_bytes(b"\1" * 12)
        again = begin(reopen())
        assert again.missing() == [Run(1, 11)]
        # and the bitmap is mended, so that the next start does not read all of it once more
        assert again.bitmap.read_bytes() == b"\1" + bytes(11)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(b"\xff" * 40),
        ],
        ids=["lost", "empty", "garbage"],
    )
    def test_a_broken_bitmap_costs_fetching_again_and_no_wrong_byte(self, store, reopen, damage):
        partial = begin(store)
        give(partial, BIG, 0, 1, 2)
        damage(partial.bitmap)
        again = begin(reopen())
        assert again.missing() == [Run(0, 12)]
        give(again, BIG, *range(12))
        again.commit()
        assert held_again(again) == BIG.data

    def test_a_bitmap_longer_than_the_file_has_pieces_is_cut(self, store, reopen):
        partial = begin(store)
        give(partial, BIG, 0)
        partial.bitmap.write_bytes(b"\1" + bytes(11) + b"\1" * 100)
        assert begin(reopen()).count_done == 1

    def test_lost_data_under_a_whole_bitmap_counts_nothing(self, store, reopen):
        partial = begin(store)
        give(partial, BIG, *range(12))
        partial.data.unlink()
        assert begin(reopen()).missing() == [Run(0, 12)]

    def test_a_data_file_that_became_a_link_is_not_written_through(self, store, reopen, tmp_path):
        partial = begin(store)
        give(partial, BIG, 0)
        precious = tmp_path / "precious"
        precious.write_bytes(b"precious")
        partial.data.unlink()
        partial.data.symlink_to(precious)
        again = begin(reopen())
        give(again, BIG, *range(12))
        again.commit()
        assert precious.read_bytes() == b"precious"

    @pytest.mark.parametrize("what", ["gone", "replaced"])
    def test_data_that_somebody_takes_away_meanwhile_is_never_zeros_in_its_place(
        self, store, reopen, what
    ):
        partial = begin(store)
        give(partial, BIG, *range(12))
        partial.data.unlink()
        if what == "replaced":
            partial.data.write_bytes(bytes(BIG.content.size))
        for use in (lambda: partial.read(0, 10), partial.commit):
            with pytest.raises(P2PHubError, match="somebody took away or changed"):
                use()
        assert not store.blobs.has(BIG.content)
        again = begin(reopen())
        assert again.count_done == 0
        give(again, BIG, *range(12))
        again.commit()


def held_again(partial):
    return partial.folder.parent.parent.joinpath(
        "blobs", partial.content.digest.hex()[:2], str(partial.content)
    ).read_bytes()


class TestManyThreads:
    def test_fill_one_file_together(self, store):
        partial = begin(store)
        threads = [
            threading.Thread(target=give, args=(partial, BIG, *range(first, 12, 3)))
            for first in (0, 1, 2, 0, 1, 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (partial.count_done, partial.bytes_done) == (12, 1_200_000)
        partial.commit()
        assert held(store, BIG.content) == BIG.data

    def test_committing_from_several_makes_one_blob(self, store):
        partial = begin(store)
        give(partial, BIG, *range(12))
        errors = []

        def commit():
            try:
                partial.commit()
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=commit) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert store.blobs.totals() == (1, 1_200_000)

    def test_a_piece_that_two_bring_is_not_taken_for_meddling_by_who_commits(
        self, store, monkeypatch
    ):
        partial = begin(store)
        give(partial, BIG, *range(12))
        free = []

        def looking(path):
            other = threading.Thread(target=lambda: free.append(partial._state.acquire(False)))
            other.start()
            other.join()
            return stamp_now(path)

        monkeypatch.setattr("p2phub.store.partial.stamp_now", looking)
        partial.commit()
        assert free
        assert not any(free), "somebody could write between the look and the comparison"

    def test_a_close_waits_for_who_is_writing(self, store, monkeypatch):
        partial = begin(store)
        writing, go = threading.Event(), threading.Event()
        real = store.disk.write

        def slow(fd, data, offset, path):
            if path == partial.data:
                writing.set()
                assert go.wait(10)
            real(fd, data, offset, path)

        monkeypatch.setattr(store.disk, "write", slow)
        writer = threading.Thread(target=give, args=(partial, BIG, 0))
        writer.start()
        assert writing.wait(10)
        closer = threading.Thread(target=store.partials.close, args=(partial,))
        closer.start()
        go.set()
        writer.join()
        closer.join()
        assert partial.count_done == 1
        with pytest.raises(NotFoundError):
            give(partial, BIG, 1)


class TestFullDisks:
    def test_a_piece_that_finds_no_room_does_not_count_and_can_come_later(self, reopen):
        for at in range(12, 42):
            disk = FullDisk(at)
            store = reopen(disk=disk)
            partial = begin(store)
            try:
                give(partial, BIG, 5)
            except NoSpaceError:
                assert partial.count_done == 0
                disk.mend()
                give(partial, BIG, 5)
            assert partial.read(500_000, 100_000) == BIG.piece(5)
            store.partials.close(partial)
            assert store.partials.remove(BIG.content)


class TestPowerCuts:
    def test_at_any_point_lose_at_most_the_piece_in_flight(self, reopen, layout):
        at = 0
        while True:
            disk = PowerCut(at + 13)
            given = []
            try:
                store = reopen(disk=disk)
                partial = begin(store)
                for index in range(12):
                    give(partial, BIG, index)
                    given.append(index)
                break
            except PowerCutError:
                pass
            again = begin(reopen())
            assert again.count_done in (len(given), len(given) + 1)
            assert all(again.have(index) for index in given)
            again._disk.remove_tree(layout.partial / str(BIG.content))
            at += 1
        assert at > 20


WRITER = """
import os, sys
from pathlib import Path
from threading import Thread
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.samples import make_sample

sample = make_sample(int(sys.argv[2]), seed="kill", piece=16384)
store = Store.open(Layout.of(Path(sys.argv[1])))
partial = store.partials.open(sample.content, sample.table)
print("at", partial.count_done, flush=True)

def work(first):
    for index in range(first, sample.table.count, 4):
        if not partial.have(index):
            partial.accept(index, memoryview(sample.piece(index)))
            os.write(1, b"%d\\n" % index)
            os.read(0, 1)

threads = [Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
partial.commit()
print("done", flush=True)
"""


def write_until(layout, size, lines):
    """Let a process write pieces and kill it after so many; which it said it had kept."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(layout.home), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    kept, done = set(), False
    with process:
        for line in process.stdout:
            word = line.decode().split()
            done = done or word == ["done"]
            if len(word) == 1 and word[0].isdigit():
                kept.add(int(word[0]))
            if len(kept) >= lines or done:
                break
            if len(word) == 1:
                process.stdin.write(b".")
        process.kill()
    return kept, done


@pytest.mark.budget(120)
def test_a_process_that_is_killed_again_and_again_loses_nothing_it_had_kept(layout, reopen):
    sample = make_sample(4_000_000, seed="kill", piece=16384)
    kept, done, rounds = set(), False, 0
    while not done:
        more, done = write_until(layout, 4_000_000, 20 + 13 * rounds)
        kept |= more
        store = reopen()
        if store.blobs.has(sample.content):
            break
        partial = store.partials.open(sample.content, sample.table)
        assert all(partial.have(index) for index in kept)
        store.close()
        rounds += 1
        assert rounds < 60
    store = reopen()
    if not store.blobs.has(sample.content):
        store.partials.open(sample.content, sample.table).commit()
    assert held(store, sample.content) == sample.data
    assert leftovers(layout) == []
    assert rounds >= 3
