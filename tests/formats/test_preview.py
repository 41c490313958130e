"""The first rows of tables: what is cut is left out, and what is none is said to be none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.formats.preview import MAX_CELL, MAX_COLUMNS, preview


def rows(name, head, *, whole=True, most=10):
    return preview(name, head, whole=whole, most=most)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ",")])
def test_values_between_separators(name, separator):
    head = f'n{separator}text\r\n1{separator}"a\nb"\r\n2{separator}c'.encode()
    found = rows(name, head)
    assert found.columns == ("n", "text")
    assert found.rows == ({"n": "1", "text": "a\nb"}, {"n": "2", "text": "c"})
    assert not found.partial


def test_lines_of_json():
    found = rows("a.jsonl", b'{"n": 1}\n\n{"n": 2, "deep": {"x": [1]}}\n')
    assert found.columns == ("n", "deep")
    assert found.rows[1]["deep"] == {"x": [1]}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_row_that_is_cut_is_left_out(name):
    head = b"n\n1\n2" if name == "a.csv" else b'{"n": "1"}\n{"n": "2'
    found = rows(name, head, whole=False)
    assert found.rows == ({"n": "1"},)
    assert found.partial


def test_a_value_in_quotes_that_goes_on_behind_the_beginning_is_left_out():
    found = rows("a.csv", b'n,text\n1,one\n2,"two\nthree\nfo', whole=False)
    assert found.rows == ({"n": "1", "text": "one"},)


def test_no_more_rows_than_are_asked_for():
    found = rows("a.csv", b"n\n" + b"1\n" * 50, most=7)
    assert (len(found.rows), found.partial) == (7, True)
    found = rows("a.csv", b"n\n" + b"1\n" * 7, most=7)
    assert (len(found.rows), found.partial) == (7, False)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.jsonl", b"[1]"),
        ("a.jsonl", b"{"),
        ("a.jsonl", b"[" * 100_000),
        ("a.csv", ("x," * (MAX_COLUMNS + 1)).encode()),
        ("a.jsonl", json.dumps({str(n): n for n in range(MAX_COLUMNS + 1)}).encode()),
        ("a.csv", b"n\n" + b"x" * 200_000 + b"\n"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(name, head):
    with pytest.raises(MalformedError):
        rows(name, head)


def test_a_file_that_is_no_table_by_its_name():
    with pytest.raises(UnsupportedError):
        rows("model.safetensors", b"n\n1\n")


def test_long_values_are_cut():
    long = "x" * (MAX_CELL + 1)
    found = rows("a.jsonl", json.dumps({"text": long, "deep": [long]}).encode())
    assert len(found.rows[0]["text"]) == len(found.rows[0]["deep"]) == MAX_CELL


@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]), st.booleans())
def test_any_bytes_are_rows_or_refused(data, name, whole):
    try:
        found = rows(name, data, whole=whole)
    except MalformedError:
        return
    assert len(found.rows) <= 10
