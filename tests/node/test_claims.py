"""Who says that they are called something, and that saying so pins nobody."""

import pytest

from p2phub.errors import AliasTakenError, NotFoundError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Index
from p2phub.node.claims import MOST_CANDIDATES, Claims, candidates, resolve_publisher
from p2phub.node.trust_editor import TrustEditor
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.domains import DomainCheck
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path / "home")) as store:
        yield store


def publisher(number):
    return PublisherId(number.to_bytes(32, "big"))


def claims(store, number, **profile):
    """A publisher whose newest index has this profile."""
    who, key = publisher(number), SigningKey(bytes(32))
    index = sign(Index(who.digest, key.public, 1, (), 1, 1, profile, bytes(32)), [key])
    store.documents.put(index.digest, "index", index.pack())
    head = number.to_bytes(32, "little")
    store.documents.put(head, "head", b"")
    store.documents.set_head(who, head, index.digest, 1)
    return str(who)


def ids(found):
    return [each.publisher_id for each in found]


@pytest.mark.parametrize(
    "profile",
    [
        {"name": "Lab"},
        {"name": " LAB! "},
        {"domain": "lab.example"},
        {"domain": "www.lab.example"},
        {"name": "somebody", "domain": "lab.example.org"},
    ],
)
def test_a_name_or_a_domain_like_the_alias_makes_a_candidate(store, profile):
    who = claims(store, 1, **profile)
    claims(store, 2, name="other", domain="other.example")
    assert ids(candidates(store, "lab")) == [who]


def test_nobody_is_a_candidate_for_what_nobody_claims(store):
    claims(store, 1, name="!!!", domain="127.0.0.1")
    assert candidates(store, "lab") == ()
    assert candidates(store, "example") == ()


def test_who_is_vouched_for_comes_first_whoever_else_claims_the_name(store):
    ours = claims(store, 99, name="lab", domain="lab.example")
    for number in range(30):
        claims(store, number, name="lab")
    store.domains.keep(publisher(99), DomainCheck("lab.example", "https", 5, 5))
    found = candidates(store, "lab")
    assert found[0].publisher_id == ours
    assert (found[0].domain_result, found[0].domain_checked) == ("https", 5)
    assert len(found) == MOST_CANDIDATES


@pytest.mark.parametrize("over", [0, 1])
def test_so_many_candidates_are_named_and_no_more(store, over):
    for number in range(MOST_CANDIDATES + over):
        claims(store, number, name="lab")
    assert len(candidates(store, "lab")) == MOST_CANDIDATES


def test_a_proof_for_another_domain_vouches_for_nothing(store):
    claims(store, 1, name="lab", domain="lab.example")
    store.domains.keep(publisher(1), DomainCheck("former.example", "https", 5, 5))
    (found,) = candidates(store, "lab")
    assert (found.domain, found.domain_result, found.domain_proved) == ("lab.example", None, None)


def test_hundreds_of_publishers_are_looked_through(store):
    for number in range(200):
        claims(store, number, name=f"lab {number}")
    assert ids(candidates(store, "lab-199")) == [str(publisher(199))]


def test_an_index_that_rotted_claims_nothing(store):
    who = publisher(1)
    store.documents.put(bytes(32), "index", b"rotten")
    store.documents.set_head(who, bytes(32), bytes(32), 1)
    assert candidates(store, "lab") == ()


class TestAnAliasThatIsNotPinned:
    def test_is_told_with_everybody_who_claims_it_and_pins_nobody(self, store):
        first, second = claims(store, 1, name="lab"), claims(store, 2, domain="lab.example")
        with pytest.raises(NotFoundError) as caught:
            resolve_publisher(store, "lab")
        assert first in caught.value.message
        assert f"{second} (lab.example does not vouch" in caught.value.message
        assert "p2phub trust add lab ID" in caught.value.remedy
        assert store.documents.aliases().pins == {}

    def test_never_means_the_only_one_who_claims_it(self, store):
        who = claims(store, 1, name="lab", domain="lab.example")
        store.domains.keep(publisher(1), DomainCheck("lab.example", "https", 5, 5))
        with pytest.raises(NotFoundError, match=f"{who} \\(lab.example vouches for it\\)"):
            resolve_publisher(store, "lab")

    def test_is_told_without_candidates_where_there_are_none(self, store):
        with pytest.raises(NotFoundError, match=r"nobody is called lab here$"):
            resolve_publisher(store, "lab")


def test_a_pinned_alias_means_whom_it_meant_whoever_claims_it(store):
    thief, lab = claims(store, 1, name="lab", domain="lab.example"), publisher(2)
    TrustEditor(store).add("lab", str(lab))
    store.domains.keep(publisher(1), DomainCheck("lab.example", "https", 5, 5))
    assert resolve_publisher(store, "lab") == lab
    with pytest.raises(AliasTakenError) as caught:
        TrustEditor(store).add("lab", thief)
    assert thief in caught.value.message
    assert str(lab) in caught.value.message


@pytest.mark.parametrize("alias", ["lаb", "Lab", "lab ", "1ab\u200b", "ｌａｂ"])  # noqa: RUF001
def test_an_alias_that_looks_like_another_is_none(store, alias):
    with pytest.raises(UsageError):
        TrustEditor(store).add(alias, str(publisher(1)))
    with pytest.raises(UsageError):
        resolve_publisher(store, alias)


@pytest.mark.parametrize("at", [0, 25, 51])
def test_an_id_with_a_typing_error_is_not_pinned_where_it_shows(store, at):
    good = str(publisher(1))
    for wrong in (good[:at] + "1" + good[at + 1 :], good[:at] + good[at + 1 :], good.upper()):
        with pytest.raises(UsageError):
            TrustEditor(store).add("lab", wrong)
    assert store.documents.aliases().pins == {}


def test_claims_without_a_look_say_so():
    assert Claims.of({"domain": "lab.example"}, None) == Claims(None, "lab.example")
