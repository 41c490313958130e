"""Documents, heads, aliases and sequence numbers that must never go back."""

import threading

import pytest

from p2phub.errors import AliasTakenError, P2PHubError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.store.documents import INDEXES_AT_ONCE, Documents
from p2phub.store.index import Index

ANN, BOB = PublisherId(b"a" * 32), PublisherId(b"b" * 32)
KEY = b"k" * 32


@pytest.fixture
def index(tmp_path):
    index = Index.open(tmp_path / "index.db")
    yield index
    index.close()


@pytest.fixture
def documents(index):
    return Documents(index)


def digest(number):
    return bytes([number]) * 32


def test_a_document_comes_back_byte_for_byte(documents):
    documents.put(digest(1), "release", b"\x00\xff")
    assert documents.get(digest(1)) == b"\x00\xff"
    assert documents.get(digest(2)) is None


def test_a_second_signature_replaces_the_data_under_the_same_digest(documents):
    documents.put(digest(1), "release", b"one signature")
    documents.put(digest(1), "release", b"two signatures")
    assert documents.get(digest(1)) == b"two signatures"
    assert documents.of_type("release") == [digest(1)]


def test_only_what_is_here_is_returned(documents):
    documents.put_many([(digest(n), "page", b"data%d" % n) for n in (1, 2)])
    assert documents.many([digest(1), digest(3), digest(2)]) == {
        digest(1): b"data1",
        digest(2): b"data2",
    }


def test_a_head_that_was_not_kept_first_cannot_be_set(documents):
    with pytest.raises(P2PHubError):
        documents.set_head(ANN, digest(1), digest(2), 100)
    assert documents.head(ANN) is None
    assert documents.head_seen(ANN) is None


def test_a_new_head_takes_the_place_of_the_old_one(documents):
    documents.put_many([(digest(n), "head", b"") for n in (1, 2)])
    documents.set_head(ANN, digest(1), digest(8), 100)
    documents.set_head(BOB, digest(1), digest(8), 100)
    documents.set_head(ANN, digest(2), digest(9), 200)
    assert documents.head(ANN) == digest(2)
    assert documents.head_seen(ANN) == 200
    assert set(documents.publishers()) == {ANN, BOB}


@pytest.mark.parametrize("count", [0, 1, INDEXES_AT_ONCE, INDEXES_AT_ONCE + 1])
def test_every_newest_index_is_looked_through_however_many_there_are(documents, count):
    everybody = [PublisherId(bytes([number]) * 32) for number in range(count)]
    for number, publisher in enumerate(everybody):
        documents.put_many([(digest(number), "head", b""), (digest(100 + number), "index", b"i")])
        documents.set_head(publisher, digest(number), digest(100 + number), 1)
    found = [publisher for publisher, _ in documents.newest_indexes()]
    assert sorted(found, key=str) == sorted(everybody, key=str)


def test_an_alias_is_never_moved_to_somebody_else(documents):
    documents.save_alias("lab", ANN, 1)
    documents.save_alias("lab", ANN, 2)
    with pytest.raises(AliasTakenError) as caught:
        documents.save_alias("lab", BOB, 3)
    assert str(ANN) in caught.value.message
    assert str(BOB) in caught.value.message
    assert documents.aliases().resolve("lab") == ANN


def test_an_alias_can_be_pinned_anew_once_it_was_dropped(documents):
    documents.save_alias("lab", ANN, 1)
    assert documents.drop_alias("lab")
    assert not documents.drop_alias("lab")
    documents.save_alias("lab", BOB, 2)
    assert documents.aliases().resolve("lab") == BOB


def test_what_is_no_alias_is_not_kept(documents):
    with pytest.raises(UsageError):
        documents.save_alias("../lab", ANN, 1)


def test_two_threads_never_get_the_same_sequence_number(documents):
    found = []

    def work():
        found.extend(documents.next_writer_seq(KEY) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 41))


def test_a_sequence_number_is_on_the_disk_before_it_is_given_out(tmp_path):
    index = Index.open(tmp_path / "index.db")
    seq = Documents(index).next_writer_seq(KEY)
    # Another process, before this one has closed anything: as after a kill.
    other = Index.open(tmp_path / "index.db")
    assert Documents(other).next_writer_seq(KEY) == seq + 1
    other.close()
    index.close()


def test_a_node_restored_from_an_old_backup_goes_on_after_what_the_network_saw(documents):
    documents.saw_writer_seq(KEY, 41)
    documents.saw_writer_seq(KEY, 7)
    assert documents.next_writer_seq(KEY) == 42
    assert documents.next_writer_seq(b"o" * 32) == 1


def test_a_number_is_at_least_what_the_clock_says_and_goes_on_where_the_clock_went_back(documents):
    assert documents.next_writer_seq(KEY, 1000, 5) == 1000
    assert documents.next_writer_seq(KEY, 1005, 5) == 1005
    assert documents.next_writer_seq(KEY, 1009, 5) == 1010
    assert documents.next_writer_seq(KEY, 1016, 5) == 1016
    assert documents.next_writer_seq(KEY, 1, 1) == 1017


def test_who_we_are_is_remembered_with_our_roots_in_order(documents):
    assert documents.own_publisher() is None
    assert documents.own_documents() is None
    documents.put_many([(digest(n), "root", b"") for n in (9, 1, 5)])
    documents.set_own_publisher(ANN, roots=(digest(9), digest(1)), delegation=digest(5))
    assert documents.own_publisher() == ANN
    assert documents.own_documents() == ((digest(9), digest(1)), digest(5))
    documents.set_own_publisher(ANN, roots=(digest(9),), delegation=digest(1))
    assert documents.own_documents() == ((digest(9),), digest(1))
