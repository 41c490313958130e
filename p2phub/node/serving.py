"""Which files of a release a model needs, what runs it, and what it can be asked.

Decided from the names of the files, the card and `config.json`, before anything is fetched: a repo
often has the same weights several times (safetensors, pickles, onnx, other quantisations), of which
one is needed.

Rules it keeps:
 * weights are safetensors, or one GGUF file; a pickle is never loaded, whatever a policy says;
 * Python files are part of a model only where the publisher's rule lets code run.

>>> files = [("config.json",), ("model.safetensors",), ("pytorch_model.bin",), ("model.py",)]
>>> chosen = choose(files, code=False)
>>> chosen.engine, chosen.wanted
('transformers', (('config.json',), ('model.safetensors',)))
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import UnsupportedError
from p2phub.formats.paths import FilePath, is_pickle
from p2phub.inference.spec import RunOptions
from p2phub.inference_settings import InferenceSettings

TEXT: Final = "text-generation"
VECTORS: Final = "feature-extraction"
MAX_CONFIG: Final = 1 << 20
"""Bytes of a `config.json` that is read."""
_SMALL: Final = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".vocab", ".bpe", ".spm")
"""Ends of the names of what belongs to a model beside its weights."""
_REPEATED: Final = ("consolidated", "original/", "onnx/", "openvino/", "tf_model", "flax_model")
"""Beginnings of the names of the same weights in another form."""
_PRECISION: Final = re.compile(r"\.(?:fp16|bf16|fp8)\.|[-_.](?:fp16|bf16|fp8)\.safetensors$")
"""In names of weights that are there in another precision too."""
_ALIASES: Final = {
    "sentence-similarity": VECTORS,
    "conversational": TEXT,
    "image-text-to-text": TEXT,
    "text2text-generation": "summarization",
    "ner": "token-classification",
    "image-to-text": "image-to-text",
}
"""Tasks of cards that are asked under another name."""
_ENDS: Final = {
    "ForCausalLM": TEXT,
    "LMHeadModel": TEXT,
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
    "ForAudioClassification": "audio-classification",
    "ForObjectDetection": "object-detection",
    "ForSpeechSeq2Seq": "automatic-speech-recognition",
    "WhisperForConditionalGeneration": "automatic-speech-recognition",
    "ForCTC": "automatic-speech-recognition",
    "MarianMTModel": "translation",
    "VisionEncoderDecoderModel": "image-to-text",
    "VitsModel": "text-to-speech",
    "ForConditionalGeneration": "summarization",
    "Model": VECTORS,
}
"""What an architecture is for, by the end of its name; the first that fits."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a release is loaded, and by what."""

    engine: str
    """transformers or llamacpp."""
    weights: tuple[FilePath, ...]
    others: tuple[FilePath, ...]
    """Configuration and tokenizer, and Python files where they may run."""

    @property
    def wanted(self) -> tuple[FilePath, ...]:
        """All of them, in the order of their names."""
        return tuple(sorted((*self.weights, *self.others)))


def choose(
    paths: Sequence[FilePath], *, code: bool, engine: str = "auto", variant: str = ""
) -> Chosen:
    """The files to load. `variant`: the GGUF file to take; without one, the first by name.

    Raises `UnsupportedError` for a release that no engine here can load.
    """
    others = tuple(each for each in paths if _belongs(each, code=code))
    tensors = _safetensors(paths)
    if variant.endswith(".gguf") or engine == "llamacpp" or not tensors:
        gguf = [each for each in paths if each[-1].endswith(".gguf")]
        named = [each for each in gguf if variant in ("", "/".join(each))]
        if named and engine != "transformers":
            return Chosen("llamacpp", _parts(min(named), gguf), others)
    if not tensors or engine == "llamacpp":
        raise _unsupported(paths, engine)
    return Chosen("transformers", tensors, others)


def task_of(card_task: str, engine: str, config: Mapping[str, Any] | None) -> str:
    """What a model is for: what its card says, else its architecture.

    >>> task_of("", "transformers", {"architectures": ["LlamaForCausalLM"]})
    'text-generation'
    """
    if card_task:
        return _ALIASES.get(card_task, card_task)
    named = (config or {}).get("architectures")
    for architecture in named if isinstance(named, list) else ():
        for end, task in _ENDS.items():
            if isinstance(architecture, str) and architecture.endswith(end):
                return task
    return TEXT if engine == "llamacpp" else VECTORS


def read_config(data: bytes) -> Mapping[str, Any] | None:
    """`config.json`, as far as it is one."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def options_of(inference: InferenceSettings, *, code: bool) -> RunOptions:
    """How models run, as node.toml says."""
    return RunOptions(
        device="" if inference.device == "auto" else inference.device,
        threads=inference.threads,
        compile=inference.compile,
        quantize="" if inference.quantize == "none" else inference.quantize,
        context=inference.context,
        slots=inference.slots,
        allow_remote_code=code,
    )


def _belongs(path: FilePath, *, code: bool) -> bool:
    name = "/".join(path)
    if name.startswith(_REPEATED) or is_pickle(path):
        return False
    return name.endswith(_SMALL) or (code and name.endswith(".py"))


def _safetensors(paths: Sequence[FilePath]) -> tuple[FilePath, ...]:
    """The safetensors files of a model, in one precision and in one form.

    A pipeline of several models (diffusers) has them in folders of their own.
    """
    depth = 2 if ("model_index.json",) in paths else 1
    found = [
        each
        for each in paths
        if each[-1].endswith(".safetensors")
        and len(each) == depth
        and not "/".join(each).startswith(_REPEATED)
    ]
    plain = [each for each in found if not _PRECISION.search(each[-1])] or found
    named = [each for each in plain if each[-1].startswith("model")] if depth == 1 else []
    return tuple(named or plain)


def _parts(first: FilePath, gguf: Sequence[FilePath]) -> tuple[FilePath, ...]:
    """A GGUF file, with its other parts where it is one of several (`-00001-of-00003`)."""
    stem, middle, rest = first[-1].rpartition("-of-")
    if not middle:
        return (first,)
    head = stem.rpartition("-")[0]
    return tuple(
        each
        for each in sorted(gguf)
        if each[:-1] == first[:-1] and each[-1].startswith(f"{head}-") and each[-1].endswith(rest)
    )


def _unsupported(paths: Sequence[FilePath], engine: str) -> UnsupportedError:
    if any(is_pickle(each) for each in paths):
        return UnsupportedError(
            "its weights are pickles, which run code when they are loaded",
            remedy="look for a release of it with safetensors or GGUF",
        )
    wanted = "no GGUF file" if engine == "llamacpp" else "neither safetensors nor GGUF weights"
    return UnsupportedError(
        f"it has {wanted}", remedy="`p2phub ls REF` lists its files; is it a model?"
    )
