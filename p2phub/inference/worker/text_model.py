"""A language model of transformers, made from verified tensors and a verified folder.

It may see pictures too.

Rules it keeps:
 * no weight is ever invented, and no code of the release runs unasked (`architecture`);
 * nothing is asked of the network.

How text is generated with it is for `text_batch` and `text_alone`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.architecture import class_of, filled, rehearse
from p2phub.inference.worker.configuration import Folder, Kernels, read_config, weight_bytes
from p2phub.inference.worker.quantizing import placed, read_to
from p2phub.inference.worker.ranks import Group, require_shareable, shared_model
from p2phub.inference.worker.text_pictures import Pictures

SEES = "AutoModelForImageTextToText"
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
    pictures: Pictures | None = None
    """None: it takes texts alone."""
    group: Group | None = None
    """The other processes, if several share it."""

    @property
    def weight_bytes(self) -> int:
        """On all devices together: each of several has as much."""
        return weight_bytes(self.model) * (self.group.size if self.group else 1)


def load_model(spec: ModelSpec, weights: Folder, kernels: Kernels) -> TextModel:
    """The model, ready on its device.

    Raises `UnsupportedError` for a type that is not known or not allowed, `MalformedError` for
    tensors that do not fit it, and whatever `weights` raises.
    """
    transformers.utils.logging.disable_progress_bar()
    folder = weights.folder()
    config = read_config(folder, spec)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder,
        config=config,
        trust_remote_code=spec.options.allow_remote_code,
        local_files_only=True,
    )
    kind = class_of(spec, folder, config, ("AutoModelForCausalLM", SEES))
    model, group = _made(spec, weights, kernels, kind, config)
    defaults = _defaults(folder, model)
    return TextModel(
        model=model,
        tokenizer=tokenizer,
        defaults=defaults,
        ends=_ends(defaults, tokenizer),
        limit=_limit(config, tokenizer),
        width=int(model.get_input_embeddings().weight.shape[0]),
        pictures=None if group else _pictures(spec, folder, config, tokenizer),
        group=group,
    )


def _made(
    spec: ModelSpec, weights: Folder, kernels: Kernels, kind: Any, config: Any
) -> tuple[Any, Group | None]:
    """The model on its device, or this process's part of it."""
    sharing, how = getattr(kernels, "sharing", ()), spec.options.quantize
    if sharing or not all(file.complete for file in spec.files):
        whole = rehearse(kind, config)
        if sharing:
            require_shareable(spec, whole, len(sharing))
            return shared_model(spec, weights, kernels, kind, config)
    attention = kernels.attention or None
    model = filled(
        kind,
        config,
        weights.state_dict(read_to(how, kernels.device), kernels.dtype),  # nobody else keeps it
        spec.name,
        dtype=kernels.dtype,
        attn_implementation=attention,
    )
    return placed(model, how, kernels.device, spec.name), None


def _pictures(spec: ModelSpec, folder: Path, config: Any, tokenizer: Any) -> Pictures | None:
    """For a model that sees, what makes pictures ready for it."""
    if type(config) in transformers.AutoModelForCausalLM._model_mapping:
        return None
    if type(config) not in getattr(transformers, SEES)._model_mapping:
        return None
    return Pictures(folder, tokenizer, allow_remote_code=spec.options.allow_remote_code)


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
