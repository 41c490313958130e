"""What llama.cpp says went wrong comes out as an error of ours."""

import sys

import pytest

from p2phub.errors import ContextError, EngineError, UnsupportedError, UsageError
from p2phub.inference.worker.llama_server import LlamaServer, Plan, error_of


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"code": 400, "type": "exceed_context_size_error", "n_ctx": 8}, ContextError),
        ({"code": 500, "message": "input (9 tokens) is too large to process"}, ContextError),
        ({"code": 501, "type": "not_supported_error", "message": "no"}, UnsupportedError),
        ({"code": 400, "type": "invalid_request_error", "message": "no"}, UsageError),
        ({"code": 500, "type": "server_error", "message": "no"}, EngineError),
        ({}, EngineError),
    ],
)
def test_each_kind_of_error(told, kind):
    assert type(error_of(told)) is kind


def test_without_xllamacpp_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UnsupportedError) as caught:
        LlamaServer(Plan((3,), 512, 1, 1))
    assert "p2phub[llamacpp]" in caught.value.remedy


@pytest.mark.parametrize("missing", [True, False])
def test_a_model_that_cannot_be_loaded_leaves_no_folder_behind(monkeypatch, tmp_path, missing):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if missing:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
    else:
        pytest.importorskip("xllamacpp")
        monkeypatch.setattr(LlamaServer, "_parameters", interrupted)
    with pytest.raises(UnsupportedError if missing else KeyboardInterrupt):
        LlamaServer(Plan((3,), 512, 1, 1))
    assert list(tmp_path.iterdir()) == []


def interrupted(server, plan):
    raise KeyboardInterrupt
