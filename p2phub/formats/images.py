"""Releases as image manifests: OCI with the types of CNCF ModelPack, and what Ollama keeps.

Both name each file by its SHA-256, so nothing is packed: a layer is the file as it was signed.
Written from the OCI image specification 1.1, the ModelPack specification (`org.cncf.model`, the
`.raw` types) and the manifests that Ollama writes. JSON here is without spaces and in a fixed
order: the same release is the same bytes, and has the same digest.

>>> media_type(("weights", "a.safetensors"))
'application/vnd.cncf.model.weight.v1.raw'
>>> media_type(("LICENSE",))
'application/vnd.cncf.model.doc.v1.raw'
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from p2phub.errors import UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.paths import FilePath

OCI_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
MODEL_MANIFEST: Final = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
FILE_PATH: Final = "org.cncf.model.filepath"
TITLE: Final = "org.opencontainers.image.title"
REF_NAME: Final = "org.opencontainers.image.ref.name"
CREATED: Final = "org.opencontainers.image.created"
RELEASE: Final = "org.p2phub.release"
"""The annotation with the commit of the release, and of which publisher it is."""
OLLAMA_HOST: Final = "p2phub"
"""Where a registry's name would be: these models are of no registry."""
MAX_INDEX: Final = 4 << 20
"""Bytes of an index that is added to."""
_WEIGHTS: Final = (".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5")
_CODE: Final = (".py", ".sh", ".ipynb", ".js", ".c", ".cu", ".cpp")
_DOCS: Final = (".md", ".txt", ".rst", ".pdf", ".png", ".jpg")
_DOC_NAMES: Final = ("license", "notice", "readme", "usage")
_DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_OLLAMA: Final = "application/vnd.ollama.image."
_OLLAMA_NAMES: Final = {
    "template.txt": "template",
    "system.txt": "system",
    "params.json": "params",
    "messages.json": "messages",
    "license": "license",
    "license.txt": "license",
    "license.md": "license",
}
_OLLAMA_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_SPLIT: Final = re.compile(r"-[0-9]{5}-of-[0-9]{5}\.gguf")
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
"""What llama.cpp calls the numbers of `general.file_type`."""


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and its config, as bytes. The layers are files of the release."""

    manifest: bytes
    config: bytes

    @property
    def digests(self) -> tuple[bytes, bytes]:
        """The SHA-256 of the manifest and of the config."""
        return sha256(self.manifest), sha256(self.config)


def media_type(path: FilePath) -> str:
    """What ModelPack calls a file, by its name."""
    name = path[-1].lower()
    if name.endswith(_WEIGHTS):
        kind = "weight"
    elif name.endswith(_CODE):
        kind = "code"
    elif name.endswith(_DOCS) or name.startswith(_DOC_NAMES):
        kind = "doc"
    else:
        kind = "weight.config"
    return f"application/vnd.cncf.model.{kind}.v1.raw"


def oci_image(release: Release, commit: str, called: str, files: Sequence[FileEntry]) -> Image:
    """These files of a release as a model of ModelPack. `called`: `publisher/name`."""
    card, dataset = release.card, "application/vnd.cncf.model.dataset.v1.raw"
    created = _moment(release.created)
    suffixes = {file.path[-1].lower().rpartition(".")[2] for file in files}
    config = _json(
        {
            "descriptor": _given(
                {
                    "createdAt": created,
                    "name": called,
                    "version": commit,
                    "revision": commit,
                    "licenses": [card.license] if card.license else None,
                }
            ),
            "modelfs": {"type": "layers", "diffIds": [_digest(file.sha256) for file in files]},
            "config": _given(
                {
                    "format": next(
                        (each for each in ("safetensors", "gguf") if each in suffixes), ""
                    ),
                    "paramSize": str(card.parameters) if card.parameters else "",
                }
            ),
        }
    )
    layers = [
        {
            "mediaType": dataset if release.kind == "dataset" else media_type(file.path),
            "digest": _digest(file.sha256),
            "size": file.size,
            "annotations": {FILE_PATH: "/".join(file.path), TITLE: "/".join(file.path)},
        }
        for file in files
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": MODEL_MANIFEST,
        "config": _blob(MODEL_CONFIG, config),
        "layers": layers,
        "annotations": _given(
            {
                CREATED: created,
                TITLE: called,
                "org.opencontainers.image.licenses": card.license,
                RELEASE: f"{called}@{commit}",
            }
        ),
    }
    return Image(_json(manifest), config)


def oci_index(before: bytes | None, image: Image, ref: str) -> bytes:
    """The index of a layout, in which `ref` names this image; what it named else stays.

    Raises `UsageError` if `before` is no index.
    """
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    if before is not None:
        index = _read_index(before)
    entry = _blob(OCI_MANIFEST, image.manifest) | {
        "artifactType": MODEL_MANIFEST,
        "annotations": {REF_NAME: ref},
    }
    others = [each for each in index.get("manifests", []) if _ref(each) != ref]
    return _json({**index, "manifests": [*others, entry]})


def ollama_name(publisher: str, name: str, tag: str) -> FilePath:
    """Where Ollama looks for the manifest of `p2phub/publisher/name:tag`. Raises `UsageError`."""
    for part, is_plain in ((publisher, "." not in publisher), (name, True), (tag, True)):
        if _OLLAMA_PART.fullmatch(part) is None or not is_plain:
            raise UsageError(
                f"Ollama takes no name like {part[:80]!r}",
                remedy="give its publisher an alias (`p2phub trust add`), or name a tag",
            )
    return ("manifests", OLLAMA_HOST, publisher, name, tag)


def ollama_files(files: Sequence[FileEntry]) -> dict[FilePath, str]:
    """The files that Ollama takes, and as which kind of layer: one model, and what belongs to it.

    Raises `UsageError` if there is no model, or more than one.
    """
    kinds: dict[FilePath, str] = {}
    for file in files:
        name = file.path[-1].lower()
        if name.endswith(".gguf"):
            prefix = name.partition("-")[0]
            kinds[file.path] = {"mmproj": "projector", "adapter": "adapter"}.get(prefix, "model")
        elif len(file.path) == 1 and name in _OLLAMA_NAMES:
            kinds[file.path] = _OLLAMA_NAMES[name]
    models = ["/".join(path) for path, kind in kinds.items() if kind == "model"]
    if any(_SPLIT.search(name) for name in models):
        raise UsageError("Ollama takes no model that is split into several files of GGUF")
    if not models:
        raise UsageError(
            "Ollama loads GGUF, and there is no such file among these",
            remedy="pull a repo with GGUF files, or convert it with llama.cpp's convert_hf_to_gguf",
        )
    if len(models) > 1:
        raise UsageError(
            f"Ollama takes one model at a time, not {len(models)}: {', '.join(models[:8])}",
            remedy="name one with --include",
        )
    return kinds


def ollama_image(
    kinds: Mapping[FilePath, str],
    files: Sequence[FileEntry],
    metadata: Mapping[str, Any],
    parameters: int,
) -> Image:
    """A model as Ollama keeps it. `metadata`: of its GGUF file; `parameters`: numbers in it."""
    family = str(metadata.get("general.architecture", ""))
    layers = [
        {
            "mediaType": _OLLAMA + kinds[file.path],
            "digest": _digest(file.sha256),
            "size": file.size,
        }
        for file in sorted(files, key=lambda each: (kinds[each.path] != "model", each.path))
    ]
    number = metadata.get("general.file_type")
    config = _json(
        {
            "model_format": "gguf",
            "model_family": family,
            "model_families": [family] if family else None,
            "model_type": _rounded(parameters),
            "file_type": _FILE_TYPES.get(number, "unknown")
            if isinstance(number, int)
            else "unknown",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in layers]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": _DOCKER_MANIFEST,
        "config": _blob(_DOCKER_CONFIG, config),
        "layers": layers,
    }
    return Image(_json(manifest), config)


def _read_index(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    is_index = isinstance(told, dict) and told.get("schemaVersion") == 2
    if not is_index or not isinstance(told.get("manifests", []), list):
        raise UsageError(
            "there is an index.json that is none of an OCI layout", remedy="name another folder"
        )
    found: dict[str, Any] = told
    return found


def _ref(entry: Any) -> Any:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def _blob(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(sha256(data)), "size": len(data)}


def _digest(value: bytes) -> str:
    return f"sha256:{value.hex()}"


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rounded(count: int) -> str:
    """As people say how large a model is.

    >>> _rounded(134_515_008), _rounded(8_030_261_248), _rounded(0)
    ('134.52M', '8.0B', '')
    """
    if not count:
        return ""
    if count >= 10**9:
        return f"{count / 10**9:.1f}B"
    return f"{count / 10**6:.2f}M"
