"""What strangers write never breaks an answer."""

import json

import pytest

from p2phub.gateway.hub_json import Told, cleaned


@pytest.mark.parametrize(
    "value",
    [
        {"a": [float("nan"), float("inf"), 1.5]},
        {"a": "\ud800 half"},
        {5: {None: "x"}},
        [{"deep": ({"x": float("-inf")},)}],
    ],
)
def test_any_value_is_json_that_clients_read(value):
    told = json.loads(Told(value).body)
    assert "NaN" not in Told(value).body.decode()
    assert cleaned(told) == told
