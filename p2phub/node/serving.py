"""What of a release is loaded and by which engine, and what it can be asked.

Decided from the names of the files, the card and `config.json`, before anything is fetched: a repo
often has the same weights several times (safetensors, pickles, onnx, quantisations), of which one
is needed. Which of its variants is for `choosing`.

Rules it keeps:
 * weights are safetensors, or GGUF; a pickle is never loaded, whatever a policy says;
 * Python files are part of a model only where the publisher's rule lets code run.

>>> files = [("config.json",), ("model.safetensors",), ("pytorch_model.bin",), ("model.py",)]
>>> (chosen,) = choices(files, code=False)
>>> chosen.engine, chosen.wanted
('transformers', (('config.json',), ('model.safetensors',)))
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import UnsupportedError
from p2phub.formats.paths import FilePath, is_pickle
from p2phub.inference.spec import RunOptions
from p2phub.inference.variants import (
    LLAMACPP,
    REPEATED,
    VariantFiles,
    belongs_to,
    variant_named,
    variants_of,
)
from p2phub.inference_settings import InferenceSettings

TEXT: Final = "text-generation"
VECTORS: Final = "feature-extraction"
DRAWS: Final = "text-to-image"
PIPELINE: Final[FilePath] = ("model_index.json",)
"""What diffusers writes for a whole pipeline of models, each of which has a folder."""
MAX_CONFIG: Final = 1 << 20
"""Bytes of a `config.json` that is read."""
_SMALL: Final = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".vocab", ".bpe", ".spm")
"""Ends of the names of what belongs to a model beside its weights."""
_WRITES: Final = "summarization"
"""What a model is for that writes a text from a text, where its card does not say."""
_ALIASES: Final = {
    "sentence-similarity": VECTORS,
    "conversational": TEXT,
    "image-text-to-text": TEXT,
    "ner": "token-classification",
    "text-to-audio": "text-to-speech",
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
    "M2M100ForConditionalGeneration": "translation",
    "BlipForConditionalGeneration": "image-to-text",
    "ForTextToSpeech": "text-to-speech",
    "ForSpeechToText": "automatic-speech-recognition",
    "VisionEncoderDecoderModel": "image-to-text",
    "VitsModel": "text-to-speech",
    "ForConditionalGeneration": _WRITES,
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
    label: str = ""
    """Of the variant; empty where the release has no other for the engine that is set."""

    @property
    def wanted(self) -> tuple[FilePath, ...]:
        """All of them, in the order of their names."""
        return tuple(sorted((*self.weights, *self.others)))


def choices(
    paths: Sequence[FilePath], *, code: bool, engine: str = "auto", variant: str = ""
) -> tuple[Chosen, ...]:
    """Every way to load a release, safetensors first; with a `variant`, the one of that name.

    Raises `UnsupportedError` for a release that no engine here can load, `NotFoundError` for a
    variant that it does not have.
    """
    others = tuple(each for each in paths if _belongs(each, code=code))
    found = [each for each in variants_of(paths) if engine in ("auto", "vllm", each.engine)]
    if not found:
        raise _unsupported(paths, engine)
    wanted = [variant_named(found, variant)] if variant else found
    return tuple(_chosen(each, others, alone=len(found) == 1) for each in wanted)


def _chosen(variant: VariantFiles, others: Sequence[FilePath], *, alone: bool) -> Chosen:
    mine = tuple(each for each in others if belongs_to(each, variant))
    return Chosen(variant.engine, variant.paths, mine, "" if alone else variant.label)


def task_of(
    card_task: str,
    engine: str,
    config: Mapping[str, Any] | None,
    paths: Collection[FilePath] = (),
) -> str:
    """What a model is for: what its card says, else its architecture, or the files of a pipeline.

    >>> task_of("", "transformers", {"architectures": ["LlamaForCausalLM"]})
    'text-generation'
    >>> task_of("", "transformers", None, [("model_index.json",), ("unet", "config.json")])
    'text-to-image'
    """
    if card_task:
        return _ALIASES.get(card_task, card_task)
    if PIPELINE in paths:
        return DRAWS
    named = (config or {}).get("architectures")
    for architecture in named if isinstance(named, list) else ():
        for end, task in _ENDS.items():
            if isinstance(architecture, str) and architecture.endswith(end):
                sees = task == _WRITES and "vision_config" in (config or {})
                return TEXT if sees else task
    return TEXT if engine == LLAMACPP else VECTORS


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
    if name.startswith(REPEATED) or is_pickle(path):
        return False
    return name.endswith(_SMALL) or (code and name.endswith(".py"))


def _unsupported(paths: Sequence[FilePath], engine: str) -> UnsupportedError:
    if any(is_pickle(each) for each in paths):
        return UnsupportedError(
            "its weights are pickles, which run code when they are loaded",
            remedy="look for a release of it with safetensors or GGUF",
        )
    wanted = "no GGUF file" if engine == LLAMACPP else "neither safetensors nor GGUF weights"
    return UnsupportedError(
        f"it has {wanted}", remedy="`p2phub ls REF` lists its files; is it a model?"
    )
