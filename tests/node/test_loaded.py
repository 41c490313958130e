"""What `ps` tells of a model is what it does, not what was asked for."""

import pytest

from p2phub.inference.engine import ModelInfo
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.node.loaded import why_not_compiled


@pytest.mark.parametrize(
    ("wanted", "compiled", "said", "told"),
    [
        (False, False, "", ""),
        (True, True, "", ""),
        (True, False, "there is no g++", "there is no g++"),
        (True, False, "", "llamacpp does without"),
        (False, False, "there is no g++", ""),
    ],
)
def test_what_should_run_compiled_and_does_not_says_why(wanted, compiled, said, told):
    spec = ModelSpec("", "lab/x", "llamacpp", "text-generation", (), RunOptions(compile=wanted))
    info = ModelInfo("llamacpp", "cpu", "", (), compiled=compiled, not_compiled=said)
    assert why_not_compiled(spec, info) == told


def test_a_model_that_still_loads_may_yet_be_compiled():
    spec = ModelSpec("", "lab/x", "transformers", "text-generation", (), RunOptions(compile=True))
    assert why_not_compiled(spec, None) == ""
