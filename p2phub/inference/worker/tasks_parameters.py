"""Which parameters each task of the Hugging Face inference API takes, and of what kind.

Rules it keeps:
 * a parameter that the task does not have is an error that names it: nothing is silently ignored;
 * a value of another kind, or beyond what is sensible, is an error that says what is expected;
 * null means what leaving out means;
 * who says how tokens are to be drawn wants them drawn, and not the likeliest taken.

>>> check("fill-mask", {"top_k": 3, "targets": None})
{'top_k': 3}
>>> check("fill-mask", {"topk": 3})
Traceback (most recent call last):
...
p2phub.errors.UsageError: fill-mask has no parameter topk; it has targets, top_k
>>> generation({"num_beams": 2, "generate_parameters": {"max_new_tokens": 9}})
{'num_beams': 2, 'max_new_tokens': 9}
>>> generation({"temperature": 0.5})
{'temperature': 0.5, 'do_sample': True}
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from p2phub.errors import UsageError

Kind = tuple[str, Callable[[Any], bool]]
"""What is expected, in words, and whether a value is that."""
MAX_LABELS: Final = 256
"""Texts in one list."""


def _whole(least: int, most: int) -> Kind:
    def holds(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    return f"a whole number from {least} to {most}", holds


def _number(least: float, most: float) -> Kind:
    def holds(value: Any) -> bool:
        return type(value) in (int, float) and least <= value <= most

    return f"a number from {least:g} to {most:g}", holds


def _one_of(*values: Any) -> Kind:
    shown = ", ".join(str(each) for each in values)
    return f"one of {shown}", lambda value: any(value is each or value == each for each in values)


def _is_texts(value: Any) -> bool:
    fits = isinstance(value, list) and 0 < len(value) <= MAX_LABELS
    return fits and all(isinstance(each, str) and each for each in value)


_FLAG: Final[Kind] = ("true or false", lambda value: isinstance(value, bool))
_TEXT: Final[Kind] = ("a text", lambda value: isinstance(value, str))
_MAP: Final[Kind] = ("a map", lambda value: isinstance(value, dict))
_TEXTS: Final[Kind] = (f"a list of 1 to {MAX_LABELS} texts", _is_texts)
_LABELS: Final[Kind] = (
    f"a text, or a list of 1 to {MAX_LABELS} texts",
    lambda value: (isinstance(value, str) and bool(value.strip(" ,"))) or _is_texts(value),
)

_GENERATION: Final[dict[str, Kind]] = {
    "do_sample": _FLAG,
    "early_stopping": _one_of(True, False, "never"),
    "epsilon_cutoff": _number(0, 1),
    "eta_cutoff": _number(0, 1),
    "length_penalty": _number(-10, 10),
    "max_length": _whole(1, 65536),
    "max_new_tokens": _whole(1, 65536),
    "min_length": _whole(0, 65536),
    "min_new_tokens": _whole(0, 65536),
    "no_repeat_ngram_size": _whole(0, 100),
    "num_beams": _whole(1, 16),
    "repetition_penalty": _number(0.01, 10),
    "temperature": _number(0.001, 100),
    "top_k": _whole(0, 1 << 20),
    "top_p": _number(0.001, 1),
    "typical_p": _number(0.001, 1),
    "use_cache": _FLAG,
}
_DRAWN: Final = (
    "epsilon_cutoff", "eta_cutoff", "temperature", "top_k", "top_p", "typical_p"
)  # fmt: skip
"""How tokens are drawn: without a meaning where the likeliest are taken."""
_SPEECH: Final[dict[str, Kind]] = {
    "language": _TEXT,
    "task": _one_of("transcribe", "translate"),
}
"""What only models that write down what they hear are told."""
_NESTED: Final = ("generate_parameters", "generation_parameters", "generate_kwargs")
_GENERATES: Final[dict[str, Kind]] = _GENERATION | dict.fromkeys(_NESTED, _MAP)
_CLASSES: Final[dict[str, Kind]] = {
    "function_to_apply": _one_of("sigmoid", "softmax", "none"),
    "top_k": _whole(1, 1 << 20),
}
_TO_TEXT: Final[dict[str, Kind]] = _GENERATES | {
    "clean_up_tokenization_spaces": _FLAG,
    "truncation": _one_of("do_not_truncate", "longest_first", "only_first", "only_second"),
}

PARAMETERS: Final[dict[str, dict[str, Kind]]] = {
    "feature-extraction": {
        "dimensions": _whole(1, 1 << 20),
        "normalize": _FLAG,
        "prompt_name": _TEXT,
        "truncate": _FLAG,
        "truncation_direction": _one_of("right", "Right"),
    },
    "sentence-similarity": {"truncate": _FLAG},
    "text-classification": _CLASSES,
    "token-classification": {
        "aggregation_strategy": _one_of("none", "simple", "first", "average", "max"),
        "ignore_labels": ("a list of texts", lambda value: value == [] or _is_texts(value)),
        "stride": _whole(0, 65536),
    },
    "question-answering": {
        "align_to_words": _FLAG,
        "doc_stride": _whole(1, 65536),
        "handle_impossible_answer": _FLAG,
        "max_answer_len": _whole(1, 65536),
        "max_question_len": _whole(1, 65536),
        "max_seq_len": _whole(8, 65536),
        "top_k": _whole(1, 100),
    },
    "fill-mask": {"targets": _TEXTS, "top_k": _whole(1, 1000)},
    "zero-shot-classification": {
        "candidate_labels": _LABELS,
        "hypothesis_template": _TEXT,
        "multi_label": _FLAG,
    },
    "summarization": _TO_TEXT,
    "text2text-generation": _TO_TEXT,
    "translation": _TO_TEXT | {"src_lang": _TEXT, "tgt_lang": _TEXT},
    "image-classification": _CLASSES,
    "object-detection": {"threshold": _number(0, 1)},
    "image-to-text": _GENERATES,
    "audio-classification": _CLASSES,
    "automatic-speech-recognition": _GENERATES
    | _SPEECH
    | {"return_timestamps": _one_of(True, False, "word", "char")},
    "text-to-speech": _GENERATES,
    "text-to-image": {
        "guidance_scale": _number(0, 100),
        "height": _whole(8, 4096),
        "negative_prompt": _TEXT,
        "num_inference_steps": _whole(1, 1000),
        "seed": _whole(0, (1 << 63) - 1),
        "width": _whole(8, 4096),
    },
}


def check(task: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given. Raises `UsageError` that names what is wrong."""
    return _checked(task, PARAMETERS[task], parameters)


def generation(parameters: Mapping[str, Any], *, speech: bool = False) -> dict[str, Any]:
    """Those of checked parameters that are about generating, nested ones too.

    Raises `UsageError` for a nested one that is not known, and for a way of drawing tokens where
    `do_sample` says that none are drawn.
    """
    known = _GENERATION | _SPEECH if speech else _GENERATION
    found = {name: each for name, each in parameters.items() if name in known}
    for name in _NESTED:
        found |= _checked(name, known, parameters.get(name, {}))
    drawn = sorted(found.keys() & set(_DRAWN))
    if drawn and not found.setdefault("do_sample", True):
        raise UsageError(f"{drawn[0]} has no meaning where do_sample is false")
    return found


def _checked(
    whose: str, known: Mapping[str, Kind], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    given = {name: each for name, each in parameters.items() if each is not None}
    unknown = sorted(str(each) for each in given.keys() - known.keys())
    if unknown:
        raise UsageError(
            f"{whose} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    for name, value in given.items():
        expected, holds = known[name]
        if not holds(value):
            raise UsageError(f"{name} must be {expected}")
    return given
