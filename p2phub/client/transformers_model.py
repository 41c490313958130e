"""`Hub.load`: a transformers model in the process of whoever asks, from a verified folder.

transformers is imported when a model is loaded, never before. Only safetensors are read; Python
files of a release run only if the caller says so, as everywhere in transformers. Of a repo that has
its weights in several precisions, one is fetched: the one that the name says, else the one that
`serve` would run (`fit` tells it). A folder with
`adapter_config.json` is refused: transformers would load the base that it names from the Hugging
Face Hub, which nobody here has verified.
"""

from collections.abc import Generator, Mapping
from glob import escape
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.results import FileRow, Named, Pulled
from p2phub.errors import NoMemoryError, UsageError
from p2phub.inference.variants import PLAIN, TRANSFORMERS, variant_named, variants_of
from p2phub.inference_results import FitReport

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


def bring(
    reference: str, options: Mapping[str, Any]
) -> Generator[Call[Any], Any, tuple[Path, dict[str, Any]]]:
    """The calls that bring a model; returns its folder, and the options to load it with.

    Raises `UsageError` for GGUF, `NotFoundError` for a variant that is not there, `NoMemoryError`
    if there are several and none fits.
    """
    name, made = named(reference, options)
    told: Named = yield calls.resolve(name)
    exact = f"{told.ref.rpartition('@')[0]}@{told.commit}"
    rows: list[FileRow] = yield calls.files(exact)
    every = variants_of([tuple(row.path.split("/")) for row in rows])
    found = [each for each in every if each.engine == TRANSFORMERS]
    label = reference.removeprefix("p2p://").partition(":")[2] or made.get("variant") or ""
    if not label and len(found) > 1:
        report: FitReport = yield calls.fit(exact)
        label = _suiting(report)
    others: set[str] = set()
    if label and found:
        chosen = variant_named(found, label)
        left = {path for each in found for path in each.paths} - set(chosen.paths)
        others = {escape("/".join(path)) for path in left}
        if chosen.label != PLAIN:
            made.setdefault("variant", chosen.label)
    pulled: Pulled = yield calls.pull(exact, exclude=(*EXCLUDED, *sorted(others)))
    return Path(pulled.path), made


def _suiting(report: FitReport) -> str:
    """The label of the variant that `serve` would run, of those in safetensors."""
    known = [each for each in report.variants if each.engine == TRANSFORMERS]
    fitting = [each for each in known if each.fits]
    if not fitting and known:
        least = min(known, key=lambda each: each.bytes_needed)
        raise NoMemoryError(
            f"no variant of {report.ref} in safetensors fits: {least.name}, the smallest, needs"
            f" {least.bytes_needed} bytes, and models may take {report.available_bytes} here",
            remedy=f"name one to load it all the same, such as {report.ref}:{least.name}",
        )
    order = sorted(fitting, key=lambda each: (not each.chosen, not each.here, -each.bytes_needed))
    return order[0].name if order else ""


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
