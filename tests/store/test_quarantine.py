"""What waits at the gate: kept from every sweep, hidden from everybody, visible at once or not."""

import sqlite3

import pytest

from p2phub.errors import NotFoundError, QuarantinedError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.formats.manifest import FileEntry, Release
from p2phub.store import statements
from p2phub.store.index import Index
from p2phub.testing.samples import make_sample
from tests.store.conftest import bring, held

NOW = 1_700_000_000
WHO = PublisherId(b"p" * 32)
CASE = b"c" * 16


def samples():
    return [make_sample(70_000, seed="one"), make_sample(90_000, seed="two")]


def entry(sample, name):
    return FileEntry((name,), sample.content.size, sha256(sample.data), sample.content)


def release_of(number, *files):
    size = sum(file.size for file in files)
    release = Release(
        publisher=WHO.digest,
        name="x",
        kind="model",
        created=NOW,
        files=tuple(files),
        total_size=size,
    )
    return number.to_bytes(32, "big"), release


@pytest.fixture
def scene(store):
    """A store with two blobs; release 1 has both, release 2 the first one."""
    one, two = samples()
    bring(store, one)
    bring(store, two)
    first = release_of(1, entry(one, "a"), entry(two, "b"))
    second = release_of(2, entry(one, "a"))
    for digest, release in (first, second):
        store.repos.record_release(digest, release)
    store.quarantine.begin(first[0], CASE, "main", "/media/stick", NOW)
    return first[0], second[0], one, two


def test_what_waits_is_hidden_and_kept(store, scene):
    first, _, one, two = scene
    assert store.quarantine.hidden([one.content, two.content]) == {one.content, two.content}
    assert store.quarantine.hides_document(first)
    assert store.repos.local() == []
    assert store.repos.held_releases() == []
    assert store.repos.count() == 0
    assert store.repos.unneeded(NOW * 10, 9) == []
    assert store.repos.unreferenced([one.content, two.content]) == []
    assert store.repos.awaited(one.content)
    store.blobs.hash_whole(one.content)
    assert store.blobs.by_sha256(sha256(one.data)) == []
    assert store.blobs.big_files(1) == []


def test_what_a_visible_release_has_too_is_not_hidden(store, scene):
    first, second, one, two = scene
    store.repos.pulling(second, "main", NOW)
    assert store.quarantine.hidden([one.content, two.content]) == {two.content}
    assert store.quarantine.reject(first, "no") == (two.content,)
    assert held(store, one.content) == one.data


def test_it_is_let_in_in_one_step_and_only_under_its_number(store, scene):
    first, _, one, _ = scene
    with pytest.raises(NotFoundError):
        store.quarantine.let_in(first, CASE, NOW)  # nothing was checked
    store.quarantine.checked(first, b"checks")
    with pytest.raises(NotFoundError):
        store.quarantine.let_in(first, b"d" * 16, NOW)
    assert store.repos.held_releases() == []
    store.quarantine.let_in(first, CASE, NOW)
    assert store.repos.held_releases() == [first]
    assert store.quarantine.get(first) is None
    assert not store.quarantine.hides(one.content)
    with pytest.raises(NotFoundError):
        store.quarantine.let_in(first, CASE, NOW)


def test_it_waits_after_a_restart_and_a_second_import_changes_nothing(store, scene, reopen):
    first, _, one, _ = scene
    store.quarantine.checked(first, b"checks")
    again = reopen()
    again.quarantine.begin(first, b"d" * 16, "v2", "/media/other", NOW + 5)
    case = again.quarantine.get(first)
    assert (case.case, case.origin, case.since, case.state) == (
        CASE,
        "/media/stick",
        NOW,
        "waiting",
    )
    assert again.quarantine.hides(one.content)
    assert again.quarantine.all() == [case]


def test_a_pull_that_never_ended_makes_nothing_visible(store, scene):
    _, second, one, two = scene
    store.repos.pulling(second, "main", NOW)
    store.quarantine.begin(second, CASE, "main", "/media/stick", NOW)
    assert store.repos.local() == []
    assert store.quarantine.hidden([one.content, two.content]) == {one.content, two.content}


def test_a_pull_that_ends_beside_it_makes_nothing_visible(store, scene):
    first, second, _, _ = scene
    for work in (
        lambda: store.repos.pulling(first, "main", NOW),
        lambda: store.repos.pulled(WHO, "x", commit_id(first), digest=first, ref="main", now=NOW),
    ):
        with pytest.raises(QuarantinedError):
            work()
    assert store.repos.local() == []
    store.repos.pulled(WHO, "x", commit_id(second), digest=second, ref="main", now=NOW)
    assert not store.quarantine.begin(second, CASE, "main", "/media/stick", NOW)
    assert store.quarantine.get(second) is None
    assert store.repos.held_releases() == [second]


def test_other_results_end_the_approvals(store, scene):
    first = scene[0]
    store.quarantine.checked(first, b"checks")
    store.quarantine.approve(first, "ann", b"signed")
    store.quarantine.checked(first, b"checks")
    assert store.quarantine.get(first).approvals == (b"signed",)
    store.quarantine.checked(first, b"others")
    assert store.quarantine.get(first).approvals == ()


def test_what_was_rejected_is_noted_without_its_files(store, scene):
    first, _, one, two = scene
    store.quarantine.checked(first, b"checks")
    store.quarantine.approve(first, "ann", b"signed")
    assert set(store.quarantine.reject(first, "no")) == {one.content, two.content}
    case = store.quarantine.get(first)
    assert (case.state, case.reason, case.approvals) == ("rejected", "no", ())
    assert store.quarantine.hides(one.content)  # also what a pull that goes on brings of it
    assert store.quarantine.hides_document(first)
    assert store.repos.unreferenced([one.content]) == [one.content]
    with pytest.raises(NotFoundError):
        store.quarantine.checked(first, b"checks")
    store.quarantine.forget(first)
    assert store.quarantine.get(first) is None
    store.quarantine.begin(first, b"d" * 16, "main", "/media/stick", NOW)
    assert store.quarantine.get(first).case == b"d" * 16


def test_a_release_that_nobody_knows_cannot_wait(store):
    with pytest.raises(NotFoundError):
        store.quarantine.begin(b"x" * 32, CASE, "main", "", NOW)


def test_a_store_from_before_quarantine_is_brought_up_to_date(tmp_path):
    path = tmp_path / "index.db"
    connection = sqlite3.connect(path)
    for number, text in statements.migrations():
        if number < 10:
            connection.executescript(text)
    connection.close()
    index = Index.open(path)
    with index.read() as asked:
        assert asked.all("quarantine.all") == []
        assert asked.one("audit.head") is None
    index.close()
    made = _tables(path)
    Index.open(tmp_path / "new.db").close()
    assert made == _tables(tmp_path / "new.db")


def _tables(path):
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE name LIKE '%quarantine%' OR name LIKE 'audit%'"
        " OR name IN ('approvals', 'hidden_contents') ORDER BY name"
    ).fetchall()
    connection.close()
    return rows
