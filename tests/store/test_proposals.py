"""Releases that wait for signatures: how many, how long, and what they hold on to."""

from dataclasses import replace

import pytest

from p2phub.errors import RefusedError
from p2phub.formats.ids import ContentId
from p2phub.store.proposals import KEPT_FOR, MAX_PROPOSALS, Proposal

NOW = 1_700_000_000
FILE = ContentId(5, b"f" * 32)


def proposal(number, since=NOW, data=b"signed once", **more):
    return Proposal(number.to_bytes(32, "big"), since, more.get("tag", ""), True, data)


def test_another_state_of_a_proposal_takes_its_place_and_its_age_stays(store):
    first = proposal(1, tag="v1")
    store.proposals.put(first, [FILE])
    later = replace(first, since=NOW + 9, tag="", ours=False, data=b"signed twice")
    store.proposals.put(later, [FILE])
    assert store.proposals.get(first.digest) == replace(first, data=b"signed twice")
    assert store.proposals.all(NOW) == [store.proposals.get(first.digest)]


def test_so_many_wait_at_once_and_no_more(store):
    for number in range(MAX_PROPOSALS):
        store.proposals.put(proposal(number), [])
    store.proposals.put(proposal(0, data=b"signed twice"), [])
    with pytest.raises(RefusedError, match=f"{MAX_PROPOSALS} releases wait") as caught:
        store.proposals.put(proposal(MAX_PROPOSALS), [])
    assert "key proposals" in caught.value.remedy
    store.proposals.drop(proposal(3).digest)
    store.proposals.put(proposal(MAX_PROPOSALS), [])
    assert len(store.proposals.all(NOW)) == MAX_PROPOSALS


def test_a_proposal_waits_for_so_long_and_no_longer(store):
    store.proposals.put(proposal(1), [])
    assert store.proposals.all(NOW + KEPT_FOR) == [proposal(1)]
    assert store.proposals.expired(NOW + KEPT_FOR) == []
    assert store.proposals.all(NOW + KEPT_FOR + 1) == []
    assert store.proposals.expired(NOW + KEPT_FOR + 1) == [proposal(1)]


def test_those_that_waited_too_long_are_in_nobodys_way(store):
    for number in range(MAX_PROPOSALS):
        store.proposals.put(proposal(number), [])
    late = NOW + KEPT_FOR + 1
    store.proposals.put(proposal(MAX_PROPOSALS, since=late), [])
    assert store.proposals.all(late) == [proposal(MAX_PROPOSALS, since=late)]


def test_what_waits_for_signatures_keeps_its_files(store):
    store.proposals.put(proposal(1), [FILE])
    store.proposals.put(proposal(2), [FILE])
    assert store.repos.unreferenced([FILE]) == []
    assert store.proposals.drop(proposal(1).digest) == ()
    assert store.proposals.drop(proposal(2).digest) == (FILE,)
    assert store.repos.unreferenced([FILE]) == [FILE]
    assert store.proposals.get(proposal(2).digest) is None
