import json
import time

import pytest

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.worker.lora_config import MOST_BYTES, parse

LAYER = "model.layers.3.self_attn.q_proj"


def config(**said):
    return parse(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16} | said).encode(), "x")


@pytest.mark.parametrize(
    ("said", "scale"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 16 / 8**0.5),
        ({"alpha_pattern": {"q_proj": 4}}, 0.5),
        ({"alpha_pattern": {"layers.3.self_attn.q_proj": 4}}, 0.5),
        ({"alpha_pattern": {"^model.layers.3.self_attn.q_proj": 4}}, 0.5),
        ({"alpha_pattern": {r"layers\.\d+\..*q_proj": 4, "q_proj": 1}}, 0.5),
        ({"alpha_pattern": {"proj": 4, "v_proj": 4, "layers.3": 4}}, 2.0),
        ({"lora_dropout": 0.1, "fan_in_fan_out": True, "target_modules": ".*"}, 2.0),
        ({"eva_config": {"rho": 2}, "init_lora_weights": "eva"}, 2.0),
    ],
)
def test_what_is_added_is_scaled_as_by_peft(said, scale):
    assert config(**said).scale(LAYER, 8) == pytest.approx(scale)


def test_the_scale_is_that_of_the_rank_of_the_layer_itself():
    made = config(rank_pattern={"q_proj": 2})
    assert made.ranks == {8, 2}
    assert made.scale(LAYER, 2) == 8.0


def test_who_says_no_alpha_gets_that_of_peft():
    assert parse(b'{"peft_type": "LORA", "r": 4}', "x").scale(LAYER, 4) == 2.0


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["mlp.experts"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"use_something_of_tomorrow": True}, "use_something_of_tomorrow"),
        ({"tomorrow_config": {"a": 1}}, "tomorrow_config"),
    ],
)
def test_what_would_be_half_applied_is_refused_by_its_name(said, named):
    with pytest.raises(UnsupportedError, match=named):
        config(**said)


@pytest.mark.parametrize(
    "said",
    [
        {"r": None},
        {"r": 0},
        {"r": -1},
        {"r": True},
        {"r": 10**9},
        {"r": "8"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": 10**400},
        {"lora_alpha": True},
        {"rank_pattern": {"q_proj": 0}},
        {"rank_pattern": [1]},
        {"alpha_pattern": {"q_proj": None}},
        {"alpha_pattern": "q_proj"},
        {"peft_type": None},
    ],
)
def test_numbers_that_cannot_be_are_malformed(said):
    with pytest.raises(MalformedError, match=r"adapter_config\.json of x"):
        config(**said)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (MOST_BYTES + 1)])
def test_a_file_that_is_no_configuration_is_malformed(text):
    with pytest.raises(MalformedError):
        parse(text, "x")


@pytest.mark.parametrize("pattern", ["(a+)+b", "(?=x)", "a|b", "[", ".*.*.*.*x", "a{9999}", "\\"])
def test_a_pattern_that_may_run_for_ever_is_refused(pattern):
    with pytest.raises(UnsupportedError, match="alpha_pattern"):
        config(alpha_pattern={pattern: 1})


def test_the_worst_pattern_that_is_tried_takes_little_time():
    made = config(alpha_pattern={".*a.*b": 1})
    begun = time.process_time()
    made.scale("a." * 200, 8)
    assert time.process_time() - begun < 0.5
