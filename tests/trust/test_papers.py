"""The papers of a publisher, found among others and held to what a head has room for."""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust import changes
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers, find_chain, find_papers
from p2phub.trust.records import check_head

EVE = SigningKey(b"e" * 32)


def of(lab):
    return Papers.of(lab.roots, lab.delegation)


def rotated(seed=1, times=2):
    lab = FakePublisher(seed)
    for _ in range(times):
        lab.rotate()
    return lab


def test_papers_are_found_in_any_order_and_with_those_of_strangers_among_them():
    papers, other = of(rotated()), of(FakePublisher(2))
    mixed = [*reversed(papers.envelopes), *other.envelopes]
    assert find_papers(mixed, papers.publisher) == papers
    assert find_papers(papers.envelopes) == papers


def test_papers_are_found_inside_a_head():
    lab = rotated()
    head = lab.sign_head()
    assert find_papers([head]) == of(lab) == Papers.of_head(check_head(lab.head_key, head.pack()))


def test_without_the_first_root_or_with_two_of_them_there_is_no_telling_whose_they_are():
    one, two = of(rotated()), of(FakePublisher(2))
    with pytest.raises(MalformedError, match="no first root"):
        find_papers(one.envelopes[1:])
    with pytest.raises(MalformedError, match="2 publishers"):
        find_papers([*one.envelopes, *two.envelopes])
    with pytest.raises(MalformedError, match="no first root"):
        find_papers(one.envelopes, two.publisher)


def test_a_gap_in_the_chain_ends_it():
    lab = rotated()
    assert find_chain([lab.roots[0], lab.roots[2]]) == (lab.roots[0],)


def test_of_two_roots_that_follow_one_the_recovery_counts():
    honest, thief = FakePublisher(1), FakePublisher(1)
    thief.rotate()
    thief.rotate()
    honest.recover()
    for order in (1, -1):
        found = find_papers([*of(thief).envelopes, *of(honest).envelopes][::order])
        assert found == of(honest)


def test_papers_keep_no_signature_that_does_not_count():
    lab = FakePublisher(1)
    papers = of(lab)
    stuffed = sign(papers.identity.root, [*lab.root_signers(1), EVE])
    delegation = sign(papers.identity.delegation, [*lab.root_signers(1), EVE])
    assert Papers.of([stuffed], delegation) == papers


def test_a_newer_delegation_among_the_papers_wins_and_a_forged_one_does_not():
    lab = FakePublisher(1)
    papers = of(lab)
    more = changes.allow(papers.identity, ReleaseKey(lab.key("bob").public), now=CREATED)
    newer = changes.changed(papers, more, lab.root_signers(1))
    forged = sign(replace(more, version=9), [EVE])
    found = find_papers([*papers.envelopes, newer.delegation, forged])
    assert found.identity.delegation.version == 2
    with pytest.raises(UntrustedError, match="no delegation"):
        find_papers([*papers.roots, forged])


def test_the_head_of_papers_is_the_one_that_everybody_signs():
    lab = FakePublisher(1)
    lab.publish("demo", {"a": b"b"})
    head = of(lab).head(lab.index.digest, lab.seq, 0)
    assert sign(head, [lab.key("release")]).digest == lab.sign_head().digest
