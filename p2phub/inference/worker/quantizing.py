"""Weights made smaller while a model is loaded: int8 or int4, by torchao.

Only the weights of linear layers are, one layer after the other; what is computed with them stays
of the model's own type. Embeddings, the output layer and norms stay as they are, as transformers
has it: they are few, and cost the most when they are wrong.

Rules it keeps:
 * a weight that an embedding shares stays one weight, and whole;
 * nothing is called quantised that is not: a model without such layers, or a layer that cannot be,
   is an error that says why;
 * on a GPU no more than one layer is there in full at a time; on a processor each whole weight goes
   when its small one is made, and nothing is left of it.
"""

import ctypes
import importlib
import logging
from typing import Any, Final

import torch

from p2phub.errors import UnsupportedError

KINDS: Final = ("int8", "int4")
GROUP: Final = 32
"""Weights of a row that share a scale in int4. With 64 a small model says something else."""
_REMEDY: Final = "set inference.quantize to int8 or none, or choose another variant"


def read_to(how: str, device: str) -> str:
    """Where the whole weights go that are to be made `how`: empty for weights that stay so.

    Raises `UnsupportedError` if no weights can be made `how` here.
    """
    if not how:
        return device
    if how not in KINDS:
        raise UnsupportedError(f"there is no quantisation {how!r}", remedy="choose int8 or int4")
    _torchao("quantization")
    return "cpu"


def placed(model: Any, how: str, device: str, name: str) -> Any:
    """`model` on `device`, ready to compute, its weights made `how`; `name` is for errors.

    Raises `UnsupportedError` for weights that cannot be.
    """
    if how:
        _quantize(model, how, device, name)
        _give_back()
    return model.to(device).eval()


def _quantize(model: Any, how: str, device: str, name: str) -> None:
    whole = _kept(model)
    layers = {
        where: each
        for where, each in model.named_modules()
        if isinstance(each, torch.nn.Linear) and id(each.weight) not in whole
    }
    if not layers:
        raise UnsupportedError(
            f"{name} has no linear layers that could be made {how}",
            remedy="set inference.quantize to none",
        )
    change = _torchao("quantization").quantize_
    if device == "cpu":
        _move_out(model, frozenset(id(each.weight) for each in layers.values()))
    for where, layer in layers.items():
        wanted = _wanted(layer, how, device, f"{where} of {name}")
        layer.to(device)
        try:
            change(layer, wanted, lambda *_: True)
        except (RuntimeError, ValueError, AssertionError, ImportError) as error:
            raise UnsupportedError(
                f"{where} of {name} cannot be made {how} on {device}: {_first_line(error)}",
                remedy=_REMEDY,
            ) from error


def _move_out(model: Any, leaving: frozenset[int]) -> None:
    """Copy what stays out of the buffers that files were read into, which it would keep there for
    those that are `leaving`."""
    for each in (*model.parameters(), *model.buffers()):
        if id(each) not in leaving:
            each.data = each.data.clone()


def _give_back() -> None:
    """Let the system have what the C library keeps of memory that is free."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _kept(model: Any) -> frozenset[int]:
    """The identities of the weights that stay as they are: those of embeddings and of the output,
    whatever else shares them."""
    kept = [each for each in model.modules() if isinstance(each, torch.nn.Embedding)]
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return frozenset(id(getattr(each, "weight", None)) for each in (*kept, output))


def _wanted(layer: Any, how: str, device: str, where: str) -> Any:
    """How torchao is to change one layer."""
    if how == "int8":
        return _torchao("quantization").Int8WeightOnlyConfig(set_inductor_config=False)
    if layer.in_features % GROUP:
        raise UnsupportedError(
            f"{where} has rows of {layer.in_features} weights, and int4 wants a multiple of"
            f" {GROUP}",
            remedy=_REMEDY,
        )
    if device == "cpu":
        made: Any = _torchao("prototype.quantization.int4").PrototypeInt4WeightOnlyConfig
        return made(group_size=GROUP, set_inductor_config=False)
    if layer.weight.dtype != torch.bfloat16:
        raise UnsupportedError(
            f"int4 on a GPU computes in bfloat16, and {where} is"
            f" {str(layer.weight.dtype).removeprefix('torch.')}",
            remedy=_REMEDY,
        )
    return _torchao("quantization").Int4WeightOnlyConfig(
        group_size=GROUP, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
    )


def _torchao(module: str) -> Any:
    """A module of torchao. Raises `UnsupportedError` if that is not here."""
    logging.getLogger("torchao").setLevel(logging.ERROR)  # of kernels for other GPUs, at import
    try:
        return importlib.import_module(f"torchao.{module}")
    except ImportError as error:
        raise UnsupportedError(
            f"smaller weights need torchao 0.18, which cannot be loaded: {_first_line(error)}",
            remedy="pip install 'p2phub[quantization]', or set inference.quantize to none",
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
