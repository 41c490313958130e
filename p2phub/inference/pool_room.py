"""Whether there is room for an engine on all of its devices, and which engines go to make it.

Pure: entries of the pool and devices as they are now, in; keys and bytes out. An engine takes an
even share on each of its devices.

Rules it keeps:
 * it is decided for all devices before anything is unloaded: what does not fit costs nobody;
 * an engine that goes frees its share on every device that it was on.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from p2phub.errors import NoMemoryError, UnsupportedError
from p2phub.inference.memory import (
    HOST,
    KEEP_FREE,
    Device,
    Room,
    Taken,
    left,
    most_of,
    named,
    names_of,
    readable,
    who_gives_way,
)
from p2phub.inference.pool_entry import Entry
from p2phub.inference.vllm import cache_share


@dataclass(frozen=True, slots=True)
class Rooms:
    """What models may take. `limit`: bytes on each device; 0: what is free there."""

    limit: int = 0

    def who_goes(
        self, entry: Entry, devices: Sequence[Device], size: int, loaded: Collection[Entry]
    ) -> tuple[str, ...]:
        """The engines to unload for `size` bytes more of `entry`. Raises `NoMemoryError`."""
        going: tuple[str, ...] = ()
        share = -(-size // len(devices))
        for device in devices:
            room = self._room(device)
            more = who_gives_way(share, room, _taken(device, loaded), going)
            if more is None:
                raise _too_large(entry, size, devices, device, room, loaded)
            going += more
        return going

    def cache(self, entry: Entry, devices: Sequence[Device], loaded: Collection[Entry]) -> int:
        """Bytes that `entry`, an engine that sets its cache aside itself, may take for that."""
        rests = []
        for device in devices:
            room = self._room(device)
            rests.append(min(left(room, _taken(device, loaded)), room.free))
        rest = len(devices) * min(rests) - entry.need.bytes
        return cache_share(entry.spec.engine, devices[0].name, rest)

    def _room(self, device: Device) -> Room:
        limit = most_of(device, self.limit) if self.limit else 0
        return Room(limit, device.free - int(device.total * KEEP_FREE))


def require_all(name: str, devices: Sequence[Device]) -> None:
    """Raise `UnsupportedError` if several devices are named and one is not there.

    A machine that tells of no GPU at all is believed nothing: who loads will see.
    """
    known = [each.name for each in devices]
    wanted = names_of(name)
    if len(wanted) == 1 or known == [HOST] or named(name, devices):
        return
    missing = ", ".join(each for each in wanted if each not in known)
    raise UnsupportedError(
        f"there is no {missing} here for a model on {name}",
        remedy=f"there are: {', '.join(known)}; set inference.device to what is there",
    )


def _on(device: Device, loaded: Collection[Entry]) -> Iterator[Entry]:
    return (each for each in loaded if device.name in names_of(each.device))


def _taken(device: Device, loaded: Collection[Entry]) -> list[Taken]:
    return [each.taken() for each in _on(device, loaded)]


def _too_large(
    entry: Entry,
    size: int,
    devices: Sequence[Device],
    full: Device,
    room: Room,
    loaded: Collection[Entry],
) -> NoMemoryError:
    """That it does not fit on the device `full`, with what is there instead."""
    there = [f"{each.spec.name} ({readable(each.taken().size)})" for each in _on(full, loaded)]
    rest = readable(max(0, left(room, _taken(full, loaded))))
    share = -(-size // len(devices))
    where = f"{readable(share)} on {full.name}"
    if len(devices) > 1:
        where = f"{readable(size)} on {len(devices)} GPUs, {where}"
    return NoMemoryError(
        f"{entry.spec.name} needs {where}, where {rest} of {readable(room.limit or full.total)}"
        f" are left; loaded there: {', '.join(there) or 'nothing'}",
        remedy="unload a model (`p2phub ps` lists them), or see with `p2phub fit` what would fit",
    )
