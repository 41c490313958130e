"""Files on their way: shared, resumed, counted against the quota, and gone when they are blobs."""

import os
import resource
import threading
from pathlib import Path

import pytest

from p2phub.errors import NotFoundError, QuotaError
from p2phub.formats.pieces import Run
from p2phub.testing.samples import make_sample

from .conftest import bring, held, leftovers
from .test_blobs import flip

BIG = make_sample(1_200_000, seed="big", piece=100_000)
SMALL = make_sample(5_000, seed="small")
MANY = [make_sample(10 * n + 1, seed=n) for n in range(40)]


def begin(store, sample=BIG):
    return store.partials.open(sample.content, sample.table)


def give(partial, sample, *indexes):
    for index in indexes:
        partial.accept(index, memoryview(sample.piece(index)))


def test_two_pulls_of_one_file_fill_it_together(store):
    one, other = begin(store), begin(store)
    assert one is other
    give(one, BIG, *range(6))
    assert other.missing() == [Run(6, 6)]
    store.partials.close(one)
    give(other, BIG, *range(6, 12))
    other.commit()
    store.partials.close(other)
    assert held(store, BIG.content) == BIG.data


def test_the_slower_of_two_pulls_finds_its_file_committed(store):
    one, other = begin(store), begin(store)
    give(one, BIG, *range(12))
    one.commit()
    give(other, BIG, 3)
    other.commit()
    for partial in (one, other):
        store.partials.close(partial)
    assert store.blobs.totals()[0] == 1


def test_what_is_served_while_it_comes_is_the_open_one(store):
    assert store.partials.get(BIG.content) is None
    partial = begin(store)
    assert store.partials.get(BIG.content) is partial
    store.partials.close(partial)
    assert store.partials.get(BIG.content) is None


def test_what_was_got_waits_for_the_next_pull(store, reopen):
    partial = begin(store)
    give(partial, BIG, 0)
    store.partials.close(partial)
    assert store.partials.list() == (BIG.content,)
    again = reopen()
    assert again.partials.list() == (BIG.content,)
    assert again.blobs.table(BIG.content) == BIG.table
    assert begin(again).count_done == 1


def test_a_pull_that_got_nothing_leaves_nothing(store, layout):
    store.partials.close(begin(store))
    assert leftovers(layout) == []


def test_closing_more_often_than_opening_closes_nobody_elses(store):
    one, other = begin(store), begin(store)
    give(one, BIG, 0)
    for _ in range(2):
        store.partials.close(one)
    third = begin(store)
    store.partials.close(other)
    give(third, BIG, 1)
    assert third.count_done == 2


def test_removing_leaves_no_byte_but_takes_nothing_from_who_has_it_open(store, layout):
    partial = begin(store)
    give(partial, BIG, 0)
    assert not store.partials.remove(BIG.content)
    store.partials.close(partial)
    assert store.partials.remove(BIG.content)
    assert leftovers(layout) == []


def test_folders_that_are_not_ours_are_left_alone(store, layout, reopen):
    (layout.partial / "notes").mkdir()
    assert store.partials.list() == ()
    reopen()
    assert (layout.partial / "notes").is_dir()


def plant_file(path, outside):
    path.write_text("stray")


def plant_folder(path, outside):
    path.mkdir()
    (path / "stray").touch()


def plant_link_to_folder(path, outside):
    path.symlink_to(outside)


def plant_link_to_file(path, outside):
    path.symlink_to(outside / "precious")


def plant_dead_link(path, outside):
    path.symlink_to("nowhere")


def plant_pipe(path, outside):
    os.mkfifo(path)


PLANTS = [plant_file, plant_folder, plant_link_to_folder, plant_link_to_file, plant_dead_link]


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    folder.chmod(0o705)
    yield folder
    assert [path.name for path in folder.iterdir()] == ["precious"]
    assert (folder / "precious").read_text() == "precious"
    assert folder.stat().st_mode & 0o777 == 0o705


@pytest.mark.parametrize("plant", [*PLANTS, plant_pipe])
@pytest.mark.parametrize("place", ["", "data", "bitmap"], ids=["folder", "data", "bitmap"])
def test_whatever_lies_in_the_place_of_a_partial_a_pull_makes_its_own(
    store, layout, outside, plant, place
):
    folder = layout.partial / str(BIG.content)
    if place:
        folder.mkdir()
    plant(folder / place, outside)
    partial = store.partials.open(BIG.content, BIG.table)
    give(partial, BIG, *range(BIG.table.count))
    partial.commit()
    assert held(store, BIG.content) == BIG.data
    assert leftovers(layout) == []


@pytest.mark.parametrize("plant", [*PLANTS, plant_pipe])
def test_whatever_lies_in_the_place_of_a_partial_a_start_is_possible(
    store, reopen, layout, outside, plant
):
    bring(store, BIG)
    for sample in (BIG, make_sample(77)):
        plant(layout.partial / str(sample.content), outside)
    assert held(reopen(), BIG.content) == BIG.data
    assert reopen().partials.remove(make_sample(77).content)
    assert leftovers(layout) == []


NAMES = ["5-", "-5", "x" * 255, "5-" + "A" * 64, "5-" + "a" * 64 + "\n", "05-" + "a" * 64]
NAMES += ["9" * 40 + "-" + "a" * 64, "\u0665-" + "a" * 64, "5-" + "a" * 63 + "é", "5-%2e%2e%2f"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_of_ours_is_left_alone(store, layout, reopen, name):
    (layout.partial / name).mkdir()
    (layout.partial / os.fsdecode(b"5-\xff\xfe")).mkdir()
    assert reopen().partials.list() == ()
    assert (layout.partial / name).is_dir()


def test_many_small_files_are_committed_together(store, layout):
    partials = [begin(store, sample) for sample in MANY]
    for partial, sample in zip(partials, MANY, strict=True):
        give(partial, sample, 0)
    store.partials.commit_many(partials)
    for partial in partials:
        store.partials.close(partial)
    assert store.blobs.totals()[0] == 40
    assert leftovers(layout) == []
    for sample in MANY:
        assert held(store, sample.content) == sample.data


def test_one_incomplete_file_keeps_the_others_from_nothing_being_lost(store):
    partials = [begin(store, MANY[0]), begin(store, BIG)]
    give(partials[0], MANY[0], 0)
    with pytest.raises(Exception, match="pieces are missing"):
        store.partials.commit_many(partials)
    partials[0].commit()
    assert held(store, MANY[0].content) == MANY[0].data


def test_a_thousand_open_small_files_need_no_thousand_descriptors(store):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 60, hard))
    try:
        samples = [make_sample(7, seed=f"fd {n}") for n in range(150)]
        partials = [begin(store, sample) for sample in samples]
        for partial, sample in zip(partials, samples, strict=True):
            give(partial, sample, 0)
        store.partials.commit_many(partials)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.blobs.totals()[0] == 150


class TestQuota:
    def test_is_met_before_the_first_byte(self, reopen, layout):
        store = reopen(quota=1_000_000)
        with pytest.raises(QuotaError):
            begin(store)
        assert store.partials.get(BIG.content) is None
        assert leftovers(layout) == []

    def test_counts_what_is_promised_to_files_on_their_way(self, reopen):
        store = reopen(quota=1_203_000)
        begin(store)
        with pytest.raises(QuotaError):
            begin(store, SMALL)

    def test_counts_a_file_once_when_it_becomes_a_blob(self, reopen):
        store = reopen(quota=1_205_000)
        bring(store, BIG)
        bring(store, SMALL)
        with pytest.raises(QuotaError):
            begin(store, MANY[0])
        store.blobs.remove(SMALL.content)
        bring(store, MANY[0])

    def test_counts_what_an_earlier_process_left(self, reopen):
        store = reopen()
        give(begin(store), BIG, 0)
        store = reopen(quota=100_000)
        with pytest.raises(QuotaError):
            begin(store, SMALL)
        store = reopen(quota=1_203_000)
        bring(store, BIG)

    def test_of_a_file_of_which_a_part_is_wanted_counts_that_part(self, reopen):
        store = reopen(quota=300_000)
        partial = store.partials.open(BIG.content, BIG.table, part=200_000)
        give(partial, BIG, 3, 4)
        with pytest.raises(QuotaError):
            begin(store)
        with pytest.raises(QuotaError):
            begin(store, make_sample(150_000))
        store.partials.close(partial)
        store = reopen(quota=300_000)
        with pytest.raises(QuotaError):
            begin(store, make_sample(150_000))
        bring(store, SMALL)


def test_what_was_verified_is_not_read_again_by_the_same_process(store, monkeypatch):
    partial = begin(store)
    give(partial, BIG, 2, 5)
    store.partials.close(partial)
    with monkeypatch.context() as patched:
        patched.setattr("p2phub.store.partial.bad_pieces", None)
        partial = begin(store)
        assert (partial.count_done, partial.have(2), partial.have(5)) == (2, True, True)
        give(partial, BIG, 6)
        store.partials.close(partial)
    flip(store.layout.partial / str(BIG.content) / "data", BIG.table.offset(5))
    partial = begin(store)
    assert [partial.have(n) for n in (2, 5, 6)] == [True, False, True]

    def test_is_given_back_when_a_pull_got_nothing(self, reopen):
        store = reopen(quota=1_203_000)
        store.partials.close(begin(store))
        bring(store, SMALL)


def test_committing_leaves_no_moment_without_the_file(store):
    """Whoever serves asks for the blob first, then for the partial: one of them is always there."""
    partial = begin(store)
    give(partial, BIG, *range(12))
    stop, gaps = threading.Event(), []

    def look():
        while not stop.is_set():
            if not store.blobs.has(BIG.content):
                found = store.partials.get(BIG.content)
                if found is None and not store.blobs.has(BIG.content):
                    gaps.append("gap")

    watcher = threading.Thread(target=look)
    watcher.start()
    partial.commit()
    stop.set()
    watcher.join()
    assert gaps == []


def test_reading_from_a_partial_that_is_being_committed_never_gives_wrong_bytes(store):
    partial = begin(store)
    give(partial, BIG, *range(12))
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                if partial.read(0, 100_000) != BIG.piece(0):
                    wrong.append("wrong")
            except NotFoundError:
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    partial.commit()
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


class TestOldParts:
    """What nobody used for long may go; what somebody uses may not."""

    LATER = 2_000_000_000 * 2

    def age(self, partial, time):
        for path in (partial.folder, partial.data):
            os.utime(path, (time, time))

    def begun(self, store, sample=BIG):
        partial = begin(store, sample)
        give(partial, sample, 0)
        return partial

    def test_a_part_that_somebody_has_open_is_in_use_however_old(self, store):
        partial = self.begun(store)
        self.age(partial, 1000)
        assert store.partials.unused_since(self.LATER) == ()
        assert not store.partials.remove_unused(BIG.content, self.LATER)
        assert partial.read(0, 10) == BIG.data[:10]
        store.partials.close(partial)

    def test_a_part_that_was_written_lately_stays(self, store):
        partial = self.begun(store)
        store.partials.close(partial)
        os.utime(partial.folder, (1000, 1000))
        assert store.partials.unused_since(2000) == ()
        assert not store.partials.remove_unused(BIG.content, 2000)

    def test_a_part_that_was_only_read_lately_stays(self, store):
        store.partials.close(self.begun(store))
        partial = begin(store)
        self.age(partial, 1000)
        store.partials.close(partial)
        assert store.partials.unused_since(2000) == ()

    def test_an_old_part_goes_with_its_claim(self, store):
        partial = self.begun(store)
        store.partials.close(partial)
        self.age(partial, 1000)
        assert store.partials.unused_since(2000) == (BIG.content,)
        assert store.partials.remove_unused(BIG.content, 2000)
        assert store.partials.list() == ()
        assert leftovers(store.layout) == []
        assert BIG.content not in store.space._claims

    def test_what_is_gone_meanwhile_is_no_error(self, store):
        partial = self.begun(store)
        store.partials.close(partial)
        store.partials.remove(BIG.content)
        assert store.partials.remove_unused(BIG.content, self.LATER)
