"""The configuration of a model of transformers, and what every model is made from.

Rules it keeps:
 * Python files of the release run only if `allow_remote_code` says so, and then those of the
   verified folder;
 * nothing is asked of the network;
 * what a stranger wrote into `config.json` is an error of ours, whatever it is;
 * transformers finds no scipy: each model would import `scipy.optimize`, for losses of training.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import transformers
import transformers.utils

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec

transformers.utils.is_scipy_available = lambda: False


class Folder(Protocol):
    """What is loaded from (`weights.Weights`)."""

    def folder(self) -> Path: ...

    def state_dict(
        self, device: str = "cpu", dtype: Any = None, under: str = ""
    ) -> dict[str, Any]: ...


class Kernels(Protocol):
    """Where and how it runs (`device.Placement`)."""

    @property
    def device(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def attention(self) -> str: ...

    @property
    def threads(self) -> int: ...


def read_config(folder: Path, spec: ModelSpec) -> Any:
    """The configuration in `folder`, of a type that transformers or allowed code of it knows.

    Raises `UnsupportedError`, `MalformedError`.
    """
    try:
        said = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MalformedError(f"{spec.name} has no config.json that can be read") from error
    kind = str(said.get("model_type", "")) if isinstance(said, dict) else ""
    allowed = spec.options.allow_remote_code
    code = isinstance(said, dict) and bool(said.get("auto_map"))
    if code and allowed:
        _run_from(folder)
    elif kind not in transformers.CONFIG_MAPPING:
        why = "brings Python code of its own, which may not run here" if code else "is not known"
        raise UnsupportedError(
            f"{spec.name} is a model of type {kind!r}, which {why}",
            remedy="a rule for its publisher can allow its code: p2phub trust --help"
            if code
            else f"upgrade transformers {transformers.__version__}, or serve another model",
        )
    return transformers.AutoConfig.from_pretrained(
        folder, trust_remote_code=allowed, local_files_only=True
    )


def weight_bytes(model: Any) -> int:
    """Memory of its tensors; what is tied counts once."""
    held = model.state_dict(keep_vars=True).values()
    parts = (part for each in held for part in _parts(each))
    tensors = {each.data_ptr(): each for each in parts}
    return sum(each.nbytes for each in tensors.values())


def _parts(tensor: Any) -> Iterator[Any]:
    """What lies in memory here: of a quantised one, numbers and their scales; of one that several
    processes share, the part of this one."""
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def _run_from(folder: Path) -> None:
    """Let transformers keep its copies of the code beside the verified files, for us alone."""
    door: Any = importlib.import_module("transformers.dynamic_module_utils")
    door.HF_MODULES_CACHE = str(folder / ".modules")
