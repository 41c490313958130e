"""Where a model runs, and how: chosen for this machine, unless the options say it.

 * device: the GPU with the most free memory, or the processor;
 * dtype: bfloat16 where the device computes with it, else float16 on a GPU and float32 on a
   processor; with int4 always bfloat16, which its kernels are made for (float32: a tenth as fast);
 * attention: `sdpa`, or `flash_attention_2` on a GPU where that is installed;
 * several GPUs, where they are named, share a model that writes text, and nothing else;
 * threads: as `inference.threads` says, or the variable `OMP_NUM_THREADS`. `choose` sets torch's.

It raises `UnsupportedError` for a device that is not here, `UsageError` for what is none.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import torch

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference import threads
from p2phub.inference.spec import RunOptions
from p2phub.inference.threads import computes_bfloat16, cpuinfo
from p2phub.inference.worker.placing import as_dtype

_DTYPES: Final = ("bfloat16", "float16", "float32", "float64")
_FLASH_FROM: Final = (8, 0)
"""The compute capability that flash attention needs."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How a model runs."""

    device: str
    """`cpu`, `cuda:0`, …"""
    dtype: str
    attention: str
    threads: int
    """Of the processor, for one step of the model."""
    compile: bool = False
    sharing: tuple[str, ...] = ()
    """The devices that share it, this one first; empty: it is alone."""


def choose(options: RunOptions, *, shares: bool = False) -> Placement:
    """Where and how a model with these options runs; torch's threads are set to that.

    `shares`: whether several devices may share it.
    """
    sharing = _sharing(options) if shares else ()
    device = sharing[0] if sharing else _device(options.device)
    count = options.threads or _told() or threads.count(threads.here())
    torch.set_num_threads(count)
    return Placement(
        device=device,
        dtype=_dtype(options.dtype or ("bfloat16" if options.quantize == "int4" else ""), device),
        attention=options.attention or _attention(device),
        threads=count,
        compile=options.compile,
        sharing=sharing,
    )


def _sharing(options: RunOptions) -> tuple[str, ...]:
    """The devices that are to share the model; empty if they are not several."""
    if options.ranks > 1:
        if torch.cuda.is_available():
            raise UnsupportedError("processes share a processor only where there is no GPU")
        return ("cpu",) * options.ranks
    names = options.device.split(",")
    if len(names) == 1:
        return ()
    devices = tuple(_device(each) for each in names)
    if "cpu" in devices or len(set(devices)) < len(devices):
        raise UsageError(
            f"{options.device} are not different GPUs", remedy='name each once: "cuda:0,cuda:1"'
        )
    return devices


def _device(asked: str) -> str:
    if not asked:
        return f"cuda:{_freest()}" if torch.cuda.is_available() else "cpu"
    if "," in asked:
        raise UnsupportedError(
            f"only models that write text can share several GPUs ({asked})",
            remedy="name one device: inference.device in node.toml",
        )
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UsageError(
            f"{asked!r} is no device", remedy="use cpu, cuda, or cuda:1 for the second GPU"
        ) from error
    if device.type == "cpu":
        return "cpu"
    if device.type != "cuda":
        raise UnsupportedError(f"models do not run on {asked} yet", remedy="use cpu or cuda")
    index = device.index if device.index is not None else 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise UnsupportedError(
            f"there is no {asked} that this torch sees", remedy="leave out the device, or use cpu"
        )
    return f"cuda:{index}"


def _freest() -> int:
    """The GPU with the most free memory."""
    return max(range(torch.cuda.device_count()), key=lambda each: torch.cuda.mem_get_info(each)[0])


def _dtype(asked: str, device: str) -> str:
    if asked:
        if asked not in _DTYPES:
            as_dtype(asked)
            raise UsageError(f"a model cannot run in {asked}", remedy=f"use {', '.join(_DTYPES)}")
        return asked
    if device == "cpu":
        return "bfloat16" if computes_bfloat16(cpuinfo()) else "float32"
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _attention(device: str) -> str:
    if device == "cpu" or find_spec("flash_attn") is None:
        return "sdpa"
    capable = torch.cuda.get_device_capability(device) >= _FLASH_FROM
    return "flash_attention_2" if capable else "sdpa"


def _told() -> int:
    """What `OMP_NUM_THREADS` says; 0: nothing."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0
