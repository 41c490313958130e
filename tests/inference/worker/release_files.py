"""Releases on a disk, made from bytes: files with their piece tables, and safetensors."""

import json
from pathlib import Path

from p2phub.formats.digest import blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import PieceTable
from p2phub.inference.spec import ModelFile, ModelSpec, RunOptions

PIECE = 256 * 1024


def content_of(data: bytes, piece: int = PIECE) -> tuple[ContentId, bytes]:
    """The content id of `data` and its packed piece table."""
    if len(data) <= MIB:
        return ContentId(len(data), sha256(data)), b""
    parts = [data[at : at + piece] for at in range(0, len(data), piece)]
    table = PieceTable.build([len(part) for part in parts], [blake3(part) for part in parts])
    return table.content_id, table.pack()


def model_file(
    folder: Path, name: str, data: bytes, *, complete: bool = True, piece: int = PIECE
) -> ModelFile:
    """`data`, written below `folder`, as a worker is told of it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    content, table = content_of(data, piece)
    return ModelFile(tuple(name.split("/")), content, str(path), table, complete)


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], **changed: object) -> bytes:
    """A file with these tensors: name → dtype, shape, bytes. `changed` replaces header entries."""
    header: dict[str, object] = {}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
    text = json.dumps(header | changed).encode()
    body = b"".join(data for _, _, data in tensors.values())
    return len(text).to_bytes(8, "little") + text + body


def spec_of(*files: ModelFile, **options: object) -> ModelSpec:
    return ModelSpec(
        "00" * 32, "lab/model", "transformers", "text-generation", files, RunOptions(**options)
    )
