"""Names on this disk: which release they mean, and that no row is believed."""

import pytest

from p2phub.errors import NotFoundError, UsageError, WrongBytesError
from p2phub.formats.ids import Reference, commit_id
from p2phub.formats.publisher import RepoEntry
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import locate
from p2phub.node.offline import layout_of
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from tests.scenarios.nodes import edit, settings, stock


@pytest.fixture
def lab():
    """It has released x twice, and y once; the older x is v1."""
    lab = FakePublisher(1)
    lab.publish("x", {"a": b"1"}, ref="v1", tag=True)
    lab.publish("x", {"a": b"2"})
    lab.publish("y", {"a": b"3"})
    return lab


@pytest.fixture
def store(tmp_path, lab):
    stock(tmp_path, lab)
    with Store.open(layout_of(settings(), tmp_path)) as store:
        store.documents.save_alias("lab", lab.publisher, 1)
        yield store


def located(store, text):
    return locate(store, Knowledge(store, TrustedCatalog(), lambda: 1), Reference.parse(text))


def digest_of(lab, name, ref="main"):
    return lab.entries[name].refs[ref].release


def test_a_ref_a_tag_and_a_commit_name_their_release(store, lab):
    main, first = digest_of(lab, "x"), digest_of(lab, "x", "v1")
    assert located(store, "lab/x").digest == main
    assert located(store, f"{lab.publisher}/x@v1").digest == first
    located_first = located(store, f"p2p://lab/x@{commit_id(first)[:12]}")
    assert (located_first.digest, located_first.commit) == (first, commit_id(first))
    assert located(store, "lab/x@v1").called == "lab/x@v1"
    assert set(located_first.refs) == {"main", "v1"}


@pytest.mark.parametrize("text", ["lab/z", "lab/x@v9", "lab/x@00000000", "nobody/x"])
def test_what_is_not_known_here_is_not_found(store, text):
    with pytest.raises(NotFoundError) as caught:
        located(store, text)
    assert caught.value.message


def test_a_name_without_publisher_needs_one_of_our_own(store):
    with pytest.raises(UsageError, match="no publisher"):
        located(store, "x")


def test_a_row_that_calls_a_release_by_the_name_of_another_repo_is_not_believed(store, lab):
    other = digest_of(lab, "y")
    refs = {"main": lab.entries["y"].refs["main"]}
    store.repos.record(lab.publisher, RepoEntry("x", "model", refs, lab.entries["y"].card, 1, 1))
    with pytest.raises(NotFoundError, match="no revision"):
        located(store, f"lab/x@{commit_id(other)}")
    assert located(store, f"lab/y@{commit_id(other)}").release.name == "y"


def test_documents_that_rotted_since_they_passed_are_found_all_the_same(store, tmp_path, lab):
    knowledge = Knowledge(store, TrustedCatalog(), lambda: 1)
    locate(store, knowledge, Reference.parse("lab/x"))
    edit(tmp_path, "documents", "type = 'release'")
    with pytest.raises(WrongBytesError, match="on this disk is damaged"):
        locate(store, knowledge, Reference.parse("lab/x"))
