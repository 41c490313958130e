"""Lists of whom to trust: good as a whole or not at all, and never stronger than what is pinned."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_TRUST_ENTRIES, MAX_TRUST_LIST
from p2phub.trust.aliases import Aliases
from p2phub.trust.lab_list import Comparison, Conflict, Entry, compare, read_list, write_list
from p2phub.trust.policy import Rule

LAB, THIEF, OTHER = (PublisherId(bytes([n]) * 32) for n in range(3))


def text(*publishers, **more):
    document = {"p2phub": "trust list", "version": 1, "publishers": list(publishers)}
    return json.dumps(document | more)


def one(**keys):
    return {"alias": "lab", "publisher_id": str(LAB)} | keys


def test_a_list_reads_what_it_writes():
    entries = (Entry(LAB, "lab", Rule("warn", "refuse")), Entry(OTHER, None, Rule("off")))
    assert read_list(write_list([*entries, Entry(THIEF, "x")])) == (*entries, Entry(THIEF, "x"))
    assert read_list(write_list([])) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({"publishers": []}),
        text(version=2),
        text(version=True),
        text(version="1"),
        text(p2phub="something else"),
        text(more=1),
        text("lab"),
        text({"alias": "lab"}),
        text(one(alias=1)),
        text(one(policy="warn")),
        text(one(stale="warn")),
        text(one(policy="strict", stale="warn")),
        text(one(policy="warn", stale="off")),
        text(one(added_later="x")),
        text(one(alias="")),
        text(one(alias="Lab")),
        text(one(alias="lаb")),  # noqa: RUF001 - that is the attack: a Cyrillic letter
        text(one(alias="lab\u200b")),
        text(one(alias="a" * 40)),
        text(one(publisher_id=str(LAB)[:-1])),
        text(one(publisher_id=str(LAB)[:-1] + "b")),
        text(one(publisher_id=str(LAB).upper())),
        text(one(), one(publisher_id=str(THIEF))),
        text(one(policy="off", stale="warn"), one(alias="b", policy="warn", stale="warn")),
        '{"p2phub": "trust list", "version": 1, "version": 1, "publishers": []}',
        text(one())[:-1],
        text(one()) + "x",
        "\ud800",
    ],
)
def test_a_list_with_one_mistake_is_worth_nothing(wrong):
    with pytest.raises(UsageError) as caught:
        read_list(wrong)
    assert caught.value.remedy


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_whatever_comes_is_a_list_or_an_error_of_ours(data):
    try:
        read_list(data)
    except UsageError:
        return


def test_a_list_names_as_many_publishers_as_it_may():
    many = [{"publisher_id": str(LAB)}] * (MAX_TRUST_ENTRIES + 1)
    assert len(read_list(text(*many[:-1]))) == MAX_TRUST_ENTRIES
    with pytest.raises(UsageError, match="10000"):
        read_list(text(*many))


def test_a_list_is_as_large_as_it_may_be():
    padded = text(one()).ljust(MAX_TRUST_LIST)
    assert len(read_list(padded)) == 1
    with pytest.raises(UsageError, match="4 MiB"):
        read_list(padded + " ")


class TestBesideWhatIsKnown:
    def test_a_known_alias_is_never_pinned_again(self):
        found = compare([Entry(THIEF, "lab", Rule("off"))], Aliases({"lab": LAB}), {})
        assert found == Comparison((), 0, (Conflict("lab", str(LAB), str(THIEF)),))

    def test_a_rule_that_was_laid_down_here_stays(self):
        here = {LAB: Rule("enforce", "refuse")}
        found = compare([Entry(LAB, "lab", Rule("off"))], Aliases({"lab": LAB}), here)
        conflict = Conflict("lab", "enforce, stale refuse", "off, stale warn")
        assert found == Comparison((), 0, (conflict,))

    def test_what_is_new_is_added_though_the_rest_conflicts(self):
        here = {LAB: Rule("enforce")}
        entries = [Entry(LAB, "new", Rule("off")), Entry(OTHER, "other")]
        found = compare(entries, Aliases({"lab": LAB}), here)
        assert found.new == (Entry(LAB, "new"), Entry(OTHER, "other"))
        assert len(found.conflicts) == 1

    def test_what_says_the_same_is_known(self):
        here = {LAB: Rule("warn")}
        entries = [Entry(LAB, "lab", Rule("warn")), Entry(LAB, "lab"), Entry(LAB)]
        assert compare(entries, Aliases({"lab": LAB}), here) == Comparison((), 3, ())

    def test_a_rule_for_a_pinned_publisher_without_one_is_new(self):
        found = compare([Entry(LAB, "lab", Rule("off"))], Aliases({"lab": LAB}), {})
        assert found == Comparison((Entry(LAB, None, Rule("off")),), 0, ())
