"""Writes the golden vectors of the planner: `python tests/golden/make_pieces.py`.

Run once a planner, for a new folder; it writes over nothing. The heads of weights files are kept as
bytes, everything else is SHA-256 in counter mode, so that the vectors can be checked without any
code of p2phub but the one under test.
"""

import json
import struct
import sys
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from p2phub.formats.digest import blake3
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PLANNER, PiecePlanner

FOLDER = Path(__file__).parent / "v0.1" / "pieces"
MIB = 1 << 20


def stream(seed: str, size: int) -> bytes:
    """SHA-256 of the seed, a zero byte and a counter (8 bytes, little-endian), again and again."""
    start = seed.encode() + b"\0"
    blocks = (sha256(start + struct.pack("<Q", n)).digest() for n in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def safetensors_head() -> bytes:
    sizes = {"model.embed": 3 * MIB // 2, "model.bias": 40_000, "model.norm": 50_000}
    sizes |= {"model.scale": 6, "model.head": 600_000}
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in sizes.items():
        shape, offsets = [size // 2], [end, end + size]
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        end += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


def gguf_head() -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
        return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)

    words = struct.pack("<IIQ", 9, 8, 3) + text("a") + text("bc") + text("")
    head = b"GGUF" + struct.pack("<IQQ", 3, 4, 3)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("general.alignment") + struct.pack("<II", 4, 64)
    head += text("tokenizer.ggml.tokens") + words
    head += info("token_embd.weight", (256, 9001), 14, 0)  # Q6_K: 210 bytes for 256
    head += info("output_norm.weight", (7,), 0, 1_890_240)  # F32: 28 bytes, then a gap of 36
    head += info("blk.0.bias", (100,), 1, 1_890_304)  # F16: 200 bytes, then a gap of 56
    head += info("future", (5,), 999, 1_890_560)  # a type of tomorrow: up to the end of the file
    return head + bytes(-len(head) % 64)


RECIPES: dict[str, tuple[str, int]] = {
    "other": ("other", 8 * MIB),
    "just-over-small": ("over", MIB + 1),
    "safetensors": ("safetensors", 3 * MIB // 2 + 690_006),
    "safetensors-torn": ("safetensors", 3 * MIB // 2 + 690_005),
    "gguf": ("gguf", 1_890_560 + 123_456),
}
"""Name of a vector → seed and number of the bytes that follow its head."""


def head_of(name: str) -> bytes:
    """The bytes before those of the recipe, as they were recorded."""
    path = FOLDER / f"{name.removesuffix('-torn')}.head"
    return path.read_bytes() if path.exists() else b""


def data_of(name: str) -> bytes:
    seed, size = RECIPES[name]
    return head_of(name) + stream(seed, size)


def table_of(data: bytes) -> PieceTable:
    """The table that a publisher makes of this file today."""
    planner = PiecePlanner(len(data))
    lengths = planner.feed(data) + planner.finish()
    ends = list(accumulate(lengths))
    pieces = (data[end - length : end] for end, length in zip(ends, lengths, strict=True))
    return PieceTable.build(lengths, map(blake3, pieces))


def main() -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "safetensors.head").write_bytes(safetensors_head())
    (FOLDER / "gguf.head").write_bytes(gguf_head())
    recorded = {}
    for name in RECIPES:
        table = table_of(data_of(name))
        lengths = [table.length(index) for index in range(table.count)]
        recorded[name] = {"lengths": lengths, "content": str(table.content_id)}
    text = json.dumps({"planner": PLANNER, "files": recorded}, indent=1)
    (FOLDER / "recorded.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
