"""What transformers and peft write for a model and an adapter for it, with random bytes in it."""

import json
from pathlib import Path

from p2phub.testing.files import make_safetensors

LORA = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "org/somewhere-else",
}
LLAMA = {"architectures": ["LlamaForCausalLM"]}
CARD = b"---\nbase_model: org/base-on-the-card\n---\n"


def model_files(seed: int | str = 1) -> dict[str, bytes]:
    """Of a model."""
    return {
        "config.json": json.dumps(LLAMA).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": make_safetensors({"weight": ("F32", (8, 8))}, seed=seed),
    }


def adapter_files(seed: int | str = 1) -> dict[str, bytes]:
    """Of an adapter, with code and a checkpoint beside it, as people leave them there."""
    weights = {f"base_model.model.q_proj.lora_{half}.weight": ("F32", (4, 4)) for half in "AB"}
    return {
        "adapter_config.json": json.dumps(LORA).encode(),
        "adapter_model.safetensors": make_safetensors(weights, seed=seed),
        "checkpoint-1/adapter_model.safetensors": make_safetensors(weights, seed="old"),
        "modeling.py": b"raise SystemExit",
        "README.md": CARD,
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def model_folder(folder: Path, seed: int | str = 1) -> Path:
    """A model in a folder."""
    return write(folder, model_files(seed))


def adapter_folder(folder: Path, seed: int | str = 1) -> Path:
    """An adapter in a folder."""
    return write(folder, adapter_files(seed))
