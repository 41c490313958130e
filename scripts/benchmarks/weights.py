"""Models to measure with: safetensors files full of random bytes, of any size, and changes to them.

Every tensor of a file has the same size, so that a change is as large as it says it is.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

MIB = 1 << 20
SHARDS = 4
TENSOR = 16 * MIB


def make_shards(folder: Path, size: int, tensor: int = TENSOR) -> list[Path]:
    """A folder with a model of about `size` bytes in four shards, and a README."""
    folder.mkdir()
    (folder / "README.md").write_text("Random bytes, to measure with.\n")
    shards = [folder / f"shard-{number}.safetensors" for number in range(SHARDS)]
    for shard in shards:
        make_shard(shard, size // SHARDS, tensor)
    return shards


def make_shard(path: Path, size: int, tensor: int = TENSOR) -> None:
    """A safetensors file of about `size` bytes, in tensors of at most `tensor` bytes."""
    each = min(size, tensor) // 4 * 4
    names = [f"{path.stem}.layer.{number}.weight" for number in range(max(1, size // each))]
    with path.open("wb") as file:
        file.write(head(names, each))
        for _ in names:
            file.write(os.urandom(each))


def head(names: Sequence[str], each: int) -> bytes:
    """How a safetensors file begins whose tensors have these names and `each` bytes.

    >>> len(head(["a"], 4)) % 8, head(["a"], 4)[8:13]
    (0, b'{"a":')
    """
    header = {
        name: {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def tensors_of(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor of a file lies: offset and length in bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    bounds = {name: each["data_offsets"] for name, each in header.items()}
    return {name: (8 + length + start, stop - start) for name, (start, stop) in bounds.items()}


def overwrite(path: Path, names: Sequence[str]) -> int:
    """Give these tensors other values; how many bytes that changed."""
    places = tensors_of(path)
    with path.open("r+b") as file:
        for name in names:
            offset, length = places[name]
            file.seek(offset)
            file.write(os.urandom(length))
    return sum(places[name][1] for name in names)


def reshard(shards: Sequence[Path], folder: Path, count: int) -> None:
    """The same tensors in `count` files of `folder`, in the same order."""
    places = [(shard, name, *place) for shard in shards for name, place in _ordered(shard)]
    bounds = [number * len(places) // count for number in range(count + 1)]
    for number in range(count):
        mine = places[bounds[number] : bounds[number + 1]]
        with (folder / f"part-{number}.safetensors").open("wb") as file:
            file.write(head([name for _, name, _, _ in mine], mine[0][3]))
            for shard, _, offset, length in mine:
                with shard.open("rb") as source:
                    source.seek(offset)
                    file.write(source.read(length))


def _ordered(shard: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    yield from sorted(tensors_of(shard).items(), key=lambda item: item[1])


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
