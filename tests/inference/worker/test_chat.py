import pytest

pytest.importorskip("jinja2", reason="needs p2phub[inference]")
from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import Chat
from p2phub.inference.worker.chat import Prompts, plain

USER = {"role": "user", "content": "hi"}


class Letters:
    """A tokenizer with a token for each letter, and a template that only shows what it got."""

    chat_template = "yes"

    def __init__(self, template: str = "yes") -> None:
        self.chat_template = template
        self.asked: dict = {}

    def get_vocab(self) -> dict[str, int]:
        return {chr(each): each for each in range(128)}

    def __call__(self, text: str, add_special_tokens: bool = True):
        self.input_ids = [0] * add_special_tokens + [ord(letter) for letter in text]
        return self

    def apply_chat_template(self, messages, **options) -> str:
        self.asked = options
        if messages[0]["role"] == "robot":
            raise ValueError("no robots")
        return "".join(f"<{each['role']}>{each['content']}" for each in messages)


def test_a_text_gets_the_special_tokens_of_the_tokenizer_and_a_conversation_its_own():
    prompts = Prompts(Letters(), 128)
    assert prompts.tokens("ab") == [0, 97, 98]
    assert prompts.tokens(Chat((USER,))) == [ord(each) for each in "<user>hi"]
    assert prompts.tokens((5, 6)) == [5, 6]


def test_a_token_that_the_model_does_not_know_never_reaches_it():
    with pytest.raises(UsageError, match="token 128 is not one of the 128"):
        Prompts(Letters(), 128).tokens((1, 128))
    with pytest.raises(UsageError, match="token -1"):
        Prompts(Letters(), 128).tokens((-1,))


def test_how_long_a_huge_prompt_is_at_least_is_told_without_reading_it():
    prompts = Prompts(Letters(), 128)
    assert prompts.at_least("x" * 1000) == 1000
    assert prompts.at_least((1,) * 7) == 7
    assert prompts.at_least(Chat((USER, USER))) == 4


def test_a_model_without_a_template_says_how_else_to_ask():
    with pytest.raises(UnsupportedError) as told:
        Prompts(Letters(""), 128).tokens(Chat((USER,)))
    assert "/v1/completions" in told.value.remedy


def test_a_client_cannot_bring_a_template_of_its_own():
    for name in ("chat_template", "tokenize"):
        with pytest.raises(UsageError, match=name):
            Prompts(Letters(), 128).tokens(Chat((USER,), template_arguments={name: "x"}))


def test_a_template_that_refuses_is_a_fault_of_the_request():
    with pytest.raises(UsageError, match="no robots"):
        Prompts(Letters(), 128).tokens(Chat(({"role": "robot", "content": ""},)))


def test_tools_and_arguments_reach_the_template_and_none_means_none():
    letters = Letters()
    tools = ({"type": "function", "function": {"name": "now"}},)
    Prompts(letters, 128).tokens(
        Chat((USER,), tools, template_arguments={"enable_thinking": False})
    )
    assert letters.asked["tools"] == list(tools)
    assert letters.asked["enable_thinking"] is False
    Prompts(letters, 128).tokens(Chat((USER,), tools, tool_choice="none"))
    assert letters.asked["tools"] is None


def test_a_part_that_is_no_text_is_refused_by_its_type():
    with pytest.raises(UnsupportedError, match="image_url"):
        plain([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])


@pytest.mark.parametrize("message", [{}, {"role": 3}, "hi", {"role": "user", "content": 5}])
def test_a_message_that_is_none_is_a_fault_of_the_request(message):
    with pytest.raises(UsageError):
        plain([message])


def test_the_arguments_of_an_earlier_call_become_a_map():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    (made,) = plain([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert made["content"] == ""
    assert made["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    call["function"]["arguments"] = "{"
    with pytest.raises(UsageError, match="arguments in JSON"):
        plain([{"role": "assistant", "tool_calls": [call]}])
