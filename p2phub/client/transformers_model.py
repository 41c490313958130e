"""`Hub.load`: a transformers model in the process of whoever asks, from a verified folder.

transformers is imported when a model is loaded, never before. Only safetensors are read; Python
files of a release run only if the caller says so, as everywhere in transformers.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from p2phub.errors import UsageError

EXCLUDED: Final = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ckpt")
"""What is not fetched: the same weights in other forms."""


def load_model(folder: Path, device: str, options: Mapping[str, Any]) -> Any:
    """The model in `folder`, as its architecture says. Raises `UsageError`."""
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise UsageError(
            "transformers is not installed, which loads models into this process",
            remedy='Install it: `pip install "p2phub[inference]"`.',
        ) from error
    config = transformers.AutoConfig.from_pretrained(folder, **_trust(options))
    kind = next(iter(getattr(config, "architectures", None) or ()), "")
    known = getattr(transformers, kind, None) or transformers.AutoModel
    more = {"use_safetensors": True, **options}
    return known.from_pretrained(folder, **more).to(device)


def _trust(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("trust_remote_code",) if key in options}
