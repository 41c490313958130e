"""Requests become dataclasses, or an error that names the key."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import UsageError
from p2phub.gateway.operations import OPERATIONS
from p2phub.gateway.shapes import from_json, from_query, schema_of


@dataclass(frozen=True)
class Sample:
    name: str
    """What it is called."""
    count: int = 0
    folder: Path | None = None
    kind: Literal["one", "two"] = "one"
    tags: tuple[str, ...] = ()


def test_a_request_becomes_its_dataclass():
    data = {"name": "x", "count": 3, "folder": "/a", "kind": "two", "tags": ["p", "q"]}
    assert from_json(Sample, data) == Sample("x", 3, Path("/a"), "two", ("p", "q"))


def test_a_query_string_becomes_its_dataclass():
    pairs = [("name", "7"), ("count", "3"), ("tags", "p"), ("tags", "q")]
    assert from_query(Sample, pairs) == Sample("7", 3, tags=("p", "q"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "object"),
        ([], "object"),
        ({}, '"name"'),
        ({"name": None}, "text, not None"),
        ({"name": "x", "count": True}, "a whole number, not True"),
        ({"name": "x", "count": 1.0}, "a whole number"),
        ({"name": "x", "folder": 1}, "a path or null"),
        ({"name": "x", "kind": "three"}, '"one" or "two"'),
        ({"name": "x", "kind": []}, '"one" or "two"'),
        ({"name": "x", "tags": "p"}, "a list of texts"),
        ({"name": "x", "tags": [1]}, "text, not 1"),
        ({"name": "x", "nmae": "y"}, '"nmae"'),
    ],
)
def test_what_does_not_fit_is_named(data, says):
    with pytest.raises(UsageError) as caught:
        from_json(Sample, data)
    assert says in caught.value.message


@pytest.mark.parametrize("pairs", [[("name", "x"), ("count", "three")], [("name", "x")] * 2])
def test_a_query_that_does_not_fit_is_refused(pairs):
    with pytest.raises(UsageError):
        from_query(Sample, pairs)


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 10**400])
def test_a_number_that_no_database_holds_is_refused(number):
    with pytest.raises(UsageError, match="9007199254740991 is the most"):
        from_json(Sample, {"name": "x", "count": number})
    assert from_json(Sample, {"name": "x", "count": 2**53 - 1}).count == 2**53 - 1


def test_a_huge_value_is_not_repeated_whole():
    with pytest.raises(UsageError) as caught:
        from_json(Sample, {"name": ["x" * 10_000]})
    assert len(caught.value.message) < 200


def test_the_schema_says_what_the_dataclass_says():
    schema = schema_of(Sample)
    assert schema["required"] == ["name"]
    assert schema["properties"]["name"] == {"type": "string", "description": "What it is called."}
    assert schema["properties"]["kind"]["enum"] == ["one", "two"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(["reference", "to", "include", "name", "folder", "kind", "limit", "alias"])


@given(st.sampled_from([each.takes for each in OPERATIONS]), JSON | st.dictionaries(KEYS, JSON))
def test_any_json_is_a_request_or_a_usage_error(shape, data):
    with contextlib.suppress(UsageError):
        assert isinstance(from_json(shape, data), shape)
