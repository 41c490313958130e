"""The steps shared by several kinds of documents."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Page, Ref, ReleaseKey, RepoEntry
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.steps import (
    open_envelope,
    require_asked,
    require_own,
    require_size,
    require_wanted,
    require_writable,
)
from p2phub.trust.verdict import Verdict
from p2phub.trust.wants import Listing, WantedIndex, WantedRelease, Wants

LAB, EVIL = PublisherId(b"\x01" * 32), PublisherId(b"\x02" * 32)
DIGEST = b"d" * 32


def refused(step, *arguments: object) -> Refusal:
    trail = Trail("it")
    with pytest.raises(Refusal) as caught:
        step(*arguments, trail)
    assert caught.value.steps == trail.steps
    return caught.value


def test_a_size_up_to_the_limit_is_small_enough():
    require_size(b"1234", 4, Trail("it"))
    assert refused(require_size, b"12345", 4).verdict is Verdict.CORRUPT


def test_an_envelope_is_opened_and_anything_else_is_malformed():
    made = FakePublisher(1).release("demo", {"a": b"a"})
    assert open_envelope(made.pack(), Trail("it")) == made
    for data in (b"", made.payload, made.pack()[:-1], made.pack() + b"\x00"):
        assert isinstance(refused(open_envelope, data), MalformedError)


def test_without_a_question_everybody_is_who_was_asked_for():
    require_asked(None, EVIL, Trail("it"))
    require_asked(LAB, LAB, Trail("it"))
    assert refused(require_asked, LAB, EVIL).verdict is Verdict.UNTRUSTED_KEY


def test_a_digest_is_wanted_as_what_it_was_named():
    wants = Wants()
    assert refused(require_wanted, wants, DIGEST, WantedIndex, None).verdict is Verdict.CORRUPT
    wants.add(LAB, DIGEST, WantedIndex(1))
    wants.add(EVIL, DIGEST, WantedIndex(2))
    assert refused(require_wanted, wants, DIGEST, WantedRelease, None)
    assert set(require_wanted(wants, DIGEST, WantedIndex, None, Trail("it"))) == {LAB, EVIL}
    assert set(require_wanted(wants, DIGEST, WantedIndex, LAB, Trail("it"))) == {LAB}
    nobody = PublisherId(b"\x03" * 32)
    error = refused(require_wanted, wants, DIGEST, WantedIndex, nobody)
    assert error.verdict is Verdict.UNTRUSTED_KEY


def test_a_document_belongs_to_one_of_those_who_named_it():
    named_by = {LAB: WantedIndex(1)}
    assert require_own(LAB.digest, named_by, Trail("it")) == (LAB, WantedIndex(1))
    assert refused(require_own, EVIL.digest, named_by).verdict is Verdict.UNTRUSTED_KEY


@pytest.mark.parametrize(
    ("name", "seq", "verdict"),
    [
        ("demo", 5, None),
        ("demo", 6, Verdict.CORRUPT),
        ("other", 4, None),
        ("other", 5, Verdict.UNTRUSTED_KEY),
    ],
)
def test_a_writer_sets_refs_of_its_own_repos_in_its_own_index(name, seq, verdict):
    listing = Listing(5, ReleaseKey(b"k" * 32, repos=("demo",)), b"i" * 32)
    page = Page(0, (RepoEntry(name, "model", {"main": Ref(DIGEST, seq)}),))
    if verdict is None:
        require_writable(page, listing, Trail("it"))
    else:
        assert refused(require_writable, page, listing).verdict is verdict
