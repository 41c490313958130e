"""A model as Ollama keeps it: a manifest that names layers, and a folder of blobs by SHA-256.

    models/manifests/registry.ollama.ai/library/llama3.2/1b     JSON
    models/blobs/sha256-<64 hex>

Each layer becomes a file under the name that people know it by: the weights are a GGUF file. What
Ollama says a layer's SHA-256 is, is compared when the layer was read. A manifest comes from a
registry, so nothing in it becomes a path: names are made of the manifest's own path and of what is
written here, and a blob is named by 64 hex digits.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import from_hexadecimal

MAX_MANIFEST, MAX_LAYERS = 1 << 20, 1000
"""Bytes, and how many: real ones have a few hundred and under ten."""
_KIND = "application/vnd.ollama.image."
_NAMES: Final[Mapping[str, str]] = {
    "model": "{model}.gguf",
    "projector": "mmproj-{model}.gguf",
    "adapter": "adapter-{model}.gguf",
    "template": "template.txt",
    "system": "system.txt",
    "params": "params.json",
    "messages": "messages.json",
    "license": "LICENSE",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a model: the file it is published as, and the blob that holds it."""

    name: str
    blob: Path
    size: int
    sha256: bytes
    """What Ollama says it is."""


def is_manifest(path: Path) -> bool:
    """Whether `path` is a manifest in a store of Ollama's, by where it lies."""
    return path.is_file() and _models(path) is not None


def layers_of(manifest: Path) -> tuple[Layer, ...]:
    """The files of the model that a manifest describes.

    Raises `UsageError` for what is no such manifest or has parts that are not known here,
    `NotFoundError` if a blob is missing.
    """
    models = _models(manifest)
    if models is None:
        raise UsageError(f"{manifest} is no manifest of Ollama's", remedy="name the folder")
    try:
        with manifest.open("rb") as file:
            read = file.read(MAX_MANIFEST + 1)
        told = json.loads(read) if len(read) <= MAX_MANIFEST else None
    except (OSError, ValueError, RecursionError):
        told = None
    listed = told.get("layers") if isinstance(told, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_LAYERS:
        raise _strange(manifest, "it lists no layers")
    model = _plain(f"{manifest.parent.name}-{manifest.name}")
    return tuple(_numbered(_layer(manifest, models, model, each) for each in listed))


def _models(manifest: Path) -> Path | None:
    """The folder that holds `manifests` and `blobs`."""
    for above in manifest.parents:
        if above.name == "manifests" and (above.parent / "blobs").is_dir():
            return above.parent
    return None


def _layer(manifest: Path, models: Path, model: str, told: Any) -> Layer:
    told = told if isinstance(told, dict) else {}
    kind, digest, size = (told.get(key) for key in ("mediaType", "digest", "size"))
    if not (isinstance(kind, str) and isinstance(digest, str) and isinstance(size, int)):
        raise _strange(manifest, "a layer lacks its type, digest or size")
    name = _NAMES.get(kind.removeprefix(_KIND)) if kind.startswith(_KIND) else None
    if name is None:
        raise _strange(manifest, f"it has a layer of the unknown type {kind[:80]!r}")
    sha256 = from_hexadecimal(digest.removeprefix("sha256:"))
    if sha256 is None:
        raise _strange(manifest, "a layer has no SHA-256")
    blob = models / "blobs" / f"sha256-{sha256.hex()}"
    if not blob.is_file() or blob.is_symlink():
        raise NotFoundError(f"{blob} is missing", remedy="run `ollama pull` for this model again")
    if blob.stat().st_size != size:
        raise _strange(manifest, f"{blob} has another size than it says")
    return Layer(name.format(model=model), blob, size, sha256)


def _numbered(layers: Iterator[Layer]) -> Iterator[Layer]:
    """Several layers of one kind: LICENSE, LICENSE-2, …"""
    seen: dict[str, int] = {}
    for layer in layers:
        count = seen[layer.name] = seen.get(layer.name, 0) + 1
        stem, dot, suffix = layer.name.rpartition(".")
        more = f"{stem}-{count}{dot}{suffix}" if dot else f"{suffix}-{count}"
        yield layer if count == 1 else Layer(more, layer.blob, layer.size, layer.sha256)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _strange(manifest: Path, why: str) -> UsageError:
    return UsageError(
        f"{manifest} cannot be published: {why}", remedy="run `ollama pull` for this model again"
    )
