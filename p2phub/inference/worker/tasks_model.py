"""A model of transformers for one task, made from verified tensors and a verified folder.

Rules it keeps:
 * no weight is ever invented: a tensor that is missing, or has another shape, is an error that
   names it;
 * Python files of the release run only if `allow_remote_code` says so, and then those of the
   verified folder;
 * nothing is asked of the network;
 * on a processor, numbers are float32 unless the options say otherwise.

What is asked of the model is for the modules of the tasks.
"""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.configuration import Folder, Kernels, read_config

_SHOWN: Final = 5
_ENDLESS: Final = 1 << 24
"""A tokenizer that knows no limit says a number beyond this."""


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that a task is loaded from."""

    spec: ModelSpec
    weights: Folder
    kernels: Kernels

    @property
    def folder(self) -> Path:
        return self.weights.folder()

    @property
    def dtype(self) -> str:
        """The type of the weights: exact on a processor, fast on an accelerator."""
        if self.kernels.device == "cpu" and not self.spec.options.dtype:
            return "float32"
        return self.kernels.dtype

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def read_json(self, name: str) -> Any:
        """Raises `MalformedError` if it is not there, or no JSON."""
        try:
            return json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise MalformedError(f"{self.spec.name} has no {name} that can be read") from error

    def part(self, class_name: str, under: str = "") -> Any:
        """A tokenizer or processor: `class_name` is one of transformers' Auto classes."""
        try:
            return getattr(transformers, class_name).from_pretrained(
                self.folder / under,
                trust_remote_code=self.spec.options.allow_remote_code,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise UnsupportedError(
                f"{self.spec.name} has no {class_name.removeprefix('Auto').lower()} that"
                f" transformers {transformers.__version__} can load: {first_line(error)}"
            ) from error


def first_line(error: Exception) -> str:
    """The start of what a library says of an error."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def load_config(source: Source, under: str = "") -> Any:
    """The configuration below `under`. Raises as `configuration.read_config`."""
    return read_config(source.folder / under, source.spec)


def load_model(
    source: Source,
    classes: Sequence[str],
    config: Any = None,
    *,
    under: str = "",
    unneeded: tuple[str, ...] = (),
) -> Any:
    """The model, ready on its device: made by the first of the Auto `classes` that knows it.

    Tensors whose names start with one of `unneeded` may be missing: the caller never uses them.
    Raises `UnsupportedError` for a type that is not known or not allowed, `MalformedError` for
    tensors that do not fit it, and whatever the weights raise.
    """
    config = config or load_config(source, under)
    kind = _class_of(source, classes, config)
    return fill(source, kind, config, under=under, unneeded=unneeded)


def fill(
    source: Source, kind: Any, config: Any, *, under: str = "", unneeded: tuple[str, ...] = ()
) -> Any:
    """A model of the class `kind` with the tensors of `under`. Raises as `load_model`."""
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=source.weights.state_dict(source.kernels.device, source.dtype, under),
        dtype=getattr(torch, source.dtype),
        output_loading_info=True,
        **attention_of(source),
    )
    _check(report, source.spec.name, unneeded)
    if source.has("generation_config.json") and model.can_generate():
        model.generation_config = transformers.GenerationConfig.from_pretrained(
            source.folder, local_files_only=True
        )
    return model.to(source.kernels.device).eval()


def attention_of(source: Source) -> dict[str, Any]:
    """The attention kernels, if somebody chose them: else the model's own choice, which always
    exists."""
    chosen = source.spec.options.attention
    return {"attn_implementation": chosen} if chosen else {}


def token_limit(config: Any, tokenizer: Any) -> int:
    """Tokens of one input at most; 0: it has no limit."""
    said = int(getattr(config, "max_position_embeddings", 0) or 0)
    if said and any(each in config.model_type for each in ("roberta", "camembert", "mpnet")):
        said -= int(config.pad_token_id or 0) + 1
    most = int(getattr(tokenizer, "model_max_length", 0) or 0)
    limits = [each for each in (said, most) if 0 < each < _ENDLESS]
    return min(limits, default=0)


def _class_of(source: Source, classes: Sequence[str], config: Any) -> Any:
    own = getattr(config, "auto_map", None) or {}
    for name in classes:
        if name in own and source.spec.options.allow_remote_code:
            door: Any = importlib.import_module("transformers.dynamic_module_utils")
            return door.get_class_from_dynamic_module(
                own[name], str(source.folder), local_files_only=True
            )
        known = getattr(transformers, name)._model_mapping
        if type(config) in known:
            return _of_several(known[type(config)], config)
    raise UnsupportedError(
        f"{source.spec.name} is a model of type {config.model_type!r}, which transformers cannot"
        f" use for {source.spec.task}",
        remedy="ask it for the task that it was made for",
    )


def _of_several(found: Any, config: Any) -> Any:
    """The class that the configuration names, if there are several for its type."""
    choice = found if isinstance(found, tuple) else (found,)
    wanted = config.architectures or ()
    return next((each for each in choice if each.__name__ in wanted), choice[0])


def _check(report: Any, name: str, unneeded: tuple[str, ...]) -> None:
    missing = sorted(each for each in report["missing_keys"] if not each.startswith(unneeded))
    if missing:
        raise MalformedError(
            f"{name} lacks {len(missing)} tensors that this task needs: "
            + ", ".join(missing[:_SHOWN]),
            remedy="ask it for the task that it was made for, or tell its publisher",
        )
    if report["mismatched_keys"]:
        shown = ", ".join(str(each) for each in list(report["mismatched_keys"])[:_SHOWN])
        raise MalformedError(
            f"{name} has tensors of another shape than its config.json says: {shown}",
            remedy="tell its publisher",
        )
