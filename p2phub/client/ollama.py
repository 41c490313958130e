"""Where Ollama keeps a model on this machine, by the name that `ollama list` shows.

>>> manifest_in(Path("/models"), "llama3.2:1b").as_posix()
'/models/manifests/registry.ollama.ai/library/llama3.2/1b'
>>> manifest_in(Path("/models"), "hf.co/org/Model-GGUF:Q4_K_M").as_posix()
'/models/manifests/hf.co/org/Model-GGUF/Q4_K_M'

What is in such a manifest is the node's to read.
"""

import os
from pathlib import Path

from p2phub.errors import NotFoundError, UsageError

PREFIX = "ollama:"
_SYSTEM = Path("/usr/share/ollama/.ollama/models")
"""Where it is when Ollama runs as a service of Linux."""


def resolve(folder: Path) -> Path:
    """The manifest that `ollama:name[:tag]` stands for; any other path as it is.

    Raises `NotFoundError` if Ollama has no such model, `UsageError` for what is no name.
    """
    text = os.fspath(folder)
    if not text.startswith(PREFIX):
        return folder
    name = text.removeprefix(PREFIX)
    models = own_models()
    manifest = manifest_in(models, name)
    if not manifest.is_file():
        raise NotFoundError(
            f"Ollama has no model {name} in {models}",
            remedy="`ollama list` shows what there is; OLLAMA_MODELS says where else they lie",
        )
    return manifest


def manifest_in(models: Path, name: str) -> Path:
    """Where the manifest of a model lies. Raises `UsageError` for what is no name."""
    repo, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repo, tag = name, "latest"
    parts = [*repo.split("/"), tag]
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"{name!r} is no name of a model of Ollama's",
            remedy="write it as `ollama list` does, for example ollama:llama3.2:1b",
        )
    if len(parts) == 2:
        parts = ["library", *parts]
    if len(parts) == 3:
        parts = ["registry.ollama.ai", *parts]
    return models.joinpath("manifests", *parts)


def own_models() -> Path:
    """The folder of models: $OLLAMA_MODELS, that of this user, or that of the service."""
    chosen = os.environ.get("OLLAMA_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    own = Path.home() / ".ollama" / "models"
    return _SYSTEM if not own.is_dir() and _SYSTEM.is_dir() else own
