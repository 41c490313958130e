"""What publishers list, which releases are known, and what a removal may take away."""

import pytest

from p2phub.errors import NotFoundError
from p2phub.formats.ids import PublisherId, RepoId, commit_id
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.testing.samples import make_sample

from .conftest import bring

ANN, BOB = PublisherId(b"a" * 32), PublisherId(b"b" * 32)
CONFIG, WEIGHTS, OTHER = (make_sample(n, seed=n) for n in (10, 1_100_000, 30))


def entry(name="minilm", *, release=b"r" * 32, seq=1, **changes):
    given = {"kind": "model", "size": 100, "created": 1000} | changes
    refs = given.pop("refs", {"main": Ref(release, seq)})
    return RepoEntry(name=name, refs=refs, card=given.pop("card", Card()), **given)


def release(*samples, publisher=ANN, name="minilm", created=1000, **changes):
    files = tuple(
        FileEntry((f"file-{n}",), sample.content.size, bytes(32), sample.content)
        for n, sample in enumerate(samples)
    )
    total = sum(file.size for file in files)
    return Release(
        publisher=publisher.digest,
        name=name,
        kind="model",
        created=created,
        files=files,
        total_size=total,
        **changes,
    )


def digest(n):
    return bytes([n]) * 32


def hold(store, n, *samples, ref="main", now=5000, **where):
    """A release that was pulled, with its blobs."""
    made = release(*samples, **where)
    store.repos.record_release(digest(n), made)
    for sample in samples:
        if not store.blobs.has(sample.content):
            bring(store, sample)
    store.repos.pulled(
        PublisherId(made.publisher),
        made.name,
        commit_id(digest(n)),
        digest=digest(n),
        ref=ref,
        now=now,
    )


class TestListing:
    def test_a_new_entry_takes_the_place_of_the_old_one(self, store):
        store.repos.record(ANN, entry(card=Card(task="old", languages=("en", "de"))))
        store.repos.record(
            ANN,
            entry(release=digest(2), seq=2, card=Card(task="new", languages=("fr",)), size=200),
        )
        (hit,) = store.repos.search()
        assert (hit.task, hit.languages, hit.bytes, hit.digest) == ("new", ("fr",), 200, digest(2))

    def test_the_same_entry_again_writes_nothing(self, store):
        before = entry(card=Card(tags=("ü", "x"), languages=("en",)))
        store.repos.record(ANN, before)
        writes = store.index._writer.total_changes
        store.repos.record_many(ANN, [before] * 3)
        assert store.index._writer.total_changes == writes

    @pytest.mark.parametrize(
        "change",
        [
            {"size": 101},
            {"created": 1001},
            {"kind": "dataset"},
            {"card": Card(license="mit")},
            {"release": digest(9)},
            {"seq": 2},
            {"refs": {"main": Ref(b"r" * 32, 1), "v1": Ref(b"r" * 32, 1, True)}},
        ],
        ids=str,
    )
    def test_any_change_is_noticed(self, store, change):
        store.repos.record(ANN, entry())
        writes = store.index._writer.total_changes
        store.repos.record(ANN, entry(**change))
        assert store.index._writer.total_changes > writes

    def test_what_an_index_lists_no_more_is_not_found(self, store):
        store.repos.record_many(ANN, [entry("one"), entry("two")])
        store.repos.record(BOB, entry("two"))
        store.repos.keep_listed(ANN, {"one"})
        assert {(hit.repo.publisher, hit.repo.name) for hit in store.repos.search()} == {
            (ANN, "one"),
            (BOB, "two"),
        }
        store.repos.record(ANN, entry("two"))
        assert len(store.repos.search()) == 3

    def test_a_release_that_no_index_lists_does_not_count(self, store):
        store.repos.record_release(digest(1), release(CONFIG))
        assert store.repos.search() == []
        store.repos.record(ANN, entry(release=digest(1)))
        assert len(store.repos.search()) == 1


class TestReleases:
    def test_come_newest_first_and_of_their_repo_only(self, store):
        for n, created in ((1, 100), (2, 300), (3, 200)):
            store.repos.record_release(digest(n), release(CONFIG, created=created, message=f"m{n}"))
        store.repos.record_release(digest(4), release(CONFIG, name="other"))
        store.repos.record_release(digest(5), release(CONFIG, publisher=BOB))
        rows = store.repos.releases(ANN, "minilm")
        assert [row.digest for row in rows] == [digest(2), digest(3), digest(1)]
        assert (rows[0].message, rows[0].files, rows[0].bytes) == ("m2", 1, 10)
        assert rows[0].commit == "02" * 20

    def test_recording_twice_is_once(self, store):
        for _ in range(2):
            store.repos.record_release(digest(1), release(CONFIG, WEIGHTS, CONFIG))
        (row,) = store.repos.releases(ANN, "minilm")
        assert row.files == 3

    def test_a_commit_is_found_by_a_prefix_whether_its_manifest_is_here_or_not(self, store):
        known, listed = bytes.fromhex("ab12cd34" + "00" * 28), bytes.fromhex("ab12cd99" + "ff" * 28)
        store.repos.record_release(known, release(CONFIG))
        store.repos.record(ANN, entry(release=listed))
        find = store.repos.find_commit
        assert find(ANN, "minilm", "ab12cd34") == [known]
        assert find(ANN, "minilm", "ab12cd99f") == [listed]
        assert find(ANN, "minilm", "ab12cd9") == [listed]
        assert find(ANN, "minilm", "ab12cd") == [known, listed]
        assert find(ANN, "minilm", known.hex()[:40]) == [known]
        assert find(ANN, "minilm", "ab12cd35") == []
        assert find(BOB, "minilm", "ab12cd") == find(ANN, "other", "ab12cd") == []


class TestHolding:
    def test_a_pulled_release_is_local_with_its_bytes(self, store):
        hold(store, 1, CONFIG, WEIGHTS, CONFIG, ref="v1", now=7)
        (row,) = store.repos.local()
        assert row.repo == RepoId(ANN, "minilm")
        assert (row.ref, row.since, row.done, row.complete) == ("v1", 7, True, True)
        assert (row.files, row.files_here) == (3, 3)
        assert (row.bytes, row.bytes_here) == (1_100_020, 1_100_020)
        assert row.commit == "01" * 20
        assert store.repos.count() == 1

    @pytest.mark.parametrize(
        ("asked", "refs", "called"),
        [
            ("main", {"main": 1}, "main"),
            ("v1", {"main": 1, "v1": 1}, "v1"),
            ("main", {"main": 2, "v1": 1}, "v1"),
            ("v1", {"main": 1, "v2": 1, "v1": 2}, "main"),
            ("main", {"main": 2}, "01" * 8),
            ("v1", {"main": 2}, "01" * 8),
            ("0101010101", {"main": 1}, "0101010101"),
            ("0_0_", {"0_0_": 2}, "01" * 8),
            ("main", {}, "main"),
        ],
    )
    def test_a_release_is_not_called_what_names_another_one_by_now(
        self, store, asked, refs, called
    ):
        hold(store, 1, CONFIG, ref=asked)
        if refs:
            named = {ref: Ref(digest(n), 1, ref != "main") for ref, n in refs.items()}
            store.repos.record(ANN, entry(refs=named))
        (row,) = store.repos.local()
        assert row.ref == called

    def test_a_release_with_some_files_is_partial(self, store):
        made = release(CONFIG, WEIGHTS)
        store.repos.record_release(digest(1), made)
        bring(store, CONFIG)
        store.repos.pulling(digest(1), "main", 5)
        (row,) = store.repos.local()
        assert (row.done, row.complete) == (False, False)
        assert (row.files_here, row.bytes_here) == (1, 10)

    def test_a_pull_that_begins_again_does_not_undo_what_was_done(self, store):
        hold(store, 1, CONFIG)
        store.repos.pulling(digest(1), "main", 9)
        assert store.repos.local()[0].done

    def test_what_was_never_recorded_cannot_be_held(self, store):
        with pytest.raises(NotFoundError):
            store.repos.pulling(digest(1), "main", 5)
        store.repos.record_release(digest(1), release(CONFIG))
        for name, commit in (("other", "01" * 20), ("minilm", "02" * 20)):
            with pytest.raises(NotFoundError):
                store.repos.pulled(ANN, name, commit, digest=digest(1), ref="main", now=1)
        assert store.repos.local() == []

    def test_only_whole_and_finished_releases_are_announced(self, store):
        hold(store, 1, CONFIG)
        store.repos.record_release(digest(2), release(CONFIG, WEIGHTS, publisher=BOB))
        store.repos.pulled(BOB, "minilm", "02" * 20, digest=digest(2), ref="main", now=1)
        store.repos.record_release(digest(3), release(CONFIG, name="third"))
        store.repos.pulling(digest(3), "main", 1)
        assert store.repos.held_releases() == [digest(1)]
        assert set(store.repos.held_publishers()) == {ANN, BOB}

    def test_holding_survives_a_restart(self, store, reopen):
        hold(store, 1, CONFIG)
        assert reopen().repos.held_releases() == [digest(1)]


class TestRemoving:
    def test_frees_what_no_other_release_needs(self, store):
        hold(store, 1, CONFIG, WEIGHTS)
        hold(store, 2, CONFIG, OTHER, publisher=BOB)
        freed = store.repos.remove(digest(1))
        assert freed == (WEIGHTS.content,)
        assert [row.digest for row in store.repos.local()] == [digest(2)]

    def test_of_what_is_not_held_is_none(self, store):
        store.repos.record_release(digest(1), release(CONFIG))
        assert store.repos.remove(digest(1)) is None
        assert store.repos.remove(digest(9)) is None

    def test_keeps_what_is_known_and_listed(self, store):
        store.repos.record(ANN, entry(release=digest(1)))
        hold(store, 1, CONFIG)
        store.repos.remove(digest(1))
        assert len(store.repos.search()) == len(store.repos.releases(ANN, "minilm")) == 1

    def test_of_a_blob_that_a_held_release_needs_is_refused(self, store):
        hold(store, 1, CONFIG, WEIGHTS)
        assert not store.blobs.remove(CONFIG.content)
        assert store.blobs.has(CONFIG.content)
        assert store.repos.unreferenced([CONFIG.content, OTHER.content]) == [OTHER.content]
        for content in store.repos.remove(digest(1)):
            assert store.blobs.remove(content)
        assert store.blobs.totals() == (0, 0)

    def test_takes_nothing_from_a_pull_that_counts_on_it(self, store):
        hold(store, 1, CONFIG, WEIGHTS)
        store.repos.record_release(digest(2), release(WEIGHTS, publisher=BOB))
        store.repos.pulling(digest(2), "main", 5)
        assert store.repos.remove(digest(1)) == (CONFIG.content,)
        assert not store.blobs.remove(WEIGHTS.content)


class TestAwaited:
    """Which contents an unfinished pull waits for."""

    def pulling(self, store, n, *samples, ref="main", now=5000, **where):
        store.repos.record_release(digest(n), release(*samples, **where))
        store.repos.pulling(digest(n), ref, now)

    def test_what_a_pull_that_began_still_needs(self, store):
        assert not store.repos.awaited(WEIGHTS.content)
        self.pulling(store, 1, WEIGHTS)
        assert store.repos.awaited(WEIGHTS.content)
        assert not store.repos.awaited(OTHER.content)

    def test_not_what_a_finished_pull_did_not_want(self, store):
        hold(store, 1, WEIGHTS)
        assert not store.repos.awaited(WEIGHTS.content)

    def test_not_what_the_ref_meant_before(self, store):
        self.pulling(store, 1, WEIGHTS, now=5000)
        self.pulling(store, 2, OTHER, now=6000)
        assert not store.repos.awaited(WEIGHTS.content)
        assert store.repos.awaited(OTHER.content)
        hold(store, 2, OTHER, now=7000)
        assert not store.repos.awaited(OTHER.content)

    def test_what_both_revisions_have(self, store):
        self.pulling(store, 1, WEIGHTS, now=5000)
        self.pulling(store, 2, WEIGHTS, now=6000)
        assert store.repos.awaited(WEIGHTS.content)

    def test_what_another_ref_or_another_repo_still_means(self, store):
        self.pulling(store, 1, WEIGHTS, ref="v1", now=5000)
        self.pulling(store, 2, OTHER, ref="main", now=6000)
        self.pulling(store, 3, OTHER, ref="v1", now=6000, name="another")
        assert store.repos.awaited(WEIGHTS.content)
