from hypothesis import given
from hypothesis import strategies as st

from p2phub.inference.worker.text_decode import ByteDetokenizer, Detokenizer


def read_bytes(ids) -> str:
    """A tokenizer with a token for each byte."""
    return bytes(ids).decode(errors="replace")


def read_pieces(ids) -> str:
    """A sentencepiece tokenizer: the space before the first word is dropped."""
    return "".join(["▁one", "▁two", "three"][i] for i in ids).replace("▁", " ").removeprefix(" ")


@given(st.text(max_size=40))
def test_the_bits_together_are_the_text_and_each_is_whole(text):
    decoder = Detokenizer(read_bytes)
    bits = [decoder.feed(byte) for byte in text.encode()]
    assert "".join(bits) + decoder.flush() == text
    assert all("�" not in bit for bit in bits if "�" not in text)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_that_are_no_text_lose_nothing_before_and_after_them(noise):
    decoder = Detokenizer(read_bytes)
    text = "".join([decoder.feed(byte) for byte in [*b"ab", *noise, *b"yz"]]) + decoder.flush()
    assert text.startswith("ab")
    assert text.endswith("yz")


def test_an_unfinished_character_at_the_end_is_told_as_such():
    decoder = Detokenizer(read_bytes)
    assert decoder.feed(0xE2) == ""
    assert decoder.flush() == "�"


def test_words_keep_their_spaces_and_the_first_one_goes_on_from_the_prompt():
    alone, after = Detokenizer(read_pieces), Detokenizer(read_pieces, prompt=[0, 2])
    assert [alone.feed(i) for i in (0, 1, 2)] == ["one", " two", "three"]
    assert [after.feed(i) for i in (0, 1, 2)] == [" one", " two", "three"]


def test_special_tokens_are_no_text():
    decoder = Detokenizer(read_bytes, skip=frozenset([0]), prompt=[0, 0])
    assert [decoder.feed(i) for i in (0, 65, 0, 66)] == ["", "A", "", "B"]


def test_a_model_that_writes_no_characters_does_not_hold_back_its_text_for_ever():
    decoder = Detokenizer(read_bytes)
    assert "".join(decoder.feed(0x80) for _ in range(40)) != ""


@given(st.lists(st.binary(max_size=4), max_size=20))
def test_tokens_that_are_bytes_read_as_all_of_their_bytes_together(parts):
    reader = ByteDetokenizer(parts.__getitem__)
    bits = [reader.feed(at) for at in range(len(parts))]
    assert "".join(bits) + reader.flush() == b"".join(parts).decode(errors="replace")


def test_special_tokens_are_no_bytes():
    reader = ByteDetokenizer([b"<s>", b"a"].__getitem__, skip=frozenset([0]))
    assert [reader.feed(at) for at in (0, 1, 0)] == ["", "a", ""]
