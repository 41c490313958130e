"""T8: a repo whose bytes are all on this disk already, under another name or in other files.

A node has a model of four shards and a few small files. In every round it pulls a repo with the
same files, and one with the same tensors cut into three files; what loopback carries meanwhile is
counted by the kernel. Both are dropped again afterwards. The baseline of the second: `cp` of as
many bytes on the same file system, BLAKE3 over the copy, and fsync.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, run
from peer import Peer, publisher, quiet
from rivals import Field, Rival, Spent
from weights import MIB, make_shards, reshard, size_of
from wire import carried, own_network

SMALL_FILES = 16
PARTS = 3
WIRE_BUDGET, FILE_BUDGET, COPY_BUDGET = 0.01, 0.050, 1.5
SAME, OTHER = "same files", f"re-sharded 4 → {PARTS}"


@dataclass(frozen=True, slots=True)
class Took:
    """One pull: seconds, CPU seconds of the node that pulled, bytes on the wire, the most MiB."""

    wall: float
    cpu: float
    wire: int
    peak: float


def make(place: Path, size: int) -> dict[str, Path]:
    """The folder of each repo; the one that is here first is the one of the same files."""
    folders = {SAME: place / "same", OTHER: place / "other"}
    shards = make_shards(folders[SAME], size)
    for number in range(SMALL_FILES):
        (folders[SAME] / f"config-{number}.json").write_text(f'{{"number": {number}}}\n')
    folders[OTHER].mkdir()
    reshard(shards, folders[OTHER], PARTS)
    for path in folders[SAME].iterdir():
        if path not in shards:
            shutil.copy(path, folders[OTHER])
    return folders


def pulled(reader: Peer, lab: Peer, reference: str) -> Took:
    """Pull it, and drop it again."""
    quiet(reader.node.pid, lab.node.pid)
    os.sync()
    pid = reader.node.pid
    cpu, wire = cpu_seconds(pid), carried()
    wall, _ = reader.timed_pull(reference)
    took = Took(wall, cpu_seconds(pid) - cpu, carried() - wire, peak_mib(pid))
    reader.remove(reference)
    return took


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    folders = make(place, size)
    took: dict[str, list[Took]] = {SAME: [], OTHER: []}
    copies: list[Spent] = []
    copy = Rival("cp + BLAKE3", "copying", serve=(str(folders[OTHER]),), fetch=("blake3",))
    with ExitStack() as running:
        lab = publisher(place, running)
        reader = Peer(Home(place / "reader"), running, lab.address)
        reader.meet()
        reader.pull(lab.publish(folders[SAME], "first")[0])
        references = {
            SAME: lab.publish(folders[SAME], "same")[0],
            OTHER: lab.publish(folders[OTHER], "other")[0],
        }
        field = Field([copy], running)
        for _ in range(rounds):
            for what, reference in references.items():
                took[what].append(pulled(reader, lab, reference))
            with tempfile.TemporaryDirectory(dir=place) as target:
                copies += field.round(Path(target)).values()
    return lines(took, copies, folders)


def lines(
    took: dict[str, list[Took]], copies: list[Spent], folders: dict[str, Path]
) -> list[Result]:
    found = []
    copied = median([each.wall for each in copies])
    for what, rounds in took.items():
        size, files = size_of(folders[what]), len(list(folders[what].iterdir()))
        wall, cpu = median([each.wall for each in rounds]), median([each.cpu for each in rounds])
        note = f"{files} files; {cpu:.2f} CPU s, {rounds[-1].peak:.0f} MiB"
        label = f"{size / MIB:.0f} MiB that are here, {what}"
        wire = median([each.wire for each in rounds]) / MIB
        walls = (wall, copied, "s", COPY_BUDGET, True, len(rounds), f"{note}; against cp + BLAKE3")
        if what == SAME:
            walls = (wall, copied, "s", FILE_BUDGET * files, False, len(rounds), note)
        carried_ = (wire, size / MIB, "MiB", WIRE_BUDGET, True, len(rounds), "against its size")
        found += [
            Result("T8", f"{label}: wall", *walls),
            Result("T8", f"{label}: on the wire", *carried_),
        ]
    return found


if __name__ == "__main__":
    own_network()
    run(__doc__, measure)
