"""Several processes that compute one model together, each with an even part of every layer.

Rank 0 is the worker, the others are its children (`rank`), one for each device. transformers shards
the layers by the plan that each type of model brings; what is asked and chosen is for rank 0 alone
(`text_ranks`).

Rules it keeps:
 * a model that cannot be split evenly is refused before a process is started or a byte is read;
 * all of them live or none: the worker ends when a child does, and the kernel ends the children
   when the worker is gone;
 * they meet in a private folder and speak over loopback only.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import IO, Any, Final

import torch
import torch.distributed as group_of
import transformers

from p2phub.errors import EngineError, UnsupportedError
from p2phub.inference.private_folder import PrivateFolder
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.architecture import can_batch, filled
from p2phub.inference.worker.sealed import sealed_tensors

PATIENCE: Final = timedelta(minutes=30)
"""How long one of them waits for the others, at every step."""
GRACE: Final = 10.0
"""Seconds that the worker has to tell its own error after a child could not load."""
POLITE: Final = 2.0
"""Seconds that the children have to end."""
WRITERS: Final = transformers.AutoModelForCausalLM._model_mapping
CPU: Final = torch.device("cpu")
_LOOPBACK: Final = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "MASTER_ADDR": "127.0.0.1",
    "NCCL_GRAPH_MIXING_SUPPORT": "0",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process needs to know to take part."""

    rank: int
    devices: tuple[str, ...]
    """Of all of them, by their ranks."""
    name: str
    dtype: str
    attention: str
    threads: int
    folder: str
    """The verified folder with the configuration."""
    meeting: str
    """A file through which they find each other."""
    files: Mapping[str, int]
    """Descriptors of the sealed weights."""

    def pack(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def unpack(cls, line: bytes) -> "Plan":
        """What `pack` made."""
        said = json.loads(line)
        return cls(**{**said, "devices": tuple(said["devices"])})


class Group:
    """The other processes, as the worker sees them. In the thread that may start processes."""

    def __init__(self, plans: Sequence[Plan], meeting: PrivateFolder) -> None:
        self.devices = plans[0].devices
        self._loaded = False
        self._meeting = meeting
        self._closing = threading.Event()
        self._children: list[subprocess.Popen[bytes]] = []
        for plan in plans[1:]:
            self._children.append(_start(plan))
            name = f"rank {plan.rank}"
            work = (self._children[-1], name, plan.name)
            threading.Thread(target=self._watch, args=work, name=name, daemon=True).start()

    @property
    def size(self) -> int:
        """How many processes share the model."""
        return len(self.devices)

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the children."""
        return tuple(each.pid for each in self._children)

    def tell(self, value: Any) -> None:
        """Say it to every child, which waits for it (`heard`) once it is loaded."""
        self._loaded = True
        group_of.broadcast_object_list([value], src=0, device=CPU)

    def close(self) -> None:
        """End the children. May be called twice."""
        self._closing.set()
        for child in self._children:
            _pipe(child).close()
        until = time.monotonic() + POLITE
        for child in self._children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if group_of.is_initialized():
            group_of.destroy_process_group()
        if self._children:
            self._meeting.remove()
        self._children.clear()

    def _watch(self, child: subprocess.Popen[bytes], rank: str, name: str) -> None:
        """Raise in a thread of its own, which ends the worker, if it ends by itself."""
        status = child.wait()
        if not self._loaded:
            self._closing.wait(GRACE)
        if not self._closing.is_set():
            raise EngineError(f"{rank} of the processes that share {name} ended: status {status}")


def heard() -> Any:
    """What rank 0 told the others last; waits for it."""
    said = [None]
    group_of.broadcast_object_list(said, src=0, device=CPU)
    return said[0]


def require_shareable(spec: ModelSpec, whole: Any, ranks: int) -> None:
    """Raise `UnsupportedError` if a model cannot be split over so many.

    `whole`: a model of that kind without memory.
    """
    options = spec.options
    asked = (
        (options.quantize, f"quantize = {options.quantize!r} works on one device"),
        (options.compile, "compile = true works on one device"),
        (spec.adapters, "adapters work on one device"),
        (not can_batch(whole), "it does not answer many at once"),
        (type(whole.config) not in WRITERS, "it takes more than texts"),
        (not getattr(whole, "tp_plan", None), "transformers knows no way to split it"),
        (getattr(whole.config, "auto_map", None), "it brings Python code of its own"),
    )
    for trouble, why in asked:
        if trouble:
            raise _unshareable(spec, ranks, why)
    text = whole.config.get_text_config()
    for what in ("num_attention_heads", "num_key_value_heads"):
        count = getattr(text, what, None)
        if isinstance(count, int) and count % ranks:
            raise _unshareable(spec, ranks, f"its {count} heads ({what}) are no multiple of that")


def shared_model(
    spec: ModelSpec, weights: Any, kernels: Any, kind: Any, config: Any
) -> tuple[Any, Group]:
    """The part of rank 0 of a model, and the others, which have theirs or are about to.

    `weights`: as `Weights`; `kernels`: a `Placement` on several devices.
    """
    files = weights.sealed()
    meeting = PrivateFolder()
    plans = [
        Plan(
            rank,
            kernels.sharing,
            spec.name,
            kernels.dtype,
            kernels.attention,
            kernels.threads,
            str(weights.folder()),
            str(meeting.path / "meeting"),
            files,
        )
        for rank in range(len(kernels.sharing))
    ]
    group = Group(plans, meeting)
    try:
        join(plans[0])
        model = part_of(plans[0], kind, config)
    except BaseException:
        group.close()
        raise
    weights.unseal()
    return model, group


def join(plan: Plan) -> None:
    """Meet the others; returns once all are there."""
    device = torch.device(plan.devices[plan.rank])
    os.environ.update(_LOOPBACK, LOCAL_RANK=str(device.index or 0))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    group_of.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl",
        store=group_of.FileStore(plan.meeting, len(plan.devices)),
        rank=plan.rank,
        world_size=len(plan.devices),
        timeout=PATIENCE,
    )


def part_of(plan: Plan, kind: Any, config: Any) -> Any:
    """What one process has of the model. Raises `MalformedError` as `filled`."""
    door: Any = importlib.import_module("transformers.distributed")
    model = filled(
        kind,
        config,
        sealed_tensors(plan.files),
        plan.name,
        dtype=plan.dtype,
        attn_implementation=plan.attention or None,
        distributed_config=door.DistributedConfig(tp_size=len(plan.devices)),
    )
    return model.eval()


def _start(plan: Plan) -> "subprocess.Popen[bytes]":
    """`-P`: a file beside us that is called torch.py is not torch."""
    command = [sys.executable, "-P", "-m", "p2phub.inference.worker.rank", str(os.getpid())]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=sys.stderr, pass_fds=list(plan.files.values())
    )
    pipe = _pipe(child)
    pipe.write(plan.pack())
    pipe.flush()
    return child


def _pipe(child: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert child.stdin is not None
    return child.stdin


def _unshareable(spec: ModelSpec, ranks: int, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"{spec.name} cannot be shared by {ranks} devices: {why}",
        remedy="set inference.device to one device, or to another number of them",
    )
