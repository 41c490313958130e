import json
import sys

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
pytest.importorskip("llguidance", reason="needs p2phub[inference]")
from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.worker.constrained import MAX_SCHEMA, Grammars
from tests.inference.worker.tiny_text import make_tokenizer

TOKENIZER = make_tokenizer()
WIDTH = len(TOKENIZER) + 5
SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "y"]}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars():
    return Grammars(TOKENIZER, WIDTH, [1])


def write(matcher, prefer) -> str:
    """What a model writes that takes, of what is allowed, what it prefers."""
    tokens = []
    for _ in range(60):
        allowed = matcher.allowed(WIDTH).nonzero().flatten().tolist()
        if 1 in allowed:
            break
        tokens.append(prefer(allowed))
        matcher.take(tokens[-1])
    return TOKENIZER.decode(tokens)


@pytest.mark.parametrize("prefer", [min, max])
def test_whatever_a_model_would_rather_write_it_fits_the_schema(grammars, prefer):
    assert json.loads(write(grammars.matcher(SCHEMA), prefer))["a"] in ("x", "y")


def test_an_empty_schema_is_any_object(grammars):
    assert isinstance(json.loads(write(grammars.matcher({}), max)), dict)


def test_rows_of_the_model_that_are_no_token_are_never_allowed(grammars):
    assert not grammars.matcher(SCHEMA).allowed(WIDTH)[len(TOKENIZER) :].any()


def test_one_answer_under_way_is_not_moved_by_another(grammars):
    one, two = grammars.matcher(SCHEMA), grammars.matcher(SCHEMA)
    before = two.allowed(WIDTH)
    one.take(TOKENIZER("{").input_ids[0])
    assert two.allowed(WIDTH).equal(before)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/gone"}, ["a"]])
def test_a_schema_that_cannot_be_held_to_says_why(grammars, schema):
    with pytest.raises(UsageError, match="schema"):
        grammars.matcher(schema)


def test_a_schema_without_end_is_not_read(grammars):
    with pytest.raises(UsageError, match="characters"):
        grammars.matcher({"description": "x" * MAX_SCHEMA})


def test_without_llguidance_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UnsupportedError) as told:
        Grammars(TOKENIZER, WIDTH, [1]).matcher({})
    assert "p2phub[inference]" in told.value.remedy
