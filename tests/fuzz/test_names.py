"""Strangers' words about names: each is read, or is an error of ours, and has one spelling.

The invariants: whatever comes is a value or our own error; what was read reads as itself again; one
changed character of an id does not name its publisher.
"""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, P2PHubError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_DOMAIN
from p2phub.trust.aliases import Aliases
from p2phub.trust.domains import (
    claimed_domain,
    listed_in_file,
    listed_in_texts,
    proof_file,
    proof_text,
    read_domain,
)
from p2phub.trust.lab_list import Entry, compare, read_list, write_list

LAB = PublisherId(bytes(range(32)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
labels = st.text(st.characters(), min_size=1, max_size=70)


@given(st.lists(labels, min_size=1, max_size=6).map(".".join) | st.text(max_size=400))
def test_a_domain_has_one_spelling_in_plain_letters_or_is_none(text):
    with suppress(UsageError):
        domain = read_domain(text)
        assert read_domain(domain) == domain == claimed_domain({"domain": text})
        assert domain.isascii()
        assert domain.isprintable()
        assert domain == domain.lower()
        assert len(domain) <= MAX_DOMAIN
        assert not set(domain) - set("abcdefghijklmnopqrstuvwxyz0123456789-.")


@given(st.binary(max_size=2000) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_domain_sends_is_a_list_or_refused(data):
    with suppress(MalformedError):
        assert all(isinstance(each, PublisherId) for each in listed_in_file(data))


@given(st.lists(st.text()))
def test_other_text_records_are_no_business_of_ours(texts):
    assert listed_in_texts(texts) == frozenset()
    assert listed_in_texts([*texts, proof_text(LAB)]) == {LAB}


@given(st.integers(0, len(proof_file(LAB)) - 1), st.characters(codec="ascii"))
def test_one_changed_character_of_an_id_in_a_file_proves_nothing(at, character):
    text = proof_file(LAB)
    changed = text[:at] + character + text[at + 1 :]
    with suppress(MalformedError):
        assert (LAB in listed_in_file(changed.encode())) <= (str(LAB) in changed)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_one_changed_character_of_a_list_never_moves_a_pin(at, character):
    text = write_list([Entry(LAB, "lab")])
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]
    with suppress(P2PHubError):
        found = compare(read_list(changed), Aliases({"lab": LAB}), {})
        assert all(entry.alias != "lab" or entry.publisher == LAB for entry in found.new)
