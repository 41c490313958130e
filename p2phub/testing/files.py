"""Files for tests: the same arguments make the same bytes, on every machine and for ever.

The weights files are valid and the folder is one that a person could publish, but the numbers in
them mean nothing. A tensor's bytes come from the seed and its name alone: the same tensor in
another file, shard or order has the same bytes.

>>> random_bytes("a seed", 4).hex(), len(random_bytes("a seed", 1_000_000))
('4b73446f', 1000000)
>>> make_safetensors({"a": ("F16", (3,)), "b": ("U8", (2, 2))}, seed=1)[8:52]
b'{"a":{"dtype":"F16","shape":[3],"data_offset'
"""

import json
import struct
from collections.abc import Mapping, Sequence
from hashlib import shake_256
from math import prod
from pathlib import Path

from p2phub.formats.gguf import MAGIC, TYPES
from p2phub.formats.safetensors import DTYPE_BITS

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name → dtype, shape."""

README = """---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
tags:
- tiny
- test
---
# A tiny model for tests

Its weights are noise.
"""

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "model_type": "llama"}

_TEXT, _ARRAY, _UINT32 = 8, 9, 4


def random_bytes(seed: int | str, size: int) -> bytes:
    """`size` bytes that look random: SHAKE-256 of the seed, as text."""
    return shake_256(str(seed).encode()).digest(size)


def make_safetensors(
    tensors: Shapes, seed: int | str = 0, metadata: Mapping[str, str] | None = None
) -> bytes:
    """A safetensors file of these tensors, in this order."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    body, end = [], 0
    for name, (dtype, shape) in tensors.items():
        data = random_bytes(f"{seed}/{name}", prod(shape) * DTYPE_BITS[dtype] // 8)
        offsets = [end, end + len(data)]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        body.append(data)
        end += len(data)
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + b"".join(body)


def make_gguf(
    tensors: Shapes,
    seed: int | str = 0,
    metadata: Mapping[str, str | int | Sequence[str]] | None = None,
    alignment: int = 32,
) -> bytes:
    """A GGUF file (version 3) of these tensors, in this order; dtypes are ggml's, as `Q4_0`."""
    pairs = {"general.architecture": "llama", "general.alignment": alignment, **(metadata or {})}
    head = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(pairs))]
    head += [_text(key) + _value(value) for key, value in pairs.items()]
    body = b""
    for name, (dtype, shape) in tensors.items():
        kind, block, block_bytes = _ggml(dtype)
        head.append(_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        head.append(struct.pack("<IQ", kind, len(body)))
        data = random_bytes(f"{seed}/{name}", prod(shape) // block * block_bytes)
        body += data + bytes(-len(data) % alignment)
    header = b"".join(head)
    return header + bytes(-len(header) % alignment) + body


def tiny_model_folder(
    path: Path, seed: int | str = 0, shards: int = 1, shard_bytes: int = 300_000
) -> Path:
    """A folder to publish: a model card, a config and weights of about `shards * shard_bytes`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "README.md").write_text(README)
    (path / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    if shards == 1:
        weights = make_safetensors(_layers(0, shard_bytes), seed, {"format": "pt"})
        (path / "model.safetensors").write_bytes(weights)
        return path
    placed: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        layers = _layers(number, shard_bytes)
        (path / name).write_bytes(make_safetensors(layers, seed, {"format": "pt"}))
        placed |= dict.fromkeys(layers, name)
    index = {"metadata": {"total_size": shards * shard_bytes}, "weight_map": placed}
    (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return path


def _layers(number: int, size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """A layer of about `size` bytes: small norms beside projections of 3 MiB at most."""
    width = 64
    rows_left = max(1, size // (2 * width))
    rows = -(-min(rows_left, 49_152) // 2)
    prefix = f"model.layers.{number}"
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        f"{prefix}.input_layernorm.weight": ("F32", (width,)),
        f"{prefix}.post_attention_layernorm.weight": ("F32", (width,)),
    }
    while rows_left:
        name = f"{prefix}.mlp.{len(tensors)}.weight"
        tensors[name] = ("BF16", (min(rows, rows_left), width))
        rows_left -= tensors[name][1][0]
    return tensors


def _ggml(dtype: str) -> tuple[int, int, int]:
    """The number of a ggml type, the elements of its block and their bytes."""
    for kind, (name, block, block_bytes) in TYPES.items():
        if name == dtype:
            return kind, block, block_bytes
    raise ValueError(f"there is no ggml type {dtype}")


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: str | int | Sequence[str]) -> bytes:
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _TEXT) + _text(value)
    head = struct.pack("<IIQ", _ARRAY, _TEXT, len(value))
    return head + b"".join(_text(item) for item in value)
