"""How many threads a model gets on this machine's processor, and what its libraries are told of it.

Threads that wait for each other by spinning are what costs: on a machine that has other work, one
that was put aside keeps all others turning. So there are as many as there are cores that are idle,
and they wait without spinning. Both must be known before a library is loaded, hence `environment`,
which whoever starts the process can ask.

Rules it keeps: two threads of one core count as one core; what a container may use is the limit;
what the person or their environment says, counts before everything else.

>>> count(Processor(cores=8, load=0.2)), count(Processor(2, 1.7)), count(Processor(2, 0.1))
(8, 1, 2)
>>> environment(RunOptions(threads=3), Processor(8, 0.0))["OMP_NUM_THREADS"]
'3'
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from p2phub.inference.spec import RunOptions

MOST: Final = 64
"""Threads at most: beyond that a step of a model is waiting for memory."""
_TOPOLOGY: Final = Path("/sys/devices/system/cpu")
_CPUINFO: Final = Path("/proc/cpuinfo")
_BFLOAT16: Final = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""What /proc/cpuinfo calls instructions for bfloat16, on x86 and Arm."""
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Processor:
    """What there is to compute with."""

    cores: int
    """Physical ones that this process may use."""
    load: float
    """How many of them others use, as far as the last minutes tell."""


def here() -> Processor:
    """This machine, now."""
    allowed = os.sched_getaffinity(0)
    cores = physical(allowed, {number: _siblings(number) for number in allowed})
    recent, longer, _ = os.getloadavg()
    return Processor(min(cores, quota(_text(_QUOTA)) or cores), min(recent, longer))


def count(processor: Processor) -> int:
    """The threads that a model gets: one for each idle core, one at least."""
    idle = int(processor.cores - processor.load + 0.5)
    return max(1, min(idle, processor.cores, MOST))


def environment(options: RunOptions, processor: Processor | None = None) -> dict[str, str]:
    """The variables that the libraries of a worker read when they are loaded.

    For this machine as it is now, unless another `processor` is given.
    """
    return {
        "OMP_NUM_THREADS": str(options.threads or count(processor or here())),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def physical(allowed: Iterable[int], siblings: dict[int, str]) -> int:
    """How many cores these logical processors are; `siblings` names those of one core alike.

    >>> physical([0, 1, 2, 3], {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    2
    >>> physical([0, 1], {0: "", 1: ""})
    2
    """
    return len({siblings[number] or str(number) for number in allowed})


def quota(text: str) -> int:
    """The processors that a container may use, from its `cpu.max`; 0: as many as there are.

    >>> quota("150000 100000"), quota("max 100000"), quota("")
    (2, 0, 0)
    """
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) for word in words):
        return 0
    return ceil(int(words[0]) / int(words[1]))


def _siblings(number: int) -> str:
    return _text(_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def computes_bfloat16(cpuinfo: str) -> bool:
    """Whether a processor has instructions for bfloat16.

    >>> computes_bfloat16("flags : fpu avx512_bf16"), computes_bfloat16("flags : fpu avx2")
    (True, False)
    """
    lines = (line for line in cpuinfo.splitlines() if line.startswith(("flags", "Features")))
    return not _BFLOAT16.isdisjoint(next(lines, "").split())


def cpuinfo() -> str:
    """What Linux says of the processor; empty elsewhere."""
    return _text(_CPUINFO)
