import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import UsageError
from p2phub.inference.worker.chat_tools import ToolReader, call_schema

CALL = '{"name": "add", "arguments": {"a": 1}}'
HERMES = f"<tool_call>\n{CALL}\n</tool_call>"
TOOLS = (
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "now"}},
)


def read(bits, **options) -> tuple[str, list[str]]:
    reader = ToolReader(**options)
    told = [*[reader.feed(bit) for bit in bits], reader.flush()]
    calls = [call["function"]["name"] for _, calls in told for call in calls]
    return "".join(text for text, _ in told), calls


@pytest.mark.parametrize(
    ("written", "text", "names"),
    [
        (HERMES, "", ["add"]),
        (f"Let me. {HERMES}{HERMES} Done", "Let me.  Done", ["add", "add"]),
        (f"[TOOL_CALLS][{CALL}, {CALL}]", "", ["add", "add"]),
        ('<|python_tag|>{"name": "now", "parameters": {}}', "", ["now"]),
        ('{"name": "now", "parameters": {}}', "", ["now"]),
        ("<tool_call>not json</tool_call>", "<tool_call>not json</tool_call>", []),
        ("<tool_call>{", "<tool_call>{", []),
        ('{"just": "json"}', '{"just": "json"}', []),
        ("a < b and [TOOL", "a < b and [TOOL", []),
        (f"see {CALL}", f"see {CALL}", []),
    ],
)
def test_calls_of_each_family_are_told_from_text_at_any_border(written, text, names):
    for bits in ([written], list(written), [written[:7], written[7:]]):
        assert read(bits) == (text, names)


@given(st.text("<tol_ca>{}[]TOLCAS ab", max_size=40))
def test_what_is_no_call_is_text_to_the_last_character(text):
    assert read(list(text)) == (text, [])


def test_the_arguments_are_a_text_of_json_and_each_call_has_its_own_id():
    (_, calls) = ToolReader().feed(HERMES + HERMES)
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"a": 1}, {"a": 1}]
    assert calls[0]["id"] != calls[1]["id"]


def test_a_call_is_told_when_it_is_complete_and_not_at_the_end():
    reader = ToolReader()
    assert reader.feed(HERMES[:-1]) == ("", ())
    assert len(reader.feed(HERMES[-1])[1]) == 1


def test_a_named_function_leaves_only_itself_to_call():
    schema = call_schema(TOOLS, {"type": "function", "function": {"name": "now"}})
    assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == ["now"]
    assert len(call_schema(TOOLS, "required")["anyOf"]) == 2


def test_a_function_that_is_not_offered_cannot_be_demanded():
    with pytest.raises(UsageError, match="'gone'"):
        call_schema(TOOLS, {"function": {"name": "gone"}})
