"""The memory that models may take: what each device has, and who gives way to whom.

Pure, but for `read_devices` and `Machine`, which look at this machine. A device is `cpu` or
`cuda:0`, `cuda:1`, …; several that share a model are named `cuda:0,cuda:1`.

Rules it keeps:
 * what a load will need is reserved before it begins, an even share on each of its devices;
 * engines that nobody asks give way, the one that was not asked the longest time first, and no more
   of them than it takes; one that somebody holds never does;
 * if it does not fit even then, nothing is unloaded.

>>> taken = (Taken("a", 6, idle_since=5.0), Taken("b", 3, idle_since=9.0), Taken("c", 1))
>>> who_gives_way(5, Room(limit=10), taken)
('a',)
>>> who_gives_way(10, Room(limit=10), taken) is None
True
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

HOST: Final = "cpu"
KEEP_FREE: Final = 0.05
"""The part of a device that is left free where nothing says how much models may take."""
FORGET_AFTER: Final = 60.0
"""Seconds after which it is looked again whether there are GPUs."""
_PATIENCE: Final = 10.0
"""Seconds for `nvidia-smi`."""
_MEMINFO: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_CELLS: Final = 4
_ASK: Final = (
    "nvidia-smi",
    "--query-gpu=index,memory.total,memory.free,uuid",
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is now: bytes in all, and bytes that are free."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Room:
    """What models may take on one device: `limit` in all, or, if that is 0, what is `free` now."""

    limit: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What one engine takes on a device."""

    key: str
    size: int
    idle_since: float | None = None
    """When it was asked last; None: somebody holds it now."""
    loading: bool = False
    """Whether its memory is not taken yet, so that what is free still counts it."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a model needs of memory on all of its devices, in bytes; nothing: it is not known.

    >>> Need(600, 300, 100).bytes, Need(600, 300, 100).once_loaded(640, 200).bytes
    (1000, 940)
    """

    weight_bytes: int = 0
    cache_bytes: int = 0
    other_bytes: int = 0
    loading_bytes: int = 0
    """Beyond all that, until it is loaded."""

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.cache_bytes + self.other_bytes

    @property
    def most(self) -> int:
        """At the most, at one moment."""
        return self.bytes + self.loading_bytes

    def once_loaded(self, weight_bytes: int, cache_bytes: int) -> "Need":
        """The same with what an engine tells of itself; one that tells of no weights is not heard.

        It is believed to be at least as large where nobody knew what it takes beside.
        """
        if not weight_bytes:
            return self
        told = Need(weight_bytes, cache_bytes, self.other_bytes)
        return told if self.other_bytes else max(self, told, key=lambda each: each.bytes)


def names_of(device: str) -> tuple[str, ...]:
    """The devices of one that a model runs on: several that share it stand with commas.

    >>> names_of("cuda:0,cuda:1"), names_of("cpu")
    (('cuda:0', 'cuda:1'), ('cpu',))
    """
    return tuple(device.split(","))


def named(device: str, devices: Sequence[Device]) -> tuple[Device, ...]:
    """Those of `devices` that `device` names; empty if one of them is not there."""
    known = {each.name: each for each in devices}
    names = names_of(device)
    return tuple(known[each] for each in names) if all(each in known for each in names) else ()


def joined(devices: Sequence[Device]) -> Device:
    """Devices that share a model evenly, as one: the smallest of them is full first.

    >>> joined((Device("cuda:0", 24, 20), Device("cuda:1", 16, 16)))
    Device(name='cuda:0,cuda:1', total=32, free=32)
    """
    count = len(devices)
    least, free = (min(getattr(each, what) for each in devices) for what in ("total", "free"))
    return Device(",".join(each.name for each in devices), count * least, count * free)


def most_of(device: Device, limit: int) -> int:
    """Bytes that models may take of a device in all. `limit`: at most so many; 0: any number.

    >>> most_of(Device("cpu", 1000, 10), 0), most_of(Device("cpu", 1000, 10), 300)
    (950, 300)
    """
    most = device.total - int(device.total * KEEP_FREE)
    return min(most, limit) if limit else most


def left(room: Room, taken: Sequence[Taken]) -> int:
    """Bytes that are not promised to anybody; may be less than 0."""
    if room.limit:
        return room.limit - sum(each.size for each in taken)
    return room.free - sum(each.size for each in taken if each.loading)


def who_gives_way(
    need: int, room: Room, taken: Sequence[Taken], going: Sequence[str] = ()
) -> tuple[str, ...] | None:
    """Which engines to unload for `need` more bytes, in order; None: it does not fit.

    `going`: those that are unloaded whatever comes out.
    """
    missing = need - left(room, taken) - sum(each.size for each in taken if each.key in going)
    gone: list[str] = []
    idle = [
        (each.idle_since, each)
        for each in taken
        if each.idle_since is not None and each.key not in going
    ]
    for _, each in sorted(idle, key=lambda pair: pair[0]):
        if missing <= 0:
            break
        if each.size > 0:
            gone.append(each.key)
            missing -= each.size
    return tuple(gone) if missing <= 0 else None


def place(engine: str, wanted: str, devices: Sequence[Device], *, shares: bool = True) -> str:
    """The device a model is loaded to: the one that was asked for, else the GPU with the most room.

    `shares`: whether several devices may share it; if not, it goes to one of those that are named.

    >>> gpus = (Device("cpu", 64, 60), Device("cuda:0", 24, 3), Device("cuda:1", 24, 20))
    >>> place("transformers", "", gpus), place("transformers", "cuda", gpus)
    ('cuda:1', 'cuda:0')
    >>> place("llamacpp", "", gpus), place("transformers", "", gpus[:1])
    ('cpu', 'cpu')
    >>> both = "cuda:0,cuda:1"
    >>> place("transformers", both, gpus), place("transformers", both, gpus, shares=False)
    ('cuda:0,cuda:1', 'cuda:1')
    """
    several = named(wanted, devices) if "," in wanted and not shares else ()
    if several:
        wanted, devices = "", several
    if wanted:
        return "cuda:0" if wanted == "cuda" else wanted
    gpus = [each for each in devices if each.name != HOST]
    if engine == "llamacpp" or not gpus:  # the llama.cpp that we carry runs on the processor
        return HOST
    return max(gpus, key=lambda each: each.free).name


def readable(size: int) -> str:
    """Bytes for people.

    >>> readable(3 << 30), readable(5 << 20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{-(-size // (1 << 20))} MiB"


def host_of(meminfo: str) -> Device:
    """The processor's memory.

    >>> host_of("MemTotal:  100 kB\\nMemFree:  10 kB\\nMemAvailable:  60 kB\\n")
    Device(name='cpu', total=102400, free=61440)
    """
    found = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) << 10
    return Device(HOST, found.get("MemTotal", 0), found.get("MemAvailable", 0))


def gpus_of(told: str, visible: str | None = None) -> tuple[Device, ...]:
    """The GPUs that `nvidia-smi` lists (index, MiB in all, MiB free, UUID), as CUDA numbers them.

    `visible`: what `CUDA_VISIBLE_DEVICES` says, an index or a UUID each; as CUDA does it, what
    follows one that is not there is not seen.

    >>> told = "0, 24576, 1024, GPU-1f\\n1, [N/A], [N/A], GPU-2f\\n2, 8, 7, GPU-3f\\n"
    >>> [each.name for each in gpus_of(told)], gpus_of(told, "GPU-3,7,0")
    (['cuda:0', 'cuda:2'], (Device(name='cuda:0', total=8388608, free=7340032),))
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    rows = [row for row in rows if len(row) == _CELLS and row[0].isdecimal()]
    if visible is not None:
        rows = list(_seen(rows, [each.strip() for each in visible.split(",")]))
    return tuple(
        Device(f"cuda:{number}", int(row[1]) << 20, int(row[2]) << 20)
        for number, row in enumerate(rows)
        if row[1].isdecimal() and row[2].isdecimal()
    )


def _seen(rows: Sequence[list[str]], names: Sequence[str]) -> Iterator[list[str]]:
    for name in names:
        found = [row for row in rows if name == row[0] or (name[:4] == "GPU-" and name in row[3])]
        if len(found) != 1:
            return
        yield found[0]


def within_group(host: Device, most: str, current: str, statistics: str) -> Device:
    """What a control group leaves of the host; files that it may give back are not taken.

    >>> within_group(Device("cpu", 100, 90), "50", "45", "file 9\\ninactive_file 5\\n")
    Device(name='cpu', total=50, free=10)
    """
    if not (most.isdecimal() and current.isdecimal()):
        return host
    given = [line.split()[1] for line in statistics.splitlines() if line.startswith("inactive_f")]
    free = int(most) - int(current) + sum(map(int, given))
    return Device(host.name, min(host.total, int(most)), max(0, min(host.free, free)))


class Machine:
    """The devices of this machine, as they are now."""

    def __init__(self) -> None:
        self._no_gpus_until = 0.0

    async def devices(self) -> tuple[Device, ...]:
        """The processor first, then the GPUs."""
        gpus: tuple[Device, ...] = ()
        if trio.current_time() >= self._no_gpus_until:
            gpus = gpus_of(await trio.to_thread.run_sync(_nvidia), os.environ.get(VISIBLE))
        if not gpus:
            self._no_gpus_until = trio.current_time() + FORGET_AFTER
        return (await trio.to_thread.run_sync(_host), *gpus)


def _host() -> Device:
    host = host_of(_text(_MEMINFO))
    names = ("memory.max", "memory.current", "memory.stat")
    return within_group(host, *(_text(_GROUP / name).strip() for name in names))


def _nvidia() -> str:
    try:
        done = subprocess.run(_ASK, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
