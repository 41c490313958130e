"""The documents kept in memory: by bytes, those used last; and the signatures checked with them."""

from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.recent import LEAST, Checked, RecentDocuments

LAB = FakePublisher(1)
ENVELOPE = LAB.release("demo", {"a": b"a"}, signers=("free",))
RELEASE = Release.from_payload(ENVELOPE.payload)
LARGE = 2 * LEAST


def kept(recent, digest):
    return recent.document(digest, Release) is not None


def test_bytes_not_numbers_bound_what_is_kept():
    recent = RecentDocuments(limit=10 * LARGE)
    for number in range(50):
        recent.keep(b"%d" % number, Checked(RELEASE), LARGE)
    assert [number for number in range(50) if kept(recent, b"%d" % number)] == list(range(40, 50))


def test_documents_of_no_size_are_not_kept_without_end():
    recent = RecentDocuments(limit=10 * LEAST)
    for number in range(50):
        recent.keep(b"%d" % number, Checked(RELEASE), 0)
    assert sum(kept(recent, b"%d" % number) for number in range(50)) == 10


def test_what_is_in_use_stays_however_old_it_is():
    recent = RecentDocuments(limit=2 * LARGE)
    for number in range(20):
        recent.keep(b"%d" % number, Checked(RELEASE), LARGE)
        assert kept(recent, b"0")


def test_a_document_larger_than_everything_is_not_kept_and_pushes_out_the_rest():
    recent = RecentDocuments(limit=LARGE)
    recent.keep(b"small", Checked(RELEASE), 10)
    recent.keep(b"huge", Checked(RELEASE), LARGE + 1)
    assert not kept(recent, b"huge")
    recent.keep(b"small", Checked(RELEASE), LARGE)
    assert kept(recent, b"small")


def test_keeping_one_twice_counts_it_once():
    recent = RecentDocuments(limit=2 * LARGE)
    for _ in range(20):
        recent.keep(b"one", Checked(RELEASE), LARGE)
    recent.keep(b"two", Checked(RELEASE), LARGE)
    assert kept(recent, b"one")
    assert kept(recent, b"two")


def test_a_document_is_of_its_kind_only():
    recent = RecentDocuments()
    recent.keep(b"one", Checked(RELEASE), 10)
    assert recent.document(b"one", Index) is None


def test_signers_are_known_for_the_signatures_that_were_checked_and_no_others():
    recent = RecentDocuments()
    signers = ENVELOPE.signed_by()
    recent.keep(ENVELOPE.digest, Checked(RELEASE, ENVELOPE.signatures, signers), 10)
    assert recent.signers(ENVELOPE.digest, ENVELOPE) == signers
    assert recent.signers(bytes(32), ENVELOPE) is None
    assert recent.signers(ENVELOPE.digest, ENVELOPE.only(())) is None
