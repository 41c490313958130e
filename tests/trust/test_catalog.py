"""The gate. Each test is an attack or a fault, and the step that stops it."""

import random
from dataclasses import replace

import pytest

from p2phub.errors import (
    ForkedError,
    MalformedError,
    NewerVersionError,
    RolledBackError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Index, Page, Ref, ReleaseKey, RepoEntry
from p2phub.testing.forgeries import damaged_signature, signed_by_others, tampered, unsigned
from p2phub.testing.publishers import CREATED, FakePublisher, Publication
from p2phub.trust.catalog import Accepted, TrustedCatalog
from p2phub.trust.envelope import Envelope, sign_payload
from p2phub.trust.history import Histories
from p2phub.trust.policy import Rule
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

NOW = CREATED + 1000
FILES = {"README.md": b"hello", "model.bin": b"weights"}
OTHER = {"README.md": b"something else"}


def offered(catalog: TrustedCatalog, *documents: bytes | Envelope) -> Accepted:
    """The outcome of the last of these documents, offered in order."""
    for document in documents:
        data = document.pack() if isinstance(document, Envelope) else document
        accepted = catalog.offer(data, NOW)
    return accepted


def refused(
    catalog: TrustedCatalog, document: bytes | Envelope, publisher: PublisherId | None = None
) -> Refusal:
    """The refusal of `document`: the last of its steps failed, and no other."""
    data = document.pack() if isinstance(document, Envelope) else document
    with pytest.raises(Refusal) as caught:
        catalog.offer(data, NOW, publisher)
    error = caught.value
    assert not error.steps[-1].ok
    assert all(step.ok for step in error.steps[:-1])
    assert error.steps[-1].name in error.message
    assert error.exit == 4
    assert not error.verdict.good
    return error


def step_of(error: Refusal) -> str:
    return error.steps[-1].name


def knowing(*publications: Publication) -> TrustedCatalog:
    catalog = TrustedCatalog()
    for publication in publications:
        offered(catalog, *publication.packed)
    return catalog


# ---------------------------------------------------------------- the way it should be


def always(policy):
    """The rule for everybody."""
    return lambda publisher: Rule(policy)


def test_a_release_passes_from_the_head_down():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = TrustedCatalog()
    wanted = [made.head.digest]
    for data in made.packed:
        accepted = catalog.offer(data, NOW)
        assert accepted.digest == wanted.pop()
        assert accepted.publisher == lab.publisher
        assert accepted.data == data
        assert accepted.judgement.verdict is Verdict.VERIFIED
        assert all(step.ok for step in accepted.judgement.steps)
        assert all(catalog.is_wanted(digest) for digest in accepted.wants)
        wanted += accepted.wants
    assert not wanted
    state = catalog.state(lab.publisher)
    assert (state.order, state.index) == ((1, 1, 1), made.index.digest)


def test_the_same_bytes_can_be_offered_again():
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    again = [catalog.offer(data, NOW) for data in made.packed]
    assert [accepted.data for accepted in again] == list(made.packed)


def test_of_bytes_that_passed_no_signature_is_checked_twice(monkeypatch):
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    before = [catalog.offer(data, NOW) for data in made.packed[1:]]
    checks = []
    monkeypatch.setattr("p2phub.trust.envelope.verify", lambda *given: checks.append(given))
    assert [catalog.offer(data, NOW) for data in made.packed[1:]] == before
    assert not checks


def test_that_good_signatures_passed_says_nothing_of_others():
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    for envelope in (made.index, made.release):
        data = envelope.pack()
        assert refused(catalog, damaged_signature(data)).verdict is Verdict.CORRUPT
        assert refused(catalog, unsigned(data)).verdict is Verdict.UNSIGNED
        assert catalog.offer(data, NOW).data == data


def test_every_release_of_many_repos_on_many_pages_passes():
    lab = FakePublisher(1)
    for number in range(150):
        last = lab.publish(f"demo{number:03}", {"a": b"%d" % number})
    assert len(last.pages) > 2
    catalog = TrustedCatalog()
    todo, releases = [last.head.digest], 0
    documents = lab.documents
    while todo:
        accepted = catalog.offer(documents[todo.pop()], NOW)
        releases += accepted.type == "release"
        todo += accepted.wants
    assert releases == 150


def test_nothing_is_known_before_anything_was_offered():
    lab = FakePublisher(1)
    catalog = TrustedCatalog()
    assert catalog.state(lab.publisher) is None
    assert not catalog.is_wanted(bytes(32))


# ---------------------------------------------------------------- arbitrary install


def test_arbitrary_install_a_release_that_no_page_lists_counts_for_nothing():
    lab = FakePublisher(1)
    catalog = knowing(lab.publish("demo", FILES))
    error = refused(catalog, lab.release("demo", OTHER))
    assert step_of(error) == "wanted"
    assert isinstance(error, WrongBytesError)


def test_arbitrary_install_a_listed_release_that_a_stranger_signed():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = knowing(made)
    error = refused(
        catalog, signed_by_others(made.release.pack(), FakePublisher(66).key("release"))
    )
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert "is no release key" in error.message


def test_arbitrary_install_an_index_that_a_stranger_signed():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = TrustedCatalog()
    offered(catalog, made.head)
    forged = signed_by_others(made.index.pack(), FakePublisher(66).key("release"))
    error = refused(catalog, forged)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert step_of(error) == "signed by its writer"


def test_arbitrary_install_a_whole_publisher_instead_of_the_one_asked_for():
    """A malicious mirror answers with a perfectly good head, of itself."""
    lab, thief = FakePublisher(1), FakePublisher(66)
    made = thief.publish("demo", FILES)
    catalog = TrustedCatalog()
    error = refused(catalog, made.head, lab.publisher)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert step_of(error) == "of the publisher asked for"
    assert catalog.state(thief.publisher) is None
    offered(catalog, *made.packed)
    for data in made.packed:
        assert step_of(refused(catalog, data, lab.publisher)) == "of the publisher asked for"


@pytest.mark.parametrize("what", ["head", "index", "release"])
def test_a_document_nobody_signed_is_unsigned(what):
    made = FakePublisher(1).publish("demo", FILES)
    error = refused(knowing(made), unsigned(getattr(made, what).pack()))
    assert error.verdict is Verdict.UNSIGNED


@pytest.mark.parametrize("place", [0, 1, -1], ids=["head", "index", "release"])
@pytest.mark.parametrize("damage", [tampered, damaged_signature])
def test_a_damaged_document_is_corrupt(place, damage):
    made = FakePublisher(1).publish("demo", FILES)
    catalog = TrustedCatalog()
    for data in made.packed[:place]:
        catalog.offer(data, NOW)
    error = refused(catalog, damage(made.packed[place]))
    assert error.verdict is Verdict.CORRUPT


def test_one_changed_byte_of_any_document_is_refused():
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    for data in made.packed:
        for at in range(0, len(data), 3):
            wrong = bytearray(data)
            wrong[at] ^= 0x20
            with pytest.raises(Refusal):
                catalog.offer(bytes(wrong), NOW)
    assert all(catalog.offer(data, NOW) for data in made.packed)


def test_a_document_cut_short_anywhere_is_refused():
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    for data in made.packed:
        for size in range(0, len(data), 7):
            with pytest.raises(Refusal):
                catalog.offer(data[:size], NOW)


# ---------------------------------------------------------------- endless data


@pytest.mark.parametrize(
    ("type", "limit"),
    [("head", limits.MAX_HEAD), ("index", limits.MAX_INDEX + limits.MAX_ENVELOPE_OVERHEAD)],
)
def test_endless_data_is_refused_before_it_is_read(type, limit):
    data = encode(
        {
            "payload": bytes(limit),
            "signatures": [],
            "type": f"application/vnd.p2phub.{type}+msgpack",
        }
    )
    error = refused(TrustedCatalog(), data)
    assert step_of(error) == "small enough"


def test_endless_data_as_a_page_is_refused_before_it_is_hashed():
    error = refused(TrustedCatalog(), bytes(limits.MAX_PAGE + 1))
    assert step_of(error) == "small enough"


def test_a_release_of_the_right_size_that_nobody_wants_is_not_parsed(monkeypatch):
    lab = FakePublisher(1)
    release = lab.release("demo", FILES)
    monkeypatch.setattr(
        "p2phub.formats.manifest.Release.from_payload",
        classmethod(lambda cls, data: pytest.fail("it was parsed")),
    )
    assert step_of(refused(TrustedCatalog(), release)) == "wanted"


# ---------------------------------------------------------------- rollback, fast-forward, freeze


def test_rollback_an_older_seq_is_refused():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("demo", OTHER)
    catalog = knowing(new)
    error = refused(catalog, old.head)
    assert isinstance(error, RolledBackError)
    assert error.verdict is Verdict.ROLLED_BACK
    assert catalog.state(lab.publisher).index == new.index.digest


def test_rollback_an_older_delegation_is_refused_however_high_its_seq():
    lab = FakePublisher(1)
    old = lab.publish("demo", FILES)
    high = lab.sign_head(seq=10**6)
    lab.delegate("release")
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(seq=2))
    for head in (old.head, high):
        assert refused(catalog, head).verdict is Verdict.ROLLED_BACK


def test_rollback_an_older_root_is_refused_however_high_its_delegation():
    lab = FakePublisher(1)
    lab.publish("demo", FILES)
    before = lab.delegation
    lab.delegate("release", version=900)
    old = lab.sign_head(seq=900)
    lab.delegation = before
    lab.rotate()
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head())
    assert refused(catalog, old).verdict is Verdict.ROLLED_BACK


def test_rollback_a_stolen_key_that_was_replaced_signs_nothing_more():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    stolen = lab.sign_head(seq=50)
    lab.delegate("fresh")
    catalog = knowing(made)
    offered(catalog, lab.sign_head(signers=("fresh",)))
    assert refused(catalog, stolen).verdict is Verdict.ROLLED_BACK
    assert refused(catalog, made.index).verdict is Verdict.UNTRUSTED_KEY
    assert refused(catalog, made.release).verdict is Verdict.UNTRUSTED_KEY


def test_fast_forward_by_a_stranger_is_refused():
    lab = FakePublisher(1)
    catalog = knowing(lab.publish("demo", FILES))
    error = refused(catalog, lab.sign_head(seq=2**50, signers=("stranger",)))
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert catalog.state(lab.publisher).seq == 1


def test_fast_forward_by_a_stolen_key_is_undone_by_the_next_delegation():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = knowing(made)
    offered(catalog, lab.sign_head(seq=limits.MAX_INTEGER, index=b"x" * 32))
    assert refused(catalog, made.head).verdict is Verdict.ROLLED_BACK
    lab.delegate("fresh")
    again = lab.publish("demo", OTHER, writer="fresh")
    offered(catalog, *again.packed)
    assert catalog.state(lab.publisher).order == (1, 2, 2)


def test_freeze_an_old_head_is_stale_and_says_since_when():
    lab = FakePublisher(1, not_after=NOW - 10)
    made = lab.publish("demo", FILES)
    catalog = TrustedCatalog()
    for data in made.packed:
        judgement = catalog.offer(data, NOW).judgement
        assert (judgement.verdict, judgement.stale_since) == (Verdict.STALE, NOW - 10)
    assert catalog.offer(made.packed[-1], NOW - 10).judgement.verdict is Verdict.VERIFIED


def test_a_renewed_head_of_the_same_index_makes_it_fresh_again():
    lab = FakePublisher(1, not_after=NOW - 10)
    made = lab.publish("demo", FILES)
    catalog = knowing(made)
    renewed = lab.sign_head(not_after=NOW + 10)
    assert offered(catalog, renewed).judgement.verdict is Verdict.VERIFIED
    assert offered(catalog, made.release).judgement.verdict is Verdict.VERIFIED
    assert offered(catalog, made.head).judgement.verdict is Verdict.VERIFIED
    assert catalog.state(lab.publisher).head == renewed.digest


# ---------------------------------------------------------------- mix-and-match


def test_mix_and_match_an_index_of_another_publisher():
    lab, other = FakePublisher(1), FakePublisher(2)
    foreign = other.publish("demo", FILES)
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(index=foreign.index.digest))
    error = refused(catalog, foreign.index)
    assert step_of(error) == "of the publisher that named it"
    assert str(other.publisher) in error.message


def test_mix_and_match_pages_of_another_publisher_give_none_of_its_releases():
    """An index may name somebody's page; the releases on it stay somebody's."""
    lab, thief = FakePublisher(1), FakePublisher(66)
    made = lab.publish("demo", FILES)
    thief.entries = dict(lab.entries)
    index, pages = thief.sign_index()
    assert pages == made.pages
    catalog = TrustedCatalog()
    offered(catalog, thief.sign_head(), index, *pages)
    error = refused(catalog, made.release)
    assert step_of(error) == "of the publisher that named it"
    assert str(lab.publisher) in error.message


def test_a_stranger_who_names_somebodys_page_cannot_take_it_away():
    lab, thief = FakePublisher(1), FakePublisher(66)
    made = lab.publish("demo", FILES)
    thief.entries = dict(lab.entries)
    index, pages = thief.sign_index()
    catalog = TrustedCatalog()
    offered(catalog, made.head, made.index, thief.sign_head(), index, *pages)
    assert offered(catalog, made.release).publisher == lab.publisher
    assert catalog.offer(pages[0], NOW, lab.publisher).publisher == lab.publisher
    assert catalog.offer(pages[0], NOW, thief.publisher).publisher == thief.publisher


def test_mix_and_match_a_page_that_no_index_names():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("demo", OTHER)
    catalog = TrustedCatalog()
    offered(catalog, new.head, new.index)
    assert step_of(refused(catalog, old.pages[0])) == "wanted"


def test_mix_and_match_an_index_that_no_head_names():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("demo", OTHER)
    catalog = TrustedCatalog()
    offered(catalog, new.head)
    assert step_of(refused(catalog, old.index)) == "wanted"


@pytest.mark.parametrize(("name", "kind"), [("other", "model"), ("demo", "dataset")])
def test_mix_and_match_a_release_listed_as_another_repo(name, kind):
    lab = FakePublisher(1)
    release = lab.release("demo", FILES)
    entry = RepoEntry(name, kind, {"main": Ref(release.digest, 1)})
    index, pages = lab.sign_index(entries=[entry])
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(), index, *pages)
    assert step_of(refused(catalog, release)) == "of the repo that lists it"


def test_mix_and_match_an_index_with_another_seq_than_its_head_says():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(seq=7))
    assert step_of(refused(catalog, made.index)) == "as its head says"


def test_mix_and_match_a_child_page_where_it_does_not_belong():
    lab = FakePublisher(1)
    for number in range(150):
        made = lab.publish(f"demo{number:03}", FILES)
    root = Page.from_payload(made.pages[0])
    (one, first), (two, second), *others = root.children
    swapped = replace(root, children=((one, second), (two, first), *others)).to_payload()
    index = replace(Index.from_payload(made.index.payload), pages=sha(swapped), writer_seq=999)
    signed = sign_payload("index", index.to_payload(), [lab.key("release")])
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(index=signed.digest), signed, swapped)
    error = refused(catalog, lab.documents[first])
    assert step_of(error) == "where its parent says"
    assert isinstance(error, MalformedError)


def sha(payload: bytes) -> bytes:
    return Envelope("release", payload, ()).digest


# ---------------------------------------------------------------- indexes


def test_an_index_by_a_writer_outside_the_delegation_is_refused():
    lab = FakePublisher(1)
    index, _ = lab.sign_index(writer="stranger")
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head())
    error = refused(catalog, index)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert "is no release key" in error.message


def test_an_index_in_the_name_of_another_writer_is_refused():
    lab = FakePublisher(1, writers=("one", "two"))
    index, _ = lab.sign_index(writer="one", signer="two")
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(signers=("one",)))
    assert step_of(refused(catalog, index)) == "signed by its writer"


@pytest.mark.parametrize("seq", [2, 4, 2**40])
def test_an_index_counts_on_from_its_parents(seq):
    lab = FakePublisher(1)
    catalog = knowing(lab.publish("a", FILES), lab.publish("b", FILES))
    index, _ = lab.sign_index(seq=seq)
    offered(catalog, lab.sign_head())
    error = refused(catalog, index)
    assert step_of(error) == "counts on from its parents"
    assert error.verdict is Verdict.CORRUPT


def test_an_index_whose_parents_are_unknown_only_has_to_be_later_than_those_known():
    lab = FakePublisher(1)
    made = lab.publish("a", FILES)
    catalog = knowing(made)
    fine, _ = lab.sign_index(parents=[made.index.digest, b"p" * 32], seq=40)
    offered(catalog, lab.sign_head(), fine)
    for seq in (40, 39):
        index, _ = lab.sign_index(parents=[fine.digest, b"q" * 32], seq=seq)
        lab.delegate("release")
        offered(catalog, lab.sign_head())
        assert step_of(refused(catalog, index)) == "counts on from its parents"


def test_two_writers_at_once_are_no_fork_and_the_next_index_merges_them():
    """Everywhere the same one of two heads with one seq counts, in whatever order they came."""
    lab, twin = (FakePublisher(1, writers=("one", "two")) for _ in range(2))
    one = lab.publish("a", FILES, writer="one")
    two = twin.publish("b", FILES, writer="two")
    catalogs = [knowing(one, two), knowing(two, one)]
    winner = max(one.index.digest, two.index.digest)
    assert [catalog.state(lab.publisher).index for catalog in catalogs] == [winner, winner]
    lab.entries |= twin.entries
    parents = [one.index.digest, two.index.digest]
    merged, pages = lab.sign_index(writer="two", parents=parents, writer_seq=2)
    for catalog in catalogs:
        offered(catalog, lab.sign_head(signers=("two",)), merged, *pages)
        assert catalog.state(lab.publisher).index == merged.digest
        offered(catalog, one.release, two.release)


# ---------------------------------------------------------------- fork


def forked() -> tuple[FakePublisher, TrustedCatalog, Publication, Publication]:
    """A publisher that signed two indexes with one number, and a catalog that saw both."""
    lab, twin = FakePublisher(1), FakePublisher(1)
    one, other = lab.publish("demo", FILES), twin.publish("demo", OTHER)
    catalog = knowing(one)
    offered(catalog, other.head)
    error = refused(catalog, other.index)
    assert isinstance(error, ForkedError)
    assert error.verdict is Verdict.FORKED
    return lab, catalog, one, other


def test_fork_two_indexes_with_one_writer_and_number():
    lab, catalog, one, other = forked()
    assert catalog.state(lab.publisher).forked
    for data in (*one.packed, other.head, other.index):
        assert refused(catalog, data).verdict is Verdict.FORKED


def test_fork_no_later_head_of_the_same_delegation_is_believed():
    lab, catalog, _, _ = forked()
    assert refused(catalog, lab.publish("demo", OTHER).head).verdict is Verdict.FORKED
    lab.rotate()
    error = refused(catalog, lab.sign_head())
    assert error.verdict is Verdict.FORKED, "a new root over the same delegation clears nothing"


def test_fork_a_new_delegation_that_changes_nothing_clears_nothing():
    lab, catalog, _, _ = forked()
    lab.delegate("release")
    assert refused(catalog, lab.publish("demo", OTHER).head).verdict is Verdict.FORKED


def test_fork_a_new_delegation_with_fresh_numbers_clears_it():
    lab, catalog, _, _ = forked()
    lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=2))
    again = lab.publish("demo", OTHER)
    offered(catalog, *again.packed)
    assert not catalog.state(lab.publisher).forked
    assert catalog.state(lab.publisher).index == again.index.digest


def test_fork_two_indexes_with_one_number_and_different_seqs():
    lab, twin = FakePublisher(1), FakePublisher(1)
    one = lab.publish("demo", FILES)
    twin.publish("demo", OTHER)
    index, _ = twin.sign_index(writer_seq=1)
    catalog = knowing(one)
    offered(catalog, twin.sign_head())
    assert refused(catalog, index).verdict is Verdict.FORKED


def test_fork_two_delegations_with_one_version():
    lab, twin = FakePublisher(1), FakePublisher(1)
    twin.delegate("release", "other", version=1)
    catalog = knowing(lab.publish("demo", FILES))
    error = refused(catalog, twin.publish("demo", FILES).head)
    assert error.verdict is Verdict.FORKED
    assert refused(catalog, lab.sign_head()).verdict is Verdict.FORKED
    lab.delegate("release")
    assert offered(catalog, lab.sign_head()).judgement.verdict is Verdict.VERIFIED


def test_fork_two_roots_are_cleared_by_a_recovery_that_overrules_both():
    lab, twin, owner = FakePublisher(1), FakePublisher(1), FakePublisher(1)
    for publisher in (lab, twin, owner):
        publisher.publish("demo", FILES)
    lab.rotate()
    twin.rotate("b")
    owner.recover()
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head())
    assert refused(catalog, twin.sign_head()).verdict is Verdict.FORKED
    lab.delegate("release")
    lab.rotate()
    assert refused(catalog, lab.sign_head()).verdict is Verdict.FORKED
    lab.recover()
    late = refused(catalog, lab.sign_head())
    assert late.verdict is Verdict.FORKED, "it stands on one of the two branches"
    offered(catalog, owner.sign_head())
    assert not catalog.state(lab.publisher).forked
    for publisher in (lab, twin):
        assert refused(catalog, publisher.sign_head()).verdict is Verdict.UNTRUSTED_KEY


def test_fork_a_recovery_on_one_branch_of_two_clears_nothing():
    lab, twin, late = FakePublisher(1), FakePublisher(1), FakePublisher(1)
    lab.rotate()
    lab.rotate()
    twin.rotate("b")
    late.rotate()
    late.recover()
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head())
    refused(catalog, twin.sign_head())
    assert refused(catalog, late.sign_head()).verdict is Verdict.FORKED


def test_a_recovery_ends_a_thief_who_is_far_ahead():
    owner, thief = FakePublisher(1), FakePublisher(1)
    owner.publish("demo", FILES)
    for _ in range(3):
        thief.rotate()
    thief.delegate("evil", version=77)
    thief.publish("demo", OTHER, writer="evil")
    catalog = TrustedCatalog()
    offered(catalog, thief.head)
    owner.recover()
    accepted = offered(catalog, owner.sign_head())
    assert catalog.state(owner.publisher).order == (2, 1, 1)
    assert accepted.judgement.verdict is Verdict.VERIFIED
    assert refused(catalog, thief.head).verdict is Verdict.UNTRUSTED_KEY


def test_two_writers_with_one_number_each_are_no_fork():
    lab = FakePublisher(1, writers=("one", "two"))
    catalog = knowing(lab.publish("a", FILES, writer="one"), lab.publish("b", FILES, writer="two"))
    assert not catalog.state(lab.publisher).forked


# ---------------------------------------------------------------- keys and their limits


def test_key_compromise_below_the_threshold_releases_nothing():
    """An organisation wants two signatures: one stolen key can list a release, not make one."""
    lab = FakePublisher(1, writers=("one", "two", "three"), threshold=2)
    made = lab.publish("demo", FILES, writer="one", signers=("one",))
    catalog = TrustedCatalog()
    offered(catalog, *made.packed[:-1])
    error = refused(catalog, made.release)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert "1 of 2 needed" in error.message
    payload = made.release.payload
    stranger = sign_payload("release", payload, [lab.key("one"), lab.key("stranger")])
    assert "is no release key" in refused(catalog, stranger).message
    both = sign_payload("release", payload, [lab.key("one"), lab.key("three")])
    assert offered(catalog, both).judgement.verdict is Verdict.VERIFIED


def test_a_strangers_good_signature_is_not_kept():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = knowing(made)
    for what in (made.head, made.index, made.release):
        both = sign_payload(what.type, what.payload, [lab.key("release"), lab.key("other")])
        accepted = offered(catalog, both)
        assert accepted.data == what.pack()


def limited(repos: tuple[str, ...] = (), not_after: int = 0) -> FakePublisher:
    """A publisher with a free key "release" and a key "guest" with limits."""
    lab = FakePublisher(1)
    lab.delegate("release", ReleaseKey(lab.key("guest").public, repos, not_after))
    return lab


def test_a_key_limited_to_some_repos_cannot_release_another():
    lab = limited(repos=("demo",))
    fine = lab.publish("demo", FILES, signers=("guest",))
    wrong = lab.publish("other", FILES, signers=("guest",))
    catalog = knowing(fine)
    offered(catalog, *wrong.packed[:-1])
    error = refused(catalog, wrong.release)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert "may not write other" in error.message


def test_a_key_limited_to_some_repos_cannot_move_the_refs_of_another():
    lab = limited(repos=("demo",))
    lab.publish("other", FILES)
    fine = lab.publish("demo", FILES, writer="guest")
    catalog = knowing(fine)
    wrong = lab.publish("other", OTHER, writer="guest", signers=("release",))
    offered(catalog, wrong.head, wrong.index)
    error = refused(catalog, wrong.pages[0])
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert step_of(error) == "within its writer's limits"


def test_a_page_cannot_hold_a_ref_of_an_index_still_to_come():
    lab = FakePublisher(1)
    release = lab.release("demo", FILES)
    entry = RepoEntry("demo", "model", {"main": Ref(release.digest, 2)})
    index, pages = lab.sign_index(entries=[entry])
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(), index)
    assert step_of(refused(catalog, pages[0])) == "not newer than its index"


def test_a_release_key_that_had_expired_when_it_signed_is_refused():
    lab = limited(not_after=CREATED - 1)
    made = lab.publish("demo", FILES, writer="guest")
    catalog = TrustedCatalog()
    offered(catalog, made.head)
    error = refused(catalog, made.index)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert "expired" in error.message
    listed = lab.publish("demo", FILES, writer="release", signers=("guest",))
    offered(catalog, *listed.packed[:-1])
    assert "expired" in refused(catalog, listed.release).message


def test_what_a_key_signed_before_it_expired_stays_signed():
    lab = limited(not_after=CREATED + 1)
    made = lab.publish("demo", FILES, writer="guest")
    catalog = TrustedCatalog()
    for data in made.packed:
        judgement = catalog.offer(data, NOW).judgement
        assert (judgement.verdict, judgement.stale_since) == (Verdict.STALE, CREATED + 1)


# ---------------------------------------------------------------- other software


def test_wrong_software_a_release_for_a_newer_p2phub_says_so():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    fields = decode(made.release.payload, limit=limits.MAX_RELEASE)
    payload = encode(fields | {"requires": ["encryption"]})
    release = sign_payload("release", payload, [lab.key("release")])
    catalog = knowing(made)
    catalog.expect(release.digest, lab.publisher)
    error = refused(catalog, release)
    assert isinstance(error, NewerVersionError)
    assert "newer p2phub" in error.message
    assert "Update" in error.remedy


def test_a_root_or_a_delegation_is_offered_inside_a_head_only():
    lab = FakePublisher(1)
    for document in (lab.roots[0], lab.delegation):
        assert step_of(refused(TrustedCatalog(), document)) == "offered alone"


def test_unknown_types_and_garbage_are_refused():
    catalog = knowing(FakePublisher(1).publish("demo", FILES))
    noise = random.Random(1)
    samples = [b"", b"\x00", b"\xc0", b"\x83\xa7payload", *(noise.randbytes(50) for _ in range(50))]
    for data in samples:
        refused(catalog, data)
    unknown = {"payload": b"", "signatures": [], "type": "application/vnd.p2phub.gift+msgpack"}
    assert step_of(refused(catalog, encode(unknown))) == "of a known type"


# ---------------------------------------------------------------- commit ids


def test_a_release_that_a_commit_id_names_need_not_be_listed_any_more():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("demo", OTHER)
    catalog = knowing(new)
    assert step_of(refused(catalog, old.release)) == "wanted"
    catalog.expect(old.release.digest, lab.publisher)
    assert offered(catalog, old.release).judgement.verdict is Verdict.VERIFIED


def test_a_commit_id_does_not_make_a_strangers_release_good():
    lab, thief = FakePublisher(1), FakePublisher(66)
    release = thief.release("demo", FILES)
    catalog = knowing(lab.publish("demo", FILES))
    catalog.expect(release.digest, lab.publisher)
    assert step_of(refused(catalog, release)) == "of the publisher that named it"
    catalog.expect(release.digest, thief.publisher)
    assert step_of(refused(catalog, release)) == "its publisher is known"


def test_expecting_a_listed_release_keeps_what_it_was_listed_as():
    lab = FakePublisher(1)
    release = lab.release("demo", FILES)
    entry = RepoEntry("other", "model", {"main": Ref(release.digest, 1)})
    index, pages = lab.sign_index(entries=[entry])
    catalog = TrustedCatalog()
    offered(catalog, lab.sign_head(), index, *pages)
    catalog.expect(release.digest, lab.publisher)
    assert step_of(refused(catalog, release)) == "of the repo that lists it"


# ---------------------------------------------------------------- policy


def test_the_policy_decides_about_releases_nobody_signed():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    stranger = signed_by_others(made.release.pack(), FakePublisher(66).key("release"))
    cases = {unsigned(made.release.pack()): Verdict.UNSIGNED, stranger: Verdict.UNTRUSTED_KEY}
    for policy in ("off", "warn"):
        catalog = TrustedCatalog(always(policy))
        offered(catalog, *made.packed)
        for data, verdict in cases.items():
            judgement = catalog.offer(data, NOW).judgement
            assert judgement.verdict is verdict
            assert not all(step.ok for step in judgement.steps)


@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
def test_no_policy_lets_corrupt_bytes_or_strangers_heads_through(policy):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = TrustedCatalog(always(policy))
    offered(catalog, *made.packed)
    assert refused(catalog, damaged_signature(made.release.pack())).verdict is Verdict.CORRUPT
    thief = FakePublisher(66).key("release")
    for what in (made.head, made.index):
        refused(catalog, signed_by_others(what.pack(), thief))
        refused(catalog, unsigned(what.pack()))


# ---------------------------------------------------------------- memory


def test_a_refused_document_changes_nothing():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("demo", OTHER)
    catalog = knowing(new)
    state = catalog.state(lab.publisher)
    for data in (old.head.pack(), tampered(new.head.pack()), b"", old.index.pack()):
        refused(catalog, data)
    assert catalog.state(lab.publisher) == state
    assert not catalog.is_wanted(old.index.digest)


def test_forgetting_what_was_wanted_is_healed_by_offering_again():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    catalog = knowing(made)
    catalog.forget_wants(lab.publisher)
    assert step_of(refused(catalog, made.release)) == "wanted"
    assert catalog.state(lab.publisher).order == (1, 1, 1)
    offered(catalog, *made.packed)


def test_a_publisher_that_is_forgotten_is_forgotten_with_what_it_named(monkeypatch):
    monkeypatch.setattr("p2phub.trust.catalog.Histories", lambda: Histories(most=1))
    one, two = (FakePublisher(seed).publish("demo", FILES) for seed in (1, 2))
    catalog = knowing(one, two)
    assert catalog.state(FakePublisher(1).publisher) is None
    assert not catalog.is_wanted(one.release.digest)
    offered(catalog, *one.packed)
    assert not catalog.is_wanted(two.release.digest)


def test_errors_name_the_release_people_asked_for():
    made = FakePublisher(1).publish("demo", FILES)
    catalog = knowing(made)
    error = refused(catalog, unsigned(made.release.pack()))
    assert "demo" in error.message
    assert made.release.digest.hex()[:16] in error.message
    assert isinstance(error, UntrustedError)
