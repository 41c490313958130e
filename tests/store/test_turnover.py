"""A change of who we are: all of it is on the disk, or none of it."""

import pytest

from p2phub.errors import P2PHubError
from p2phub.formats.ids import PublisherId
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.store.turnover import NewHead, Turnover, turn_over
from p2phub.testing.disks import CountingDisk

LAB = PublisherId(b"p" * 32)
ROOT, SECOND, DELEGATION, HEAD, INDEX, NOTICE = (bytes([n]) * 32 for n in range(6))


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path), disk=CountingDisk()) as store:
        yield store


def change(**changes):
    documents = [
        (ROOT, "root", b"root 1"),
        (SECOND, "root", b"root 2"),
        (DELEGATION, "delegation", b"delegation"),
        (HEAD, "head", b"head"),
    ]
    fields = {
        "publisher": LAB,
        "roots": [ROOT, SECOND],
        "delegation": DELEGATION,
        "documents": documents,
        "notices": [(NOTICE, "revocation", b"notice")],
        "head": NewHead(HEAD, INDEX, (2, 3, 4)),
        "tips": [NOTICE, INDEX],
    }
    return Turnover(**(fields | changes))


def test_everything_that_changes_is_there_afterwards(store):
    turn_over(store.index, change(), 7)
    documents = store.documents
    assert documents.own_documents() == ((ROOT, SECOND), DELEGATION)
    assert documents.own_publisher() == LAB
    assert (documents.head(LAB), documents.newest_index(LAB)) == (HEAD, INDEX)
    assert documents.head_seen(LAB) == 7
    assert store.seen.highest(LAB) == (2, 3, 4)
    assert [kept.data for kept in store.seen.notices(LAB)] == [b"notice"]
    assert store.tips.all() == [NOTICE, INDEX]


def test_fewer_roots_leave_none_of_the_old_ones(store):
    turn_over(store.index, change(), 7)
    turn_over(store.index, change(roots=[ROOT]), 8)
    assert store.documents.own_documents() == ((ROOT,), DELEGATION)


def test_an_index_that_stays_leaves_the_ends_of_our_history_alone(store):
    store.tips.replace([b"t" * 32])
    turn_over(store.index, change(tips=None), 7)
    assert store.tips.all() == [b"t" * 32]
    turn_over(store.index, change(head=None, tips=None), 8)
    assert store.tips.all() == [b"t" * 32]


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": NewHead(b"x" * 32, INDEX, (1, 1, 1))},
        {"delegation": b"x" * 32},
        {"notices": [(b"short", "revocation", b"")]},
    ],
    ids=["a head that is not kept", "a delegation that is not kept", "a digest that is none"],
)
def test_what_fails_halfway_leaves_nothing(store, wrong):
    with pytest.raises(P2PHubError):
        turn_over(store.index, change(**wrong), 7)
    assert store.documents.own_publisher() is None
    assert store.documents.get(ROOT) is None
    assert store.documents.head(LAB) is None
    assert store.seen.notices(LAB) == []
