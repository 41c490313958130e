"""A causal language model of transformers, made from verified tensors and a verified folder.

Rules it keeps:
 * no weight is ever invented: a tensor that is missing, or has another shape, is an error that
   names it;
 * Python files of the release run only if `allow_remote_code` says so, and then those of the
   verified folder;
 * nothing is asked of the network.

How text is generated with it is for `text_batch` and `text_alone`.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.configuration import Folder, Kernels, read_config, weight_bytes

_SHOWN = 5
_ENDLESS = 1 << 24
"""A tokenizer that knows no limit says a number beyond this."""


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model, its tokenizer, and what the release says about generating with it."""

    model: Any
    tokenizer: Any
    defaults: Any
    """The `GenerationConfig` of the release."""
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    limit: int
    """Tokens of prompt and answer that it was made for; 0: it does not say."""
    width: int
    """Tokens that it knows."""

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)


def load_model(spec: ModelSpec, weights: Folder, kernels: Kernels) -> TextModel:
    """The model, ready on its device.

    Raises `UnsupportedError` for a type that is not known or not allowed, `MalformedError` for
    tensors that do not fit it, and whatever `weights` raises.
    """
    if spec.adapters:
        raise UnsupportedError(
            f"{spec.name} was asked for with adapters, which text generation cannot load yet",
            remedy="serve it without them, or attach a server that can, such as vLLM",
        )
    transformers.utils.logging.disable_progress_bar()
    folder = weights.folder()
    config = read_config(folder, spec)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder,
        config=config,
        trust_remote_code=spec.options.allow_remote_code,
        local_files_only=True,
    )
    dtype = getattr(torch, kernels.dtype)
    state = weights.state_dict(kernels.device, kernels.dtype)
    model, report = _class_of(config, folder, spec).from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=dtype,
        attn_implementation=kernels.attention or None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # _check raises, with their names
    )
    _check(report, spec.name)
    model = model.to(kernels.device).eval()
    _quantize(model, spec.options.quantize)
    defaults = _defaults(folder, model)
    return TextModel(
        model=model,
        tokenizer=tokenizer,
        defaults=defaults,
        ends=_ends(defaults, tokenizer),
        limit=_limit(config, tokenizer),
        width=int(model.get_input_embeddings().weight.shape[0]),
    )


def _class_of(config: Any, folder: Path, spec: ModelSpec) -> Any:
    """The class of the model: its own code only if that is allowed and transformers has none."""
    known = transformers.AutoModelForCausalLM._model_mapping
    own = (getattr(config, "auto_map", None) or {}).get("AutoModelForCausalLM")
    if own and spec.options.allow_remote_code:
        door = importlib.import_module("transformers.dynamic_module_utils")
        return door.get_class_from_dynamic_module(own, str(folder), local_files_only=True)
    if type(config) not in known:
        raise UnsupportedError(
            f"{spec.name} is a model of type {config.model_type!r}, which generates no text",
            remedy="ask it for the task that it was made for",
        )
    classes = known[type(config)]
    choice = classes if isinstance(classes, tuple) else (classes,)
    wanted = config.architectures or ()
    return next((each for each in choice if each.__name__ in wanted), choice[0])


def _check(report: Any, name: str) -> None:
    """Raise `MalformedError` if a tensor is missing or has another shape."""
    missing = sorted(report["missing_keys"])
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        raise MalformedError(
            f"{name} lacks {len(missing)} tensors that its config.json asks for: {shown}",
            remedy="tell its publisher; the release is incomplete",
        )
    if report["mismatched_keys"]:
        shown = ", ".join(sorted(each[0] for each in report["mismatched_keys"])[:_SHOWN])
        raise MalformedError(
            f"{name} has tensors of another shape than its config.json says: {shown}"
        )


def _quantize(model: Any, how: str) -> None:
    if not how:
        return
    try:
        torchao = importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise UnsupportedError(
            f"quantisation to {how} needs torchao, which is not installed",
            remedy="install torchao, or load the model without it",
        ) from error
    kinds = {"int8": "Int8WeightOnlyConfig", "int4": "Int4WeightOnlyConfig"}
    if how not in kinds:
        raise UnsupportedError(f"there is no quantisation {how!r}", remedy="choose int8 or int4")
    torchao.quantize_(model, getattr(torchao, kinds[how])())


def _defaults(folder: Path, model: Any) -> Any:
    if (folder / "generation_config.json").is_file():
        return transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.generation_config


def _ends(defaults: Any, tokenizer: Any) -> tuple[int, ...]:
    said = defaults.eos_token_id
    ends = said if isinstance(said, list | tuple) else [said]
    return tuple(
        dict.fromkeys(each for each in (*ends, tokenizer.eos_token_id) if each is not None)
    )


def _limit(config: Any, tokenizer: Any) -> int:
    said = getattr(config.get_text_config(), "max_position_embeddings", None)
    if said:
        return int(said)
    most = int(tokenizer.model_max_length or 0)
    return most if most < _ENDLESS else 0
