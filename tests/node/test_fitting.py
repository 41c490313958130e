"""What a model is said to need, from numbers that a stranger wrote."""

import pytest

from p2phub.node.fitting import cache_of

SMOL = {
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
}
BERT = {"num_hidden_layers": 6, "num_attention_heads": 12, "hidden_size": 384}


def test_keys_and_values_of_a_token_are_counted_by_heads_that_keep_them():
    assert cache_of(SMOL, tokens=1) == 2 * 30 * 3 * 64 * 2
    assert cache_of(BERT, tokens=1) == 2 * 6 * 12 * 32 * 2
    assert cache_of(SMOL | {"head_dim": 128}, tokens=2) == 2 * 2 * 30 * 3 * 128 * 2


def test_a_model_with_pictures_is_described_by_its_part_for_text():
    assert cache_of({"text_config": SMOL, "num_hidden_layers": 1}, tokens=1) == 46080 // 2


@pytest.mark.parametrize("wrong", ["9", -1, 0, True, 1 << 40, None, [3], 2.5])
def test_numbers_that_are_none_need_nothing(wrong):
    assert cache_of(SMOL | {"num_hidden_layers": wrong}, tokens=10) == 0
    assert cache_of({"text_config": wrong} | SMOL, tokens=1) > 0
    assert cache_of(SMOL | {"num_attention_heads": wrong}, tokens=1) >= 0
