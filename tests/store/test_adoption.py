"""Files become blobs all or none, in an order that survives a power cut at any point."""

import os

import pytest

from p2phub.errors import NoSpaceError, P2PHubError, RefusedError
from p2phub.store import adoption
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError, ReadOnlyDisk
from p2phub.testing.samples import make_sample

from .conftest import bring, held, leftovers

BIG = make_sample(1_100_000, seed="big", piece=400_000)
SMALL = make_sample(5_000, seed="small")
MANY = [make_sample(100, seed=n) for n in range(3)]


@pytest.fixture(autouse=True)
def three_are_many(monkeypatch):
    monkeypatch.setattr(adoption, "FEW", 2)


def fill(store, sample):
    """A complete partial that was not committed."""
    partial = store.partials.open(sample.content, sample.table)
    for index in range(sample.table.count):
        partial.accept(index, memoryview(sample.piece(index)))
    return partial


def actions(disk):
    return [action for action, _ in disk.changes]


def test_data_is_durable_before_its_name_and_its_name_before_its_row(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    partial = fill(store, BIG)
    disk.changes.clear()
    partial.commit()
    steps = actions(disk)
    order = ["touch", "sync_path", "make_folder", "rename", "sync_path", "set_mode", "remove"]
    places = [steps.index("touch")]
    for step in order[1:]:
        places.append(steps.index(step, places[-1] + 1))
    assert places == sorted(places)
    assert disk.changes[places[1]][1].name == "data"
    assert disk.changes[places[4]][1].is_dir()


def test_the_row_comes_last(reopen, monkeypatch):
    store = reopen()
    partial = fill(store, BIG)
    seen = []
    real = store.disk.set_mode

    def look(path, mode):
        seen.append((os.path.exists(path), store.blobs.known(BIG.content)))
        real(path, mode)

    monkeypatch.setattr(store.disk, "set_mode", look)
    partial.commit()
    assert (True, False) in seen
    assert store.blobs.known(BIG.content)


def test_many_small_files_share_two_syncs_of_the_file_system(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    partials = [fill(store, sample) for sample in MANY]
    disk.changes.clear()
    store.partials.commit_many(partials)
    assert actions(disk).count("sync_all") == 2
    assert actions(disk).count("sync_path") == 0
    for sample in MANY:
        assert held(store, sample.content) == sample.data


SCENES = {
    "one big file": [BIG],
    "one small file": [SMALL],
    "several at once": [BIG, SMALL, *MANY],
}


@pytest.fixture(params=SCENES)
def samples(request):
    return SCENES[request.param]


def arrive(store, samples):
    store.partials.commit_many([fill(store, sample) for sample in samples])


def remake(tmp_path_factory, at):
    return Layout.of(tmp_path_factory.mktemp(f"cut-{at}") / "home")


def test_a_power_cut_at_any_point_loses_nothing_that_was_complete(tmp_path_factory, samples):
    counting = CountingDisk()
    with Store.open(remake(tmp_path_factory, "none"), disk=counting) as store:
        first = len(counting.changes)
        partials = [fill(store, sample) for sample in samples]
        if len(samples) > 1:  # how they are filled, one file has shown
            first = len(counting.changes)
        store.partials.commit_many(partials)
    assert len(counting.changes) - first > 8
    for at in range(first, len(counting.changes)):
        layout = remake(tmp_path_factory, at)
        store = Store.open(layout, disk=PowerCut(at))
        with pytest.raises(PowerCutError):
            arrive(store, samples)
        store.close()
        with Store.open(layout) as store:
            for sample in samples:
                if store.blobs.has(sample.content):
                    assert held(store, sample.content) == sample.data
                else:
                    bring(store, sample)
            assert leftovers(layout) == []
            assert store.blobs.totals()[0] == len(samples)


def test_a_crash_between_the_name_and_the_row_costs_no_piece(layout, reopen, monkeypatch):
    store = reopen()
    partial = fill(store, BIG)

    def cut(*given):
        raise PowerCutError

    with monkeypatch.context() as crash:
        crash.setattr(adoption, "_add_row", cut)
        with pytest.raises(PowerCutError):
            partial.commit()
    assert layout.blob(BIG.content).exists()
    again = reopen()
    assert not again.blobs.has(BIG.content)
    assert not layout.blob(BIG.content).exists()
    partial = again.partials.open(BIG.content, BIG.table)
    assert partial.complete
    partial.commit()
    assert held(again, BIG.content) == BIG.data
    assert leftovers(layout) == []


def test_a_full_disk_while_committing_puts_everything_back(tmp_path_factory, samples):
    counting = CountingDisk()
    with Store.open(remake(tmp_path_factory, "count"), disk=counting) as store:
        partials = [fill(store, sample) for sample in samples]
        first = len(counting.changes)
        store.partials.commit_many(partials)
    for at in range(first, len(counting.changes)):
        disk = FullDisk(at)
        with Store.open(remake(tmp_path_factory, at), disk=disk) as store:
            partials = [fill(store, sample) for sample in samples]
            try:
                store.partials.commit_many(partials)
            except NoSpaceError:
                assert not any(store.blobs.known(sample.content) for sample in samples)
                assert list(store.layout.blobs.rglob("*-*")) == []
                disk.mend()
                store.partials.commit_many(partials)
            for sample in samples:
                assert held(store, sample.content) == sample.data


def test_an_index_that_cannot_grow_leaves_no_blob_and_the_partial_can_be_committed_later(reopen):
    store = reopen()
    partial = fill(store, BIG)
    writer = store.index._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    huge = make_sample(1 << 20 | 1, seed="table", piece=300)
    other = fill_with_table_in_hand(store, huge)
    with pytest.raises(NoSpaceError):
        store.partials.commit_many([partial, other])
    assert not store.blobs.has(BIG.content)
    assert list(store.layout.blobs.rglob("*-*")) == []
    writer.execute("PRAGMA max_page_count = 100000")
    store.partials.commit_many([partial, other])
    assert held(store, BIG.content) == BIG.data


def fill_with_table_in_hand(store, sample):
    writer = store.index._writer
    limit = writer.execute("PRAGMA max_page_count").fetchone()[0]
    writer.execute("PRAGMA max_page_count = 100000")
    partial = fill(store, sample)
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {max(limit, pages)}")
    return partial


def test_a_disk_that_became_read_only_is_refused_and_loses_nothing(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    partial = fill(store, BIG)
    store.blobs._adopter._disk = ReadOnlyDisk(0)
    store.blobs._adopter._journal._disk = ReadOnlyDisk(0)
    with pytest.raises(RefusedError):
        partial.commit()
    again = reopen()
    assert again.partials.open(BIG.content, BIG.table).complete


def test_the_same_file_twice_in_one_batch_is_one_blob(store):
    one, other = fill(store, SMALL), fill(store, BIG)
    store.partials.commit_many([one, other, one])
    assert store.blobs.totals()[0] == 2


def test_dropping_a_blob_survives_a_power_cut_at_any_point(tmp_path_factory):
    counting = CountingDisk()
    with Store.open(remake(tmp_path_factory, "drop"), disk=counting) as store:
        bring(store, BIG)
        first = len(counting.changes)
        store.blobs.remove(BIG.content)
    assert len(counting.changes) - first == 3
    for at in range(first, len(counting.changes)):
        layout = remake(tmp_path_factory, at)
        store = Store.open(layout, disk=PowerCut(at))
        bring(store, BIG)
        with pytest.raises(PowerCutError):
            store.blobs.remove(BIG.content)
        store.close()
        with Store.open(layout) as store:
            here = store.blobs.has(BIG.content)
            assert layout.blob(BIG.content).exists() == here
            assert leftovers(layout) == []
            if here:
                assert held(store, BIG.content) == BIG.data


def test_a_blob_that_a_mark_says_was_put_and_has_its_row_stays(store, reopen, layout):
    bring(store, BIG)
    (layout.journal / f"put-{BIG.content}").touch()
    (layout.journal / f"drop-{BIG.content}").touch()
    again = reopen()
    assert held(again, BIG.content) == BIG.data
    assert leftovers(layout) == []


def test_a_refused_commit_says_which_pieces_are_missing(store):
    partial = store.partials.open(BIG.content, BIG.table)
    partial.accept(0, memoryview(BIG.piece(0)))
    with pytest.raises(P2PHubError, match="2 pieces are missing"):
        partial.commit()
    assert not store.blobs.has(BIG.content)


@pytest.mark.parametrize("at", ["rename", "sync_all", "set_mode"])
def test_a_file_that_somebody_replaces_while_it_is_put_there_is_no_blob(reopen, layout, at):
    class Meddling(CountingDisk):
        armed = False

        def _about_to(self, action, path):
            super()._about_to(action, path)
            target = layout.blob(BIG.content)
            if self.armed and target.exists() and action == at:
                self.armed = False
                target.with_name("other").write_bytes(bytes(BIG.content.size))
                target.with_name("other").rename(target)

    disk = Meddling()
    store = reopen(disk=disk)
    partial = fill(store, BIG)
    disk.armed = True
    others = [fill(store, make_sample(n, seed=n)) for n in range(1, 3)]
    order = sorted([partial, *others], key=lambda each: each is not partial)
    with pytest.raises(P2PHubError, match="somebody"):
        store.blobs.adopt_many([each.arrival() for each in order])
    assert store.blobs.every() == []
    store = reopen()
    for sample in (BIG, make_sample(1, seed=1), make_sample(2, seed=2)):
        again = fill(store, sample)
        again.commit()
        assert held(store, sample.content) == sample.data
