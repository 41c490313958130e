"""What a model will need of memory, told from its headers and `config.json`. Pure.

Weights are counted exactly, from the tensors; the cache is what the engine will set aside; the rest
(the libraries, activations, logits) is measured on a processor, with llama.cpp, transformers and
embeddings. On a GPU that rest is an estimate which nobody has measured yet.

Rules it keeps:
 * a tensor that two names share counts once, as it will be loaded once;
 * a GGUF file that says it is no model (an adapter, a projector) is refused;
 * what fits is for who asks: `available_bytes` is 0 here.

>>> header = Header("safetensors", 8, (Tensor("a.weight", "F32", (2, 8), 8, 72),))
>>> made = predict(Release("lab/x", "ab" * 32), {"model.safetensors": header})
>>> made.weight_bytes, made.fits, made.engine
(64, False, 'transformers')
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.formats import gguf_metadata
from p2phub.formats.limits import MAX_HEADER, MIB
from p2phub.formats.tensors import Header, More, Tensor
from p2phub.inference.fit_gguf import BATCH, shape_of
from p2phub.inference.spec import RunOptions
from p2phub.inference.variants import GGUF
from p2phub.inference_results import FitReport

LLAMACPP: Final = 175 * MIB
"""Private memory of a worker with llama.cpp, beside weights and cache."""
TEXT: Final = 300 * MIB
"""The same with transformers that generates text."""
VECTORS: Final = 265 * MIB
"""The same with transformers that makes vectors."""
CUDA: Final = 600 * MIB
"""Memory of a GPU that CUDA and its kernels take; not measured."""
_OF_VECTORS: Final = ("feature-extraction", "sentence-similarity")
_STEP, _PAGE = 512, 32
_SLOTS, _VECTOR_SLOTS, _CACHE = 8, 32, 1024 * MIB
"""What the worker does with transformers on a processor, where nothing is said."""
_SIZES: Final = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
_QUANTIZED: Final = {"int8": (1.0, 0), "int4": (0.5, 32)}
"""Bytes of a weight, and how many of them share a scale and a zero point; 0: a whole row."""
_KEPT: Final = re.compile(r"emb|wte|wpe|lm_head|\.experts\.|^output\.|^shared\.")
"""In names of matrices that stay as they are: embeddings, outputs, and experts, which transformers
joins into something that is no linear layer."""
_NO_MODELS: Final = frozenset({"adapter", "mmproj", "imatrix"})
"""What GGUF files say that they are, and no engine runs by itself."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is asked about."""

    ref: str
    digest: str
    """In hex."""
    task: str = "text-generation"
    config: Mapping[str, Any] = field(default_factory=dict)
    """`config.json`; empty if there is none."""
    prefixes: Mapping[str, bytes] = field(default_factory=dict)
    """The headers of GGUF files as they are, by their paths."""


def predict(
    release: Release,
    files: Mapping[str, Header],
    *,
    device: str = "cpu",
    options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
) -> FitReport:
    """What one variant needs. `files`: the headers of its weights, by their paths.

    Raises `UnsupportedError` if there are none, or if it is no model; `MalformedError` for a GGUF
    header that is none.
    """
    if not files:
        raise UnsupportedError(
            f"{release.ref} has neither safetensors nor GGUF weights",
            remedy="`p2phub ls REF` lists its files; is it a model?",
        )
    first = next(iter(files))
    made = _llama if first.lower().endswith(GGUF) else _transformers
    return made(release, first, list(files.values()), options, device)


def _llama(
    release: Release, path: str, headers: Sequence[Header], options: RunOptions, device: str
) -> FitReport:
    metadata = gguf_metadata.read(release.prefixes.get(path, b""), MAX_HEADER)
    if isinstance(metadata, More):
        raise MalformedError(f"the header of {path} is cut short", remedy="ask again")
    kind = metadata.get("general.type", "model")
    if kind in _NO_MODELS or metadata.get("general.architecture") == "clip":
        raise UnsupportedError(
            f"{path} is no model by itself, but one part of one ({kind})",
            remedy="`p2phub ls REF` lists the files; name another one",
        )
    shape = shape_of(metadata, headers)
    context, slots = shape.room(options)
    working = 4 * (slots * shape.vocabulary + 20 * BATCH * shape.width)
    return FitReport(
        ref=release.ref,
        release=release.digest,
        device=device,
        weight_bytes=shape.weight_bytes,
        cache_bytes=shape.cache_bytes(context, slots),
        other_bytes=working + (LLAMACPP if device == "cpu" else CUDA),
        available_bytes=0,
        engine="llamacpp",
        dtype=shape.dtype,
        context=context,
        slots=slots,
    )


def _transformers(
    release: Release, path: str, headers: Sequence[Header], options: RunOptions, device: str
) -> FitReport:
    inner_config = release.config.get("text_config")
    config = inner_config if isinstance(inner_config, Mapping) else release.config
    exact = device == "cpu" and options.quantize != "int4"
    dtype = options.dtype or ("float32" if exact else "bfloat16")
    text = release.task == "text-generation"
    alone = options.slots or _VECTOR_SLOTS if release.task in _OF_VECTORS else 1
    context, slots, cache = _cache(config, options, _SIZES.get(dtype, 4)) if text else (0, alone, 0)
    base = CUDA if device != "cpu" else (TEXT if text else VECTORS)
    width, inner = _number(config, "hidden_size", "n_embd"), _number(config, "intermediate_size")
    activations = 2 * _STEP * (4 * width + 3 * (inner or 4 * width)) * _SIZES.get(dtype, 4)
    tensors = [each for header in headers for each in header.tensors]
    whole = _weights(tensors, config, dtype, "") if options.quantize and device == "cpu" else 0
    return FitReport(
        ref=release.ref,
        release=release.digest,
        device=device,
        weight_bytes=_weights(tensors, config, dtype, options.quantize),
        cache_bytes=cache,
        other_bytes=(base + activations) * (device.count(",") + 1),
        available_bytes=0,
        engine="transformers",
        dtype=options.quantize or dtype,
        context=context,
        slots=slots,
        loading_bytes=max(0, whole - cache),
    )


def _weights(
    tensors: Sequence[Tensor], config: Mapping[str, Any], dtype: str, quantize: str
) -> int:
    """Bytes of these tensors, once they are loaded."""
    tied = config.get("tie_word_embeddings", False)
    return sum(
        _bytes_of(each, _SIZES.get(dtype, 4), quantize)
        for each in tensors
        if not (tied and each.name == "lm_head.weight" and len(tensors) > 1)
    )


def _bytes_of(tensor: Tensor, number: int, quantize: str) -> int:
    """Bytes of one tensor whose numbers have `number` bytes where they stay whole."""
    if tensor.dtype not in _FLOATS:
        return tensor.stop - tensor.start
    count = prod(tensor.shape)
    if quantize not in _QUANTIZED or len(tensor.shape) != 2 or _KEPT.search(tensor.name):
        return count * number
    each, group = _QUANTIZED[quantize]
    scales = 2 * count // group if group else tensor.shape[0]
    return int(count * each) + scales * number


def _cache(config: Mapping[str, Any], options: RunOptions, size: int) -> tuple[int, int, int]:
    """Tokens of a request, requests together, and bytes of their keys and values."""
    heads = _number(config, "num_attention_heads", "n_head")
    width = _number(config, "hidden_size", "n_embd")
    each = _number(config, "head_dim") or (width // heads if heads else 0)
    kept = _number(config, "num_key_value_heads") or heads
    per_token = 2 * _number(config, "num_hidden_layers", "n_layer") * kept * each * size
    limit = _number(config, "max_position_embeddings", "n_positions")
    slots = options.slots or _SLOTS
    wanted = min(options.context or limit or 4096, limit or 1 << 30)
    if not per_token:
        return wanted, slots, 0
    budget = (options.cache_bytes or _CACHE) // per_token // _PAGE
    pages = max(2, min(budget, slots * -(-wanted // _PAGE)))
    return min(wanted, pages * _PAGE), slots, pages * _PAGE * per_token


def _number(config: Mapping[str, Any], *names: str) -> int:
    """The first of these that is a number that a model can have; 0 if none is."""
    found = (config.get(name) for name in names)
    return next((each for each in found if type(each) is int and 0 < each < 1 << 32), 0)
