"""LoRA adapters of one model in memory: several at once, each request with its own or none.

An adapter is read from verified files: `adapter_config.json` (`lora_config`) and the tensors of
`adapter_model.safetensors`, named as PEFT names them. It gets a number, by which the requests that
use it are known to the layers (`lora_layers`); numbers are never used twice.

Rules it keeps:
 * an adapter is attached whole or not at all: every tensor is checked before a layer is touched;
 * a tensor that the base has no place for, or of another shape, is `MalformedError`; what would be
   half applied (DoRA, biases, other weights of the base) is `UnsupportedError`;
 * the weights of the base are never changed;
 * what is detached is found by no request any more.

`attach` and `detach` are called one at a time; `find` from any thread.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers.pytorch_utils import Conv1D

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import Adapter
from p2phub.inference.worker.configuration import Folder
from p2phub.inference.worker.lora_config import LoraConfig, parse
from p2phub.inference.worker.lora_layers import NOBODY, Part, Running, Site

CONFIG: Final = "adapter_config.json"
_PREFIX: Final = "base_model.model."
_NAME: Final = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.default)?(\.weight)?")
_OF_BASE: Final = re.compile(r"(.+?)(?:\.base_layer)?\.weight")
_MANY: Final = ("expert", "experts")
"""Layers below these see some of the tokens only."""


@dataclass(frozen=True, slots=True)
class Attached:
    """An adapter in memory."""

    number: int
    name: str
    identity: str
    """Of its bytes: the digest of its release."""
    parts: Mapping[str, Part]
    """By the layer that they change."""

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(each.a.nbytes + each.b.nbytes for each in self.parts.values())


class Adapters:
    """Those of one model."""

    def __init__(self, model: Any) -> None:
        self.running: Final = Running()
        self._model = model
        self._sites: dict[Any, Site] = {}
        """By their layer."""
        self._attached: dict[str, Attached] = {}
        self._called: dict[str, str] = {}
        """What a name stands for: the last one that was attached by it."""
        self._numbers = itertools.count(1)
        head = model.get_output_embeddings()
        self._head = head if model._supports_logits_to_keep() else None

    @property
    def names(self) -> tuple[str, ...]:
        """What requests call them."""
        return tuple(self._called)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(each.size for each in tuple(self._attached.values()))

    def find(self, name: str) -> Attached | None:
        """The adapter that has this name, or is of the release with this digest."""
        return self._attached.get(self._called.get(name, name))

    def has(self, number: int) -> bool:
        """Whether the adapter with that number is attached."""
        return any(each.number == number for each in tuple(self._attached.values()))

    def number_of(self, name: str, model: str) -> int:
        """The number of the adapter that a request names, `NOBODY` for none.

        Raises `UnsupportedError` for one that is not there; `model` is for its sentence.
        """
        found = self.find(name) if name else None
        if name and found is None:
            raise UnsupportedError(
                f"no adapter {name!r} was loaded with {model}",
                remedy="leave the adapter out, or serve the model with it",
            )
        return NOBODY if found is None else found.number

    def attach(self, adapter: Adapter, weights: Folder) -> None:
        """Put it beside the others; nothing happens if it is there.

        Raises `MalformedError`, `UnsupportedError`, `NoMemoryError`, and what `weights` raises.
        """
        identity = identity_of(adapter)
        if identity not in self._attached:
            self._require_plain(adapter.name)
            made = self._read(adapter, weights)
            for path, part in made.parts.items():
                self._site(path).parts[made.number] = part
            self._attached[identity] = made
        self._called[adapter.name] = identity

    def detach(self, which: str) -> Attached | None:
        """Take away the one with that name or digest; None if there is none."""
        gone = self.find(which)
        if gone is None:
            return None
        self._called = {name: each for name, each in self._called.items() if each != gone.identity}
        del self._attached[gone.identity]
        for path in gone.parts:
            layer = self._model.get_submodule(path)
            del self._sites[layer].parts[gone.number]
            if not self._sites[layer].parts:
                self._sites.pop(layer).remove()
        return gone

    def _site(self, path: str) -> Site:
        layer = self._model.get_submodule(path)
        if layer not in self._sites:
            self._sites[layer] = Site(path, layer, self.running, last=layer is self._head)
        return self._sites[layer]

    def _require_plain(self, name: str) -> None:
        """What was compiled would not see that its layers have changed."""
        if any(each._compiled_call_impl is not None for each in self._model.modules()):
            raise UnsupportedError(
                f"{name} cannot be attached to a model that runs compiled",
                remedy="serve the base without compile",
            )

    # ------------------------------------------------------------ reading

    def _read(self, adapter: Adapter, weights: Folder) -> Attached:
        file = weights.folder() / CONFIG
        if not file.is_file():
            raise MalformedError(f"{adapter.name} has no {CONFIG}", remedy="tell its publisher")
        config = parse(file.read_bytes(), adapter.name)
        dtype = str(self._model.dtype).removeprefix("torch.")
        tensors = weights.state_dict(str(self._model.device), dtype)
        pairs = self._pairs(tensors, adapter.name)
        if not pairs:
            raise MalformedError(f"{adapter.name} has no tensors of a LoRA")
        parts = {path: self._part(path, pair, config) for path, pair in pairs.items()}
        return Attached(next(self._numbers), adapter.name, identity_of(adapter), parts)

    def _pairs(self, tensors: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
        """The tensors A and B of each layer."""
        found: dict[str, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            match = _NAME.fullmatch(key)
            if match is None or bool(match[2]) == bool(match[4]):
                self._require_same(key, tensor, name)
                continue
            path = match[1].removeprefix(_PREFIX)
            self._require_layer(path, key, name, embeds=bool(match[2]))
            pair = found.setdefault(path, {})
            if match[3] in pair:
                raise _malformed(name, key, "comes twice")
            pair[match[3]] = tensor
        seen = set()
        for path, pair in found.items():
            layer = self._model.get_submodule(path)
            if layer in seen:
                raise _malformed(name, path, "is a second name of a layer")
            seen.add(layer)
            for wanted in {"A", "B"} - pair.keys():
                raise _malformed(name, f"lora_{wanted} of {path}", "is missing")
        return found

    def _require_layer(self, path: str, key: str, name: str, *, embeds: bool) -> None:
        try:
            layer = self._model.get_submodule(path)
        except AttributeError:
            raise _malformed(name, key, "is for a layer that the base does not have") from None
        if set(path.split(".")) & set(_MANY):
            raise _unsupported(name, key, "changes one of several experts")
        plain = type(layer) is torch.nn.Embedding if embeds else _is_linear(layer)
        if not plain:
            raise _unsupported(name, key, f"changes a layer of the kind {type(layer).__name__}")

    def _require_same(self, key: str, tensor: Any, name: str) -> None:
        """PEFT saves weights of the base beside some adapters: they must be those it has."""
        match = _OF_BASE.fullmatch(key)
        path = match[1].removeprefix(_PREFIX) if match else ""
        try:
            own = self._model.get_submodule(path).weight.data
        except AttributeError:
            own = None
        plain = type(own) is torch.Tensor and own.shape == tensor.shape
        if not plain or not torch.equal(own, tensor.to(own.dtype)):
            raise _unsupported(name, key, "is more than a LoRA adds to the base")

    def _part(self, path: str, pair: Mapping[str, Any], config: LoraConfig) -> Part:
        a, b = pair["A"], pair["B"]
        inputs, outputs = _width(self._model.get_submodule(path))
        rank = a.shape[0] if a.ndim else 0
        for letter, tensor, shape in (("A", a, (rank, inputs)), ("B", b, (outputs, rank))):
            if tuple(tensor.shape) != shape or tensor.dtype != self._model.dtype:
                shown = "×".join(map(str, tensor.shape))
                raise _malformed(
                    config.name,
                    f"lora_{letter} of {path}",
                    f"is {shown} of {tensor.dtype}, where {shape[0]}×{shape[1]} is needed",
                )
        if rank not in config.ranks:
            what = f"has the rank {rank}, which {CONFIG} does not say"
            raise _malformed(config.name, f"lora_A of {path}", what)
        return Part(a, b, config.scale(path, rank))


def identity_of(adapter: Adapter) -> str:
    """What tells adapters apart: the digest of the release, else the name."""
    return adapter.release or adapter.name


def _is_linear(layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear | Conv1D)


def _width(layer: Any) -> tuple[int, int]:
    """Inputs and outputs of a layer."""
    if isinstance(layer, torch.nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, torch.nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    return layer.nx, layer.nf


def _plain(said: str) -> str:
    """What a stranger called a tensor, as it can be shown.

    >>> _plain("lora_A of q" + chr(10))
    'lora_A of q\\\\n'
    """
    return ascii(said[:200])[1:-1]


def _malformed(name: str, tensor: str, what: str) -> MalformedError:
    return MalformedError(
        f"{_plain(tensor)} of the adapter {name} {what}",
        remedy="use it with the base that it was made for, or tell its publisher",
    )


def _unsupported(name: str, tensor: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{_plain(tensor)} of the adapter {name} {what}, which is not done here",
        remedy="ask its publisher for a plain LoRA, or for a model that it is merged into",
    )
