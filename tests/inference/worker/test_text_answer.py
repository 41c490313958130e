import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs p2phub[inference]")
from p2phub.errors import EngineError
from p2phub.inference.requests import Sampling
from p2phub.inference.worker.chat_tools import ToolReader
from p2phub.inference.worker.sampling import Chooser, Likely
from p2phub.inference.worker.text_answer import Answer, Ask, Vocabulary
from tests.inference.worker.tiny_text import Heard, make_tokenizer

TOKENIZER = make_tokenizer()
VOCABULARY = Vocabulary(TOKENIZER, [1])


def encode(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False).input_ids)


def make(heard: Heard, **options) -> Answer:
    ask = Ask(prompt=[5, 6, 7], limit=100, chooser=Chooser(Sampling(temperature=0)), **options)
    return Answer(ask, VOCABULARY, heard)


def run(text: str, *, last: int | None = 1, **options) -> Heard:
    heard = Heard()
    answer = make(heard, **options)
    for token in encode(text) + ([] if last is None else [last]):
        if answer.take([token]):
            return heard
    answer.finish(last)
    return heard


def test_pieces_are_the_text_and_the_end_says_why():
    heard = run("où est le café 🐈")
    assert heard.text == "où est le café 🐈"
    assert heard.end.reason == "stop"
    assert heard.end.prompt_tokens == 3
    assert heard.end.completion_tokens == len(encode("où est le café 🐈")) + 1
    assert run("the cat", last=None).end.reason == "length"


def test_a_stop_text_over_a_border_of_tokens_ends_it_and_does_not_leak():
    heard = run("the cat sat on the mat", stop=("t on",))
    assert heard.text == "the cat sa"
    assert (heard.end.reason, heard.end.stopped_by) == ("stop", "t on")


def test_text_that_could_become_a_stop_text_comes_out_at_the_end():
    assert run("the cat", stop=("cats",)).text == "the cat"


def test_calls_of_tools_are_no_text_and_name_the_reason():
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    heard = run(f"Well. {call}", tools=ToolReader())
    assert heard.text == "Well. "
    assert [each["function"]["name"] for piece in heard.pieces for each in piece.tool_calls] == [
        "now"
    ]
    assert heard.end.reason == "tool_calls"


def test_a_call_that_only_the_end_completes_is_a_call_too():
    heard = run('{"name": "now", "arguments": {}}', tools=ToolReader())
    assert (heard.text, heard.end.reason) == ("", "tool_calls")


def test_log_probabilities_of_what_was_cut_off_are_not_told():
    heard = Heard()
    answer = make(heard, stop=("mat",), logprobs=True)
    tokens = encode("the mat")
    answer.ask.chooser.likely.extend(Likely(-1.0, ()) for _ in tokens)
    for token in tokens:
        answer.take([token])
    told = b"".join(each.token for piece in heard.pieces for each in piece.tokens)
    assert (told, heard.text) == (b"the", "the ")


def test_bytes_of_a_token_that_is_a_part_of_a_character_are_told():
    tokens = encode("🐈")
    told = [VOCABULARY.told(token, Likely(-1.0, ())) for token in tokens]
    assert b"".join(each.token for each in told) == "🐈".encode()


@pytest.mark.parametrize("first", ["fail", "finish", "stop"])
def test_there_is_one_end_whoever_comes_second(first):
    heard = Heard()
    answer = make(heard, stop=("c",))
    ends = {
        "fail": lambda: answer.fail(EngineError("gone")),
        "finish": lambda: answer.finish(1),
        "stop": lambda: answer.take(encode("a cat")),
    }
    ends[first]()
    for end in ends.values():
        end()
    assert heard.ends == 1
    assert answer.over


def test_an_echo_comes_before_everything():
    assert run(" sat", echo="the cat").text == "the cat sat"


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_any_tokens_read_as_the_tokenizer_reads_them(tokens):
    reader = VOCABULARY.reader([], tools=False)
    text = "".join(reader.feed(token) for token in tokens) + reader.flush()
    assert text == TOKENIZER.decode(tokens, skip_special_tokens=True)
