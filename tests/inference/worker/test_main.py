"""Which backend runs a model."""

import pytest

from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.main import backend_of


@pytest.mark.parametrize(
    ("engine", "task", "settings", "module"),
    [
        ("transformers", "text-generation", {}, "text"),
        ("transformers", "feature-extraction", {}, "tasks"),
        ("transformers", "fill-mask", {}, "tasks"),
        ("llamacpp", "text-generation", {}, "llama"),
        ("llamacpp", "feature-extraction", {}, "llama"),
        ("transformers", "text-generation", {"backend": "echo"}, "echo"),
    ],
)
def test_a_model_runs_in_the_backend_of_its_engine_and_task(engine, task, settings, module):
    spec = ModelSpec("", "lab/x", engine, task, (), settings=settings)
    assert backend_of(spec) == module
