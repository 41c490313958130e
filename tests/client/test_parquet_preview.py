"""Rows of Parquet become JSON, whatever is in them."""

import datetime
import decimal
import json

import pytest

from p2phub.client import parquet_preview
from p2phub.client.parquet_preview import first_rows, plain

pyarrow = pytest.importorskip("pyarrow", reason="it is in the extra clients")
parquet = pytest.importorskip("pyarrow.parquet", reason="it is in the extra clients")


def written(tmp_path, columns):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    return parquet.ParquetFile(path)


def test_the_first_rows_and_no_more(tmp_path):
    told = json.loads(first_rows(written(tmp_path, {"n": range(95)}), 12))
    assert told["columns"] == ["n"]
    assert told["rows"] == [{"n": n} for n in range(12)]
    assert told["partial"] is True


def test_all_of_a_small_table(tmp_path):
    told = json.loads(first_rows(written(tmp_path, {"n": [1, 2]}), 100))
    assert (len(told["rows"]), told["partial"]) == (2, False)


def test_an_answer_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_preview, "MAX_ANSWER", 1000)
    told = json.loads(first_rows(written(tmp_path, {"text": ["x" * 300] * 10}), 10))
    assert 0 < len(told["rows"]) < 4
    assert told["partial"] is True


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), None),
        (b"\0\1", "AAE="),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (decimal.Decimal("1.5"), "1.5"),
        ({"deep": [float("inf")]}, {"deep": [None]}),
    ],
)
def test_a_value_that_json_has_no_word_for(value, told):
    assert plain(value) == told
