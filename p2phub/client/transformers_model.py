"""`Hub.load`: a transformers model in the process of whoever asks, from a verified folder.

transformers is imported when a model is loaded, never before. Only safetensors are read; Python
files of a release run only if the caller says so, as everywhere in transformers. A folder with
`adapter_config.json` is refused: transformers would load the base that it names from the Hugging
Face Hub, which nobody here has verified.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from p2phub.errors import UsageError

EXCLUDED: Final = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ckpt")
"""What is not fetched: the same weights in other forms."""

ADAPTER: Final = "adapter_config.json"


_PRECISIONS: Final = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")


def named(reference: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A reference without its variant, and the options with it. Raises `UsageError` for GGUF.

    >>> named("lab/x:fp16", {"dtype": "auto"})
    ('lab/x', {'variant': 'fp16', 'dtype': 'auto'})
    >>> named("p2p://lab/x:safetensors", {})
    ('lab/x', {})
    """
    name, _, variant = reference.removeprefix("p2p://").partition(":")
    if not variant or variant.lower() == "safetensors":
        return name, dict(options)
    if variant.lower() not in _PRECISIONS:
        raise UsageError(
            f"{variant[:200]} is no variant in safetensors, and only those are loaded here",
            remedy="`Hub.serve` and `Hub.chat` run every variant, in the node",
        )
    return name, {"variant": variant.lower(), **options}


def load_model(folder: Path, device: str, options: Mapping[str, Any]) -> Any:
    """The model in `folder`, as its architecture says. Raises `UsageError`."""
    if (folder / ADAPTER).exists():
        raise UsageError(
            f"{folder} has an {ADAPTER}: transformers would load another model that it names",
            remedy="ask an adapter through the node (`Hub.chat`), or load its base and put it on"
            " with peft: `PeftModel.from_pretrained(base, folder)`",
        )
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
