"""Which class of transformers a configuration asks for, and a model of it made from tensors.

Rules it keeps:
 * no weight is ever invented: a tensor that is missing, or has another shape, is an error that
   names it;
 * code of the release is asked only if `allow_remote_code` says so, and then that of the verified
   folder.
"""

import copy
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec

_SHOWN: Final = 5
"""Names of tensors that an error tells."""
_KINDS: Final = frozenset(("full_attention", "sliding_attention"))
"""Of attention that continuous batching knows."""


def class_of(spec: ModelSpec, folder: Path, config: Any, classes: Sequence[str]) -> Any:
    """What the first of the Auto `classes` that knows `config` makes of it.

    Raises `UnsupportedError` if none of them does.
    """
    own = getattr(config, "auto_map", None) or {}
    for name in classes:
        if name in own and spec.options.allow_remote_code:
            door: Any = importlib.import_module("transformers.dynamic_module_utils")
            return door.get_class_from_dynamic_module(own[name], str(folder), local_files_only=True)
        known = getattr(transformers, name)._model_mapping
        if type(config) in known:
            return _of_several(known[type(config)], config)
    raise UnsupportedError(
        f"{spec.name} is a model of type {config.model_type!r}, which transformers"
        f" {transformers.__version__} cannot use for {spec.task}",
        remedy="ask it for the task that it was made for",
    )


def _of_several(found: Any, config: Any) -> Any:
    """The class that the configuration names, if there are several for its type."""
    choice = found if isinstance(found, tuple) else (found,)
    wanted = config.architectures or ()
    return next((each for each in choice if each.__name__ in wanted), choice[0])


def filled(
    kind: Any,
    config: Any,
    state: Mapping[str, Any],
    name: str,
    *,
    dtype: str,
    unneeded: tuple[str, ...] = (),
    **how: Any,
) -> Any:
    """A model of the class `kind` with the tensors of `state`; `name` is for errors.

    Tensors whose names start with one of `unneeded` may be missing: the caller never uses them.
    `how` goes to `from_pretrained`. Raises `MalformedError`.
    """
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=getattr(torch, dtype),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # _require_whole raises, with their names
        **how,
    )
    _require_whole(report, name, unneeded)
    return model


def rehearse(kind: Any, config: Any) -> Any:
    """A model of the class `kind` without memory, made while its tensors still come.

    Much of the time that a model takes is that of the first one of a process.
    """
    with torch.device("meta"):
        return kind(copy.deepcopy(config))


def can_batch(model: Any) -> bool:
    """Whether continuous batching knows the attention of `model`."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return (
        hasattr(model, "init_continuous_batching")
        and bool(getattr(model, "_supports_attention_backend", False))
        and not model.config.is_encoder_decoder
        and not getattr(model, "_is_stateful", False)
        and kinds <= _KINDS
        and bool(getattr(text, "num_attention_heads", 0))
    )


def _require_whole(report: Any, name: str, unneeded: tuple[str, ...]) -> None:
    missing = sorted(each for each in report["missing_keys"] if not each.startswith(unneeded))
    if missing:
        raise MalformedError(
            f"{name} lacks {len(missing)} tensors that its config.json asks for: "
            + ", ".join(missing[:_SHOWN]),
            remedy="ask it for the task that it was made for, or tell its publisher",
        )
    if report["mismatched_keys"]:
        shown = ", ".join(sorted(each[0] for each in report["mismatched_keys"])[:_SHOWN])
        raise MalformedError(
            f"{name} has tensors of another shape than its config.json says: {shown}",
            remedy="tell its publisher",
        )
