"""The floor: `cp` on one disk, with nothing verified, or with BLAKE3 of the copy.

    python scripts/benchmarks/copying.py serve FOLDER
    python scripts/benchmarks/copying.py fetch FOLDER TARGET [blake3]

Nobody serves anything: `serve` only prints the folder. Every file is fsynced.
"""

import subprocess
import sys
import time
from pathlib import Path

from blake3 import blake3
from rivals import make_durable, tell

BUFFER = 1 << 20


def fetch(folder: str, target: Path, *, hashed: bool) -> None:
    subprocess.run(["cp", "-r", f"{folder}/.", str(target)], check=True)
    if hashed:
        buffer = bytearray(BUFFER)
        for path in target.rglob("*"):
            if path.is_file():
                hash_whole(path, buffer)
    make_durable(target)


def hash_whole(path: Path, buffer: bytearray) -> str:
    digest, view = blake3(), memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def main() -> None:
    match sys.argv[1:]:
        case "serve", folder:
            print(folder, flush=True)
            while True:
                time.sleep(60)
        case "fetch", folder, target, *words:
            tell(lambda: fetch(folder, Path(target), hashed="blake3" in words))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
