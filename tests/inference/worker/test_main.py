"""Which backend runs a model."""

import socket

import pytest

from p2phub.errors import UnsupportedError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.worker.main import Worker, backend_of


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


def test_an_engine_without_adapters_says_which_has_them():
    class Backend:
        info = ModelInfo("llamacpp", "cpu", "Q4_1", ("text-generation",))

    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(ours)
        for change in (worker._attach, worker._detach):
            with pytest.raises(UnsupportedError, match="engine transformers, not in llamacpp"):
                change(Backend(), Adapter("poet", ()))
