"""A model of transformers for one task, made from verified tensors and a verified folder.

Rules it keeps:
 * no weight is ever invented, and no code of the release runs unasked (`architecture`);
 * nothing is asked of the network;
 * on a processor, numbers are float32 unless the options say otherwise.

What is asked of the model is for the modules of the tasks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import transformers

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.architecture import class_of, filled
from p2phub.inference.worker.configuration import Folder, Kernels, read_config
from p2phub.inference.worker.quantizing import placed, read_to

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
        """The type of the weights: exact on a processor, fast on an accelerator and in int4."""
        options = self.spec.options
        if self.kernels.device == "cpu" and not options.dtype and options.quantize != "int4":
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
    kind = class_of(source.spec, source.folder, config, classes)
    return fill(source, kind, config, under=under, unneeded=unneeded)


def fill(
    source: Source, kind: Any, config: Any, *, under: str = "", unneeded: tuple[str, ...] = ()
) -> Any:
    """A model of the class `kind` with the tensors of `under`. Raises as `load_model`."""
    how, device = source.spec.options.quantize, source.kernels.device
    model = filled(
        kind,
        config,
        source.weights.state_dict(read_to(how, device), source.dtype, under),
        source.spec.name,
        dtype=source.dtype,
        unneeded=unneeded,
        **attention_of(source),
    )
    if source.has("generation_config.json") and model.can_generate():
        model.generation_config = transformers.GenerationConfig.from_pretrained(
            source.folder, local_files_only=True
        )
    return placed(model, how, device, source.spec.name)


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
