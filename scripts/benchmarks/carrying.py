"""The floor for a stick: `cp` out, read back, `cp` in, BLAKE3 twice, with the fsyncs of p2phub.

    python scripts/benchmarks/carrying.py out FOLDER STICK
    python scripts/benchmarks/carrying.py in STICK FOLDER

Each prints what it took as JSON. `out` reads back from the medium, not from the page cache, and
hashes what it read; `in` hashes what it has copied.
"""

import os
import subprocess
import sys
from pathlib import Path

from copying import BUFFER, hash_whole
from rivals import make_durable, tell


def plain_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def uncached(folder: Path) -> None:
    """Let the page cache forget the files of a folder, which are on the disk already."""
    for path in plain_files(folder):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def cached(folder: Path) -> None:
    """Let the page cache have the files of a folder."""
    buffer = bytearray(BUFFER)
    for path in plain_files(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def copy(source: Path, target: Path, *, back: bool) -> None:
    """A durable copy, hashed. `back`: what is hashed comes from the medium."""
    target.mkdir()
    subprocess.run(["cp", "-rL", f"{source}/.", str(target)], check=True)
    if back:
        make_durable(target)
        uncached(target)
    buffer = bytearray(BUFFER)
    for path in plain_files(target):
        hash_whole(path, buffer)
    if not back:
        make_durable(target)


def main() -> None:
    match sys.argv[1:]:
        case "out" | "in" as way, source, target:
            tell(lambda: copy(Path(source), Path(target), back=way == "out"))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
