"""Take off a stick what nobody it goes to lacks any more.

Lists of contents go before what they list, and an index before its pack: pulled out at any point,
the stick claims nothing that it does not hold. A pack of which one thing is still needed stays as
it is.

>>> sorted(unneeded({"pieces": {}, "documents": {}}, {"pieces": set(), "documents": set()}))
[]
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from p2phub.airgap.medium import FOLDER, Kind, name_of
from p2phub.airgap.sealed import SUFFIX
from p2phub.formats.bundle import PackIndex
from p2phub.store.disk import Disk

Needed = Mapping[Kind, Collection[bytes]]
"""The digests that are still needed, of pieces and of documents."""


def drop_contents(path: Path, disk: Disk, numbers: Collection[int]) -> None:
    """Remove these lists of contents."""
    _remove(path, disk, [name_of("contents", number, "list") for number in numbers])


def drop_packs(
    path: Path, disk: Disk, packs: Mapping[Kind, Mapping[int, PackIndex]], needed: Needed
) -> int:
    """Remove the packs of which nothing is needed; how many bytes they had."""
    gone = list(unneeded(packs, needed))
    for kind, number in gone:
        _remove(path, disk, [name_of(kind, number, "index"), name_of(kind, number, "pack")])
    return sum(row.length for kind, number in gone for row in packs[kind][number])


def unneeded(
    packs: Mapping[Kind, Mapping[int, PackIndex]], needed: Needed
) -> Iterator[tuple[Kind, int]]:
    """The packs of which nothing is needed."""
    for kind, found in packs.items():
        for number, index in found.items():
            if not any(row.digest in needed[kind] for row in index):
                yield kind, number


def _remove(path: Path, disk: Disk, names: Collection[str]) -> None:
    """Remove files in this order, sealed or not, each for good before the next."""
    folder = path / FOLDER
    for name in names:
        disk.remove(folder / name)
        disk.remove(folder / (name + SUFFIX))
        disk.sync_path(folder)
