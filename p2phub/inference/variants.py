"""The variants of a release: the same model as GGUF files of several quantisations, or as
safetensors in several precisions, of which one is run. Pure; told from the names of files alone.

A variant is called as people call it: `Q4_K_M` for GGUF, `fp16` for `model.fp16.safetensors`, and
`safetensors` for those without a word of their precision. It is named behind a colon, which no
reference and no path can have in it: `lab/x:Q4_K_M`, `lab/x@v1:x-q4.gguf`.

Rules it keeps:
 * every label is there once: variants that would share one have the names of their files instead;
 * the parts of one GGUF file (`-00001-of-00003`), and all shards of one precision, are one variant;
 * projectors, importance matrices, adapters and vocabularies in GGUF are none;
 * upper and lower case are the same in what people type.

>>> names = ["x-q4_k_m.gguf", "x-Q8_0.gguf", "mmproj-F16.gguf", "model.fp16.safetensors"]
>>> found = variants_of([(name,) for name in names])
>>> [(each.label, each.engine) for each in found]
[('fp16', 'transformers'), ('Q4_K_M', 'llamacpp'), ('Q8_0', 'llamacpp')]
>>> variant_named(found, "q8_0").paths
(('x-Q8_0.gguf',),)
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import SCHEME, Reference
from p2phub.formats.paths import FilePath

TRANSFORMERS: Final = "transformers"
LLAMACPP: Final = "llamacpp"
PLAIN: Final = "safetensors"
"""The label of safetensors whose names say no precision."""
GGUF: Final = ".gguf"
REPEATED: Final = ("consolidated", "original/", "onnx/", "openvino/", "tf_model", "flax_model")
"""Beginnings of the names of the same weights in another form."""
_INDEX: Final = re.compile(r"\.safetensors\.index(?:\.([^./]+))?\.json$")
_PART: Final = re.compile(r"-\d{5}-of-\d{5}")
_PRECISION: Final = re.compile(
    r"[-_.](fp32|fp16|bf16|fp8(?:_?e4m3(?:fn)?|_?e5m2)?|int8|int4)$", re.IGNORECASE
)
_QUANTISATION: Final = re.compile(
    r"(?<![^-_.])(?:UD-)?(?:I?Q\d|TQ\d)(?:_(?:\d|K|XXS|XS|S|M|L|XL|NL))*(?![^-_.])"
    r"|(?<![^-_.])(?:BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4)(?![^-_.])",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(
    r"(?<![^-_.])(?:mmproj|imatrix)(?![^-_.])|(?<![^-_.])(?:lora|vocab)$|^lora[-_.]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a person or a request calls a model: `[publisher/]name[@revision][:variant]`."""

    reference: Reference
    variant: str = ""
    """A label, or a file of it; empty: the one that suits this machine."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name. Raises `UsageError`.

        >>> ModelName.parse("p2p://lab/x@v1:Q8_0")
        ModelName(reference=Reference(publisher='lab', name='x', revision='v1'), variant='Q8_0')
        """
        reference, colon, variant = text.removeprefix(SCHEME).partition(":")
        if colon and not variant:
            raise UsageError(
                f"no variant is named behind the colon of {text[:200]!r}",
                remedy="`p2phub fit REF` lists the variants; without the colon one is chosen",
            )
        return cls(Reference.parse(reference), variant)

    def __str__(self) -> str:
        return with_variant(str(self.reference), self.variant)


@dataclass(frozen=True, slots=True)
class VariantFiles:
    """One of the ways in which a release has its weights."""

    label: str
    engine: str
    """What runs such files: transformers or llamacpp."""
    paths: tuple[FilePath, ...]
    """In the order in which they are loaded."""

    def is_called(self, wanted: str) -> bool:
        """Whether a person means this one: by its label, or by one of its files."""
        lower = wanted.lower()
        return lower == self.label.lower() or any(lower in _names(path) for path in self.paths)


def with_variant(name: str, label: str) -> str:
    """A name with the variant behind it, if it has one.

    >>> with_variant("lab/x", "Q8_0"), with_variant("lab/x", "")
    ('lab/x:Q8_0', 'lab/x')
    """
    return f"{name}:{label}" if label else name


def variants_of(paths: Sequence[FilePath]) -> tuple[VariantFiles, ...]:
    """All variants among these files: those in safetensors first, and then by their labels."""
    found = [*_safetensors(paths), *_gguf(paths)]
    counts = Counter(each.label.lower() for each in found)
    made = [
        replace(each, label=_stem("/".join(each.paths[0])))
        if counts[each.label.lower()] > 1
        else each
        for each in found
    ]
    return tuple(sorted(made, key=lambda each: (each.engine != TRANSFORMERS, each.label.lower())))


def variant_named(variants: Sequence[VariantFiles], wanted: str) -> VariantFiles:
    """The variant that a person means. Raises `NotFoundError`, which names those that there are."""
    found = [each for each in variants if each.is_called(wanted)]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(each.label for each in found or variants)
    raise NotFoundError(
        f"{wanted[:200]} may be several variants"
        if found
        else f"there is no variant {wanted[:200]}",
        remedy=f"name one of {labels}",
    )


def belongs_to(path: FilePath, variant: VariantFiles) -> bool:
    """Whether a small file can be one of this variant's: an index of other shards is not.

    >>> (fp16,) = variants_of([("model.fp16-00001-of-00002.safetensors",)])
    >>> [belongs_to((f"model.safetensors.index.{end}",), fp16) for end in ("json", "fp16.json")]
    [False, True]
    """
    index = _INDEX.search(path[-1])
    if index is None:
        return True
    return variant.engine == TRANSFORMERS and any(
        _precision(each).lower() == (index[1] or PLAIN).lower() and each[:-1] == path[:-1]
        for each in variant.paths
    )


def _gguf(paths: Iterable[FilePath]) -> list[VariantFiles]:
    """By the name of the whole file, in the order of the parts."""
    found: dict[FilePath, list[FilePath]] = {}
    for path in sorted(each for each in paths if each[-1].lower().endswith(GGUF)):
        stem = _stem(path[-1])
        if not _NO_MODEL.search(stem):
            found.setdefault((*path[:-1], stem), []).append(path)
    return [VariantFiles(_quantisation(whole), LLAMACPP, tuple(found[whole])) for whole in found]


def _quantisation(whole: FilePath) -> str:
    """What the last word of that kind says; of the file, else of its folder; else its name."""
    for part in reversed(whole):
        words = _QUANTISATION.findall(part)
        if words:
            return str(words[-1]).upper()
    return whole[-1]


def _safetensors(paths: Sequence[FilePath]) -> list[VariantFiles]:
    """By the precision. A pipeline of several models (diffusers) has them in folders; a folder
    that has no weights of a precision has those that say none, or the only ones that it has.
    """
    depth = 2 if ("model_index.json",) in paths else 1
    found = [
        each
        for each in paths
        if each[-1].endswith(".safetensors")
        and len(each) == depth
        and not "/".join(each).startswith(REPEATED)
    ]
    named = [each for each in found if each[-1].startswith("model")] if depth == 1 else []
    folders: dict[FilePath, dict[str, list[FilePath]]] = {}
    for path in named or found:
        folders.setdefault(path[:-1], {}).setdefault(_precision(path).lower(), []).append(path)
    labels = dict.fromkeys(label for each in folders.values() for label in each)
    return [
        VariantFiles(
            label,
            TRANSFORMERS,
            tuple(
                path
                for each in folders.values()
                for path in each.get(label) or each.get(PLAIN) or next(iter(each.values()))
            ),
        )
        for label in labels
    ]


def _precision(path: FilePath) -> str:
    found = _PRECISION.search(_stem(path[-1]))
    return found[1] if found else PLAIN


def _stem(name: str) -> str:
    """A name without its end, and without the number of its part."""
    return _PART.sub("", re.sub(r"\.(?:gguf|safetensors)$", "", name, flags=re.IGNORECASE))


def _names(path: FilePath) -> set[str]:
    """What a file may be called, in lower case: with its folder or without, whole or a part."""
    whole = "/".join(path)
    return {
        each.lower()
        for name in (whole, path[-1])
        for each in (name, _PART.sub("", name), _stem(name))
    }
