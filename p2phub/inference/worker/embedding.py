"""Vectors of texts: an encoder of transformers, pooled as sentence-transformers would pool it.

Rules it keeps:
 * a vector does not depend on what else is in its batch: padding is masked, in the encoder and in
   the pooling (within rounding of floating point);
 * a text that is too long is an error, unless the caller lets it be cut;
 * what comes at the same time runs together (`embedding_queue`).

How a release wants it is read by `embedding_settings`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy
import torch

from p2phub.errors import ContextError, MalformedError, UnsupportedError, UsageError
from p2phub.inference.requests import Embed, Embeddings
from p2phub.inference.worker.configuration import weight_bytes
from p2phub.inference.worker.embedding_queue import Queue
from p2phub.inference.worker.embedding_settings import Dense, Pooling, Settings, read_settings
from p2phub.inference.worker.tasks_model import (
    Source,
    load_config,
    load_model,
    token_limit,
)

MAX_INPUTS: Final = 8192
"""Texts of one request."""
MAX_TEXT: Final = 4_000_000
"""Characters of one text: beyond that it is not even cut into tokens."""
_TOKENS: Final = {"cpu": 1024}
"""Tokens of one batch, by the kind of device."""
_TOKENS_ELSEWHERE: Final = 65536


@dataclass(frozen=True, slots=True)
class Row:
    """The tokens of one text, with the special ones."""

    tokens: tuple[int, ...]
    prompt: int = 0
    """The first so many do not count in the pooling."""

    def __len__(self) -> int:
        return len(self.tokens)


class Embedder:
    """Makes vectors. May be called from several threads."""

    def __init__(
        self, settings: Settings, model: Any, tokenizer: Any, layers: Sequence[Any], limit: int
    ) -> None:
        self.settings, self.tokenizer, self.limit = settings, tokenizer, limit
        self.model, self._layers = model, layers
        self.vocabulary: Final = vocabulary_of(model)
        """How many tokens it knows."""
        self._padding = int(tokenizer.pad_token_id or 0)
        kind = torch.device(model.device).type
        self._queue = Queue(self._encode, _TOKENS.get(kind, _TOKENS_ELSEWHERE))

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model) + sum(weight_bytes(each) for each in self._layers)

    def embed(self, request: Embed, prompt: str | None = None) -> Embeddings:
        """A vector for each input; `prompt` goes before texts (None: the default one).

        Raises `UsageError`, `ContextError`.
        """
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise UsageError(f"input must be 1 to {MAX_INPUTS} texts, not {len(request.inputs)}")
        rows = self.rows(request, self.settings.default_prompt if prompt is None else prompt)
        vectors = numpy.stack(self._queue.run(rows))
        vectors = _cut(vectors, request.dimensions)
        if request.normalize or (self.settings.normalized and request.normalize is None):
            vectors = vectors / numpy.maximum(
                numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12
            )
        data = numpy.ascontiguousarray(vectors, dtype="<f4").tobytes()
        return Embeddings(data, vectors.shape[1], sum(len(each) for each in rows))

    def rows(self, request: Embed, prompt: str) -> list[Row]:
        """The tokens of each input, cut where that is allowed."""
        return [
            self._row_of_text(prompt + each, prompt, request.truncate)
            if isinstance(each, str)
            else self._row_of_tokens(each, request.truncate)
            for each in request.inputs
        ]

    def close(self) -> None:
        self._queue.close()

    def _row_of_text(self, text: str, prompt: str, truncate: bool) -> Row:
        if len(text) > MAX_TEXT:
            if not truncate:
                raise ContextError(f"a text has {len(text)} characters; at most {MAX_TEXT}")
            text = text[:MAX_TEXT]
        text = text.lower() if self.settings.lower_case else text
        tokens = tuple(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])
        if self.limit and len(tokens) > self.limit:
            self._refuse(len(tokens), truncate)
            tokens = tuple(
                self.tokenizer(text, truncation=True, max_length=self.limit)["input_ids"]
            )
        if not tokens:
            raise UsageError("an empty text has no vector", remedy="send a text that is not empty")
        return Row(tokens, self._skipped(prompt))

    def _skipped(self, prompt: str) -> int:
        """Tokens of the prompt that do not count: as sentence-transformers finds them."""
        if not prompt or self.settings.pooling.include_prompt:
            return 0
        tokens = self.tokenizer(prompt, verbose=False)["input_ids"]
        ends = {self.tokenizer.sep_token_id, self.tokenizer.eos_token_id}
        return len(tokens) - (1 if tokens[-1] in ends else 0)

    def _row_of_tokens(self, tokens: tuple[int, ...], truncate: bool) -> Row:
        if not tokens:
            raise UsageError("an empty list of tokens has no vector")
        wrong = next((each for each in tokens if not 0 <= each < self.vocabulary), None)
        if wrong is not None:
            raise UsageError(f"this model has no token {wrong}; it has {self.vocabulary}")
        if self.limit and len(tokens) > self.limit:
            self._refuse(len(tokens), truncate)
            tokens = tokens[: self.limit]
        return Row(tokens)

    def _refuse(self, count: int, truncate: bool) -> None:
        if not truncate:
            raise ContextError(
                f"a text has {count} tokens; this model takes {self.limit}",
                remedy="send shorter texts, or ask for truncation",
            )

    def _encode(self, rows: list[Row]) -> Any:
        """The vectors of one batch, as float32."""
        longest = max(len(each) for each in rows)
        tokens = torch.full((len(rows), longest), self._padding, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        counted = torch.zeros((len(rows), longest), dtype=torch.long)
        for at, row in enumerate(rows):
            tokens[at, : len(row)] = torch.tensor(row.tokens, dtype=torch.long)
            mask[at, : len(row)] = 1
            counted[at, min(row.prompt, len(row) - 1) : len(row)] = 1
        device = self.model.device
        with torch.inference_mode():
            output = self.model(
                input_ids=tokens.to(device), attention_mask=mask.to(device), return_dict=True
            )
            vectors = pool(self.settings.pooling, output[0].float(), counted.to(device))
            for step in self._layers:
                vectors = step(vectors)
        return vectors.float().cpu().numpy()


def pool(pooling: Pooling, tokens: Any, mask: Any) -> Any:
    """One vector for each row of `tokens` (rows, length, width); only where `mask` is 1."""
    return torch.cat([_MODES[mode](tokens, mask.to(tokens.dtype)) for mode in pooling.modes], dim=1)


def load_embedder(source: Source) -> Embedder:
    """Raises `UnsupportedError`, `MalformedError`, and what the weights raise."""
    settings = read_settings(source)
    config = load_config(source, settings.encoder)
    if getattr(config, "is_encoder_decoder", False) and config.model_type != "t5":
        raise UnsupportedError(f"{source.spec.name} ({config.model_type}) is no encoder")
    classes = ("AutoModelForTextEncoding",) if config.model_type == "t5" else ("AutoModel",)
    model = load_model(source, classes, config, under=settings.encoder, unneeded=("pooler.",))
    if not vocabulary_of(model):
        raise UnsupportedError(
            f"{source.spec.name} is a model of type {config.model_type!r}, which makes no vectors"
            " of texts",
            remedy="its publisher can say in the card what it is for: `pipeline_tag: TASK`",
        )
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    tokenizer = source.part("AutoTokenizer", settings.encoder)
    steps = settings.steps[:-1] if settings.normalized else settings.steps
    layers = [_layer(source, each) for each in steps]
    most = token_limit(config, tokenizer)
    limit = min(filter(None, (settings.max_tokens, most)), default=0)
    return Embedder(settings, model, tokenizer, layers, limit)


def vocabulary_of(model: Any) -> int:
    """How many tokens a model knows; 0: it reads something else, such as pictures or sounds."""
    try:
        table: Any = getattr(model.get_input_embeddings(), "weight", None)
    except (NotImplementedError, AttributeError):  # both are said by models without such a table
        return 0
    return int(table.shape[0]) if getattr(table, "ndim", 0) == 2 else 0


class _Normalize(torch.nn.Module):  # type: ignore[misc]
    def forward(self, vectors: Any) -> Any:
        return torch.nn.functional.normalize(vectors, dim=1)


def _layer(source: Source, step: Any) -> Any:
    if not isinstance(step, Dense):
        return _Normalize()
    activation = getattr(torch.nn, step.activation, None)
    if not (isinstance(activation, type) and issubclass(activation, torch.nn.Module)):
        raise UnsupportedError(f"{step.under} uses {step.activation}, which torch does not have")
    layer = torch.nn.Linear(step.inputs, step.outputs, bias=step.bias)
    state = source.weights.state_dict(source.kernels.device, "float32", step.under)
    wanted = {f"linear.{name}": value.shape for name, value in layer.state_dict().items()}
    if {name: value.shape for name, value in state.items()} != wanted:
        raise MalformedError(
            f"the tensors of {step.under} are not those its config.json says",
            remedy="tell its publisher",
        )
    layer.load_state_dict({name.removeprefix("linear."): each for name, each in state.items()})
    return torch.nn.Sequential(layer, activation()).to(source.kernels.device).eval()


def _cut(vectors: Any, dimensions: int | None) -> Any:
    """The first so many numbers of each vector, with the length it had if that was 1."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    if not 1 <= dimensions <= vectors.shape[1]:
        raise UsageError(f"dimensions must be between 1 and {vectors.shape[1]}, not {dimensions}")
    return vectors[:, :dimensions]


def _first(tokens: Any, mask: Any) -> Any:
    return tokens[torch.arange(len(tokens)), mask.argmax(dim=1)]


def _last(tokens: Any, mask: Any) -> Any:
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask
    return tokens[torch.arange(len(tokens)), places.argmax(dim=1)]


def _most(tokens: Any, mask: Any) -> Any:
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _sum(tokens: Any, mask: Any) -> Any:
    return (tokens * mask.unsqueeze(-1)).sum(dim=1)


def _mean(tokens: Any, mask: Any) -> Any:
    return _sum(tokens, mask) / mask.sum(dim=1, keepdim=True)


def _mean_of_root(tokens: Any, mask: Any) -> Any:
    return _sum(tokens, mask) / mask.sum(dim=1, keepdim=True).sqrt()


def _weighted(tokens: Any, mask: Any) -> Any:
    """The later a token, the more it counts."""
    return _mean(tokens, mask * torch.arange(1, mask.shape[1] + 1, device=mask.device))


_MODES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "cls": _first,
    "max": _most,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_of_root,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
