"""LoRA adapters of random numbers, as PEFT would save them: files in memory, and on a disk."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from p2phub.inference.spec import Adapter
from tests.inference.worker.tiny_text import Files

PREFIX = "base_model.model."
ATTENTION = ("q_proj", "v_proj")


def config_of(**said: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "bias": "none"} | said


def tensors_of(
    model: Any, targets: Sequence[str] = ATTENTION, *, rank: int = 4, seed: int = 1
) -> dict[str, Any]:
    """A and B for every linear layer whose name is among `targets`."""
    made = torch.Generator().manual_seed(seed)
    found = {}
    for path, layer in model.named_modules():
        if path.rpartition(".")[2] in targets:
            key = f"{PREFIX}{path}.lora_"
            inputs, outputs = layer.in_features, layer.out_features
            found[f"{key}A.weight"] = torch.randn(rank, inputs, generator=made)
            found[f"{key}B.weight"] = torch.randn(outputs, rank, generator=made) * 0.2
    return found


def adapter_files(where: Path, tensors: Mapping[str, Any], **said: Any) -> Files:
    where.mkdir(parents=True, exist_ok=True)
    (where / "adapter_config.json").write_text(json.dumps(config_of(**said)))
    return Files(where, dict(tensors))


def named(name: str, release: str = "") -> Adapter:
    return Adapter(name, (), release)
