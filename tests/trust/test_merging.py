"""Joining what several writers wrote: the same whoever does it, in which order and how often."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.formats import limits
from p2phub.formats.manifest import Card
from p2phub.formats.publisher import Page, Ref, RepoEntry, build_pages
from p2phub.trust import merging
from p2phub.trust.merging import holds, merge, merged_profile, outrun

digests = st.integers(1, 4).map(lambda n: bytes([n]) * 32)
refs = st.builds(Ref, digests, st.integers(1, 4), st.booleans())
names = st.sampled_from(["main", "v1", "v2", "v3", "next"])
entries = st.builds(
    RepoEntry,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["model", "dataset"]),
    st.dictionaries(names, refs, min_size=1),
    st.builds(Card, license=st.sampled_from(["", "mit", "gpl-3.0"])),
    st.integers(0, 3),
    st.integers(0, 3),
)
indexes = st.lists(entries, max_size=3, unique_by=lambda entry: entry.name)


@given(indexes, indexes, indexes)
def test_it_does_not_matter_who_is_joined_first(one, two, three):
    assert merge([merge([one, two]), three]) == merge([one, merge([two, three])])
    assert merge([one, two, three]) == merge([merge([one, two]), three])


@given(
    st.lists(indexes, max_size=4).flatmap(
        lambda each: st.tuples(st.just(each), st.permutations(each))
    )
)
def test_the_order_of_the_indexes_does_not_matter(pair):
    given_order, another = pair
    assert merge(given_order) == merge(another)


@given(indexes, indexes)
def test_joining_again_what_is_in_there_changes_nothing(one, two):
    merged = merge([one, two])
    assert merge([merged, one]) == merge([merged, merged]) == merged
    assert holds(merged, one)
    assert holds(merged, two)
    assert holds(one, merged) == (merge([one]) == merged)


small = indexes.map(
    lambda index: [replace(each, refs=dict(list(each.refs.items())[:2])) for each in index]
)


@given(small, small, small)
def test_the_rules_hold_when_a_repo_gets_more_refs_than_it_may_have(one, two, three):
    before, limits.MAX_REFS = limits.MAX_REFS, 2
    try:
        merged = merge([one, two, three])
        assert all(len(entry.refs) <= 2 for entry in merged)
        assert merge([one, merge([three, two])]) == merge([merge([one, two]), three]) == merged
        assert holds(merged, one)
        assert holds(merged, merge([two, three]))
    finally:
        limits.MAX_REFS = before


def entry(refs, name="demo", kind="model", size=0):
    return RepoEntry(name, kind, refs, size=size)


def test_each_ref_is_the_one_set_last_and_of_equals_the_greater_release():
    one = entry({"main": Ref(b"a" * 32, 7), "v1": Ref(b"c" * 32, 3, True)})
    two = entry({"main": Ref(b"b" * 32, 6), "v1": Ref(b"d" * 32, 3, True)})
    (merged,) = merge([[one], [two]])
    assert merged.refs == {"main": Ref(b"a" * 32, 7), "v1": Ref(b"d" * 32, 3, True)}


def test_the_card_and_the_kind_come_with_the_main_that_won():
    model = entry({"main": Ref(b"a" * 32, 7)}, size=1)
    dataset = entry({"main": Ref(b"b" * 32, 8), "v1": Ref(b"b" * 32, 2)}, kind="dataset", size=2)
    (merged,) = merge([[dataset], [model]])
    assert (merged.kind, merged.size) == ("dataset", 2)


def test_a_repo_that_only_one_writer_has_stays():
    ours, theirs = entry({"main": Ref(b"a" * 32, 1)}), entry({"main": Ref(b"b" * 32, 1)}, "other")
    assert merge([[ours], [theirs]]) == (ours, theirs)
    assert not holds([ours], [theirs])


def test_the_loser_of_main_is_named_and_the_winner_is_not():
    one, two = entry({"main": Ref(b"a" * 32, 7)}), entry({"main": Ref(b"b" * 32, 7)})
    merged = merge([[one], [two]])
    assert outrun(merged, [one]) == (("demo", b"a" * 32),)
    assert outrun(merged, [two]) == ()
    assert outrun(merged, [entry({"v1": Ref(b"a" * 32, 1)})]) == ()


def refs_of(letter, count, seq):
    return {f"{letter}{n}": Ref(bytes(32), seq) for n in range(count)}


def test_as_many_refs_as_a_repo_may_have_are_all_kept():
    half = limits.MAX_REFS // 2
    (merged,) = merge([[entry(refs_of("a", half, 1))], [entry(refs_of("b", half, 2))]])
    assert len(merged.refs) == limits.MAX_REFS
    build_pages([merged])


def test_one_ref_too_many_costs_the_oldest_and_never_main():
    most = limits.MAX_REFS
    one = entry({**refs_of("a", most - 2, 2), "old": Ref(bytes(32), 1), "main": Ref(bytes(32), 1)})
    two = entry({"b": Ref(bytes(32), 2)})
    (merged,) = merge([[one], [two]])
    assert len(merged.refs) == most
    assert set(one.refs) | {"b"} == {*merged.refs, "old"}
    root, pages = build_pages([merged])
    assert Page.from_payload(pages[root]).entries == (merged,)


def test_what_a_newer_version_wrote_beside_a_ref_stays():
    one = entry({"main": Ref(bytes(32), 1, extra={"note": "x"})})
    (merged,) = merge([[one], [entry({"main": Ref(bytes(32), 1)})]])
    assert merged.refs["main"].extra == {"note": "x"}
    assert merging.merge([[merged], [one]]) == (merged,)


def test_of_two_profiles_the_newest_is_right_and_nothing_else_is_lost():
    newest, other = {"name": "Lab"}, {"name": "lab", "domain": "lab.example"}
    assert merged_profile(newest, other) == {"name": "Lab", "domain": "lab.example"}
    assert merged_profile({}, other) == other
    assert merged_profile(newest, {}) == newest


@pytest.mark.parametrize("more", [0, 1])
def test_a_profile_does_not_grow_beyond_what_an_index_may_hold(more):
    newest = {f"a{n}": "x" for n in range(limits.MAX_PROFILE // 2)}
    other = {f"b{n}": "x" for n in range(limits.MAX_PROFILE // 2 + more)}
    merged = merged_profile(newest, other)
    assert merged == (newest if more else {**newest, **other})
