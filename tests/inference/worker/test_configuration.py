"""What a stranger wrote into config.json: an error of ours, whatever it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.configuration import read_config

ROOT = Path(__file__).parents[3]
SPEC = ModelSpec("", "lab/x", "transformers", "text-generation", ())


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_what_is_no_json_is_an_error_and_ends_no_worker(tmp_path, text):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(MalformedError, match="lab/x"):
        read_config(tmp_path, SPEC)


def test_a_missing_one_is_an_error(tmp_path):
    with pytest.raises(MalformedError):
        read_config(tmp_path, SPEC)


@pytest.mark.parametrize("text", ["[]", "7", "{}", '{"model_type": ["llama"]}'])
def test_a_type_that_is_none_is_not_known(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnsupportedError, match="not known"):
        read_config(tmp_path, SPEC)


def test_code_of_a_release_does_not_run_unasked(tmp_path):
    said = '{"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}'
    (tmp_path / "config.json").write_text(said)
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UnsupportedError, match="may not run"):
        read_config(tmp_path, SPEC)


@pytest.mark.slow
def test_what_only_training_needs_takes_no_memory(tmp_path):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text('__version__ = "1.17"')
    (tmp_path / "scipy" / "optimize.py").write_text("linear_sum_assignment = len")
    program = (
        "import sys, p2phub.inference.worker.text, transformers.models.bert.modeling_bert;"
        "print('scipy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "False\n", done.stderr[-2000:]
