"""The files of people who hold a root together: hostile ones, and whose keys a root commits to."""

import json
from itertools import pairwise

import pytest

from p2phub.errors import UsageError
from p2phub.formats import limits
from p2phub.trust.holders import (
    KEYS,
    MAX_FILE,
    MAX_HOLDERS,
    Holder,
    key_set,
    read_holder,
    recognise,
    write_holder,
)
from p2phub.trust.secrets import Master


def holder(number):
    return Holder.of(f"h{number}", Master(bytes([number]) * 32))


@pytest.fixture(scope="module")
def many():
    return [holder(number) for number in range(1, MAX_HOLDERS + 2)]


@pytest.fixture(scope="module")
def document(many):
    return json.loads(write_holder(many[0]))


def test_a_holder_has_a_key_for_every_root_there_can_be_and_one_to_commit_to(many):
    first = many[0]
    assert len(first.keys) == limits.MAX_ROOT_CHAIN + 1
    master = Master(bytes([1]) * 32)
    assert first.keys[0] == master.root_key(1).public
    assert first.keys[-1] == master.root_key(KEYS).public


def test_a_file_says_who_it_is_and_its_fingerprint_tells_two_apart(many):
    assert read_holder(write_holder(many[0])) == many[0]
    assert len(many[0].fingerprint.replace(" ", "")) == 32
    assert len({each.fingerprint for each in many}) == len(many)
    renamed = Holder("eve", many[0].keys)
    assert renamed.fingerprint == many[0].fingerprint, "the name proves nothing"


@pytest.mark.parametrize(
    "change",
    [
        {"p2phub": "trust list"},
        {"version": 2},
        {"more": 1},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * (limits.MAX_NAME + 1)},
        {"name": 7},
        {"keys": []},
        {"keys": ["ab" * 32] * KEYS},
        {"keys": "ab" * 32},
    ],
)
def test_a_file_that_was_changed_is_refused(document, change):
    with pytest.raises(UsageError, match="no file of a root holder"):
        read_holder(json.dumps(document | change))


@pytest.mark.parametrize("key", ["AB" * 32, "ab" * 31, "ab" * 33, "zz" * 32, 7, None, " " * 64])
def test_a_key_that_is_none_is_refused(document, key):
    keys = [*document["keys"][:-1], key]
    with pytest.raises(UsageError, match="64 hex digits"):
        read_holder(json.dumps(document | {"keys": keys}))


@pytest.mark.parametrize("count", [KEYS - 1, KEYS + 1])
def test_one_key_more_or_less_is_refused(document, count):
    keys = [f"{number:064x}" for number in range(count)]
    with pytest.raises(UsageError, match=f"{KEYS} keys"):
        read_holder(json.dumps(document | {"keys": keys}))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 5000])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(UsageError):
        read_holder(text)


def test_the_longest_name_and_file_are_taken_and_a_byte_more_is_not(document):
    text = json.dumps(document | {"name": "x" * limits.MAX_NAME})
    assert read_holder(text + " " * (MAX_FILE - len(text))).name == "x" * limits.MAX_NAME
    with pytest.raises(UsageError, match=str(MAX_FILE)):
        read_holder(text + " " * (MAX_FILE - len(text) + 1))


@pytest.mark.parametrize("name", ["", "a\x1bb", "x" * (limits.MAX_NAME + 1)])
def test_a_holder_has_a_name_that_can_be_shown(name):
    with pytest.raises(UsageError):
        Holder.of(name, Master(bytes(32)))


def test_more_than_half_sign_unless_somebody_says_otherwise(many):
    for count, needed in ((1, 1), (2, 2), (3, 2), (4, 3), (5, 3)):
        assert key_set(many[:count], 1).threshold == needed
    assert key_set(many[:3], 1, 3).threshold == 3


@pytest.mark.parametrize(("count", "threshold"), [(0, None), (6, None), (3, 0), (3, 4), (3, -1)])
def test_a_root_has_one_to_five_holders_and_a_threshold_they_can_reach(many, count, threshold):
    with pytest.raises(UsageError):
        key_set(many[:count], 1, threshold)


def test_nobody_holds_two_shares(many):
    with pytest.raises(UsageError, match="twice"):
        key_set([many[0], many[1], Holder("ben", many[0].keys)], 1)


def test_no_two_roots_share_a_key(many):
    sets = [set(key_set(many[:5], v).keys) for v in range(1, KEYS + 1)]
    assert all(not one & other for one, other in pairwise(sets))


def test_whose_a_root_is_is_told_of_every_choice_and_threshold(many):
    for count in (1, 3, 5):
        for threshold in range(1, count + 1):
            chosen = many[2 : 2 + count]
            digest = key_set(chosen, 7, threshold).digest
            found = recognise(digest, many[:MAX_HOLDERS], 7)
            assert found is not None
            assert (set(found.holders), found.keys.threshold) == (set(chosen), threshold)
            assert recognise(digest, many[:MAX_HOLDERS], 8) is None, "keys of another root"
            assert recognise(digest, [many[0], *chosen[1:]], 7) is None, "one is missing"


def test_so_many_holders_are_looked_at_and_no_more(many):
    last = max(many, key=lambda each: (each.name, each.keys))
    digest = key_set([last], 1).digest
    others = [each for each in many if each is not last]
    assert recognise(digest, [*others[: MAX_HOLDERS - 1], last], 1) is not None
    assert recognise(digest, [*others, last], 1) is None


def test_beyond_the_last_root_nothing_is_recognised(many):
    assert recognise(key_set(many[:1], KEYS).digest, many[:1], KEYS) is not None
    assert recognise(bytes(32), many[:1], KEYS + 1) is None
