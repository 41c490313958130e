"""What a GGUF model is like, from its header alone: weights, cache and context in llama.cpp.

The loader and `fit` decide by the same numbers here, so that what is predicted is what is done.

Rules it keeps:
 * the weights are the bytes of the tensors, as they lie in the file;
 * the cache is float16, for each slot as many tokens as the context, in whole blocks of 256;
 * layers that look back over a window only keep that window and one batch.

>>> header = Header("gguf", 64, (Tensor("a", "Q4_0", (4096,), 64, 2368),))
>>> shape = shape_of({"general.architecture": "llama", "llama.block_count": 2,
...     "llama.embedding_length": 64, "llama.attention.head_count": 4,
...     "llama.context_length": 1024}, [header])
>>> shape.dtype, shape.weight_bytes, shape.cache_bytes(1024, 1)
('Q4_0', 2304, 524288)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import MalformedError
from p2phub.formats.gguf_metadata import MAX_ARRAY
from p2phub.formats.limits import MIB
from p2phub.formats.tensors import Header, Tensor
from p2phub.inference.spec import RunOptions

BATCH: Final = 256
"""Tokens of prompts in one step, so that a request is given up soon and others go on meanwhile."""
SLOTS: Final = 4
"""Requests together, unless the options say it."""
CACHE: Final = 1024 * MIB
"""Bytes for keys and values at most, unless the options say it."""
LEAST_CONTEXT: Final = 512
_BLOCK: Final = 256
"""Tokens by which llama.cpp rounds a cache up."""
_HALF: Final = 2
"""Bytes of a number in the cache."""
_FULL_EVERY: Final = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}
"""Of so many layers one sees everything, and the others a window."""
_MOST: Final = 1 << 31
"""Of whatever is counted there."""
_SHOWN: Final = 80
_PLAIN: Final = frozenset({"F32", "F16", "BF16", "F64"})


Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model, as far as memory is concerned."""

    architecture: str
    dtype: str
    """Of most of its bytes."""
    weight_bytes: int
    heads: tuple[int, ...]
    """Key and value heads of each layer."""
    key: int
    """Numbers of one key."""
    value: int
    trained: int
    """Tokens it was trained for."""
    window: int
    """Tokens that layers with a window see; 0: none has one."""
    chat: bool
    pooled: bool
    """Whether it says how one vector is made of many."""
    width: int
    vocabulary: int

    @property
    def quantized(self) -> bool:
        return self.dtype not in _PLAIN

    def cache_bytes(self, context: int, slots: int) -> int:
        """Keys and values of `slots` requests of `context` tokens each."""
        full = _rounded(context)
        short = min(full, _rounded(self.window + BATCH)) if self.window else full
        every = _FULL_EVERY.get(self.architecture, 1)
        each = _HALF * (self.key + self.value)
        return slots * sum(
            heads * each * (full if (number + 1) % every == 0 else short)
            for number, heads in enumerate(self.heads)
        )

    def room(self, options: RunOptions) -> tuple[int, int]:
        """Tokens of a slot, and slots: what the options say, else what the cache has room for."""
        slots = options.slots or SLOTS
        context = options.context or self.trained or LEAST_CONTEXT
        context = min(context, self.trained) if self.trained else context
        most = options.cache_bytes or CACHE
        while not options.context and context > LEAST_CONTEXT:
            if self.cache_bytes(context, slots) <= most:
                break
            context //= 2
        return context, slots


def shape_of(metadata: Mapping[str, Any], headers: Sequence[Header]) -> Shape:
    """The shape of the model in these files, the parts of one.

    Raises `MalformedError` for what cannot be a number of what it counts.
    """
    architecture = str(metadata.get("general.architecture", ""))

    def said(name: str, otherwise: int = 0) -> int:
        return max(_numbers(metadata, f"{architecture}.{name}", otherwise))

    tensors = [each for header in headers for each in header.tensors]
    most = said("attention.head_count", 1)
    heads = _numbers(metadata, f"{architecture}.attention.head_count", 1)
    width = said("embedding_length")
    kept = _numbers(metadata, f"{architecture}.attention.head_count_kv", heads)
    layers = said("block_count")
    if layers > MAX_ARRAY:
        raise MalformedError(f"a model of {layers} layers; {MAX_ARRAY} is the most")
    size = width // most if most else 0
    return Shape(
        architecture=architecture,
        dtype=_dtype(tensors),
        weight_bytes=sum(each.stop - each.start for each in tensors),
        heads=kept if len(kept) > 1 else kept * layers,
        key=said("attention.key_length", size),
        value=said("attention.value_length", size),
        trained=said("context_length"),
        window=said("attention.sliding_window") if architecture in _FULL_EVERY else 0,
        chat="tokenizer.chat_template" in metadata,
        pooled=f"{architecture}.pooling_type" in metadata,
        width=width,
        vocabulary=said("vocab_size", max(_numbers(metadata, "tokenizer.ggml.tokens", 0))),
    )


def _numbers(metadata: Mapping[str, Any], key: str, otherwise: int | Ints) -> Ints:
    """What the header says of one thing: a number for all layers, or one for each."""
    found = metadata.get(key, otherwise)
    found = found if isinstance(found, tuple) else (found,)
    if not found or not all(type(each) is int and 0 <= each <= _MOST for each in found):
        raise MalformedError(f"the header says that {key} is {str(found)[:_SHOWN]}")
    return found


def _dtype(tensors: Sequence[Tensor]) -> str:
    """What most bytes are of."""
    sizes: Counter[str] = Counter()
    for each in tensors:
        sizes[each.dtype] += each.stop - each.start
    return sizes.most_common(1)[0][0] if sizes else ""


def _rounded(tokens: int) -> int:
    return -(-tokens // _BLOCK) * _BLOCK
