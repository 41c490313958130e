"""What a model is asked, and what it answers: the values that cross from the gateway to an engine.

They are the same for every engine, whatever runs it: a child process with torch or llama.cpp, or
another server. They say nothing of HTTP, and the names are those of the OpenAI API where it has
one. `wire` carries them to a child process.

Rules they keep:
 * a value holds by itself: whoever makes one has checked it (`Sampling` raises `UsageError`);
 * what a client leaves out is None, and then the model's own `generation_config.json` says it;
 * a stream is any number of `Piece`, then one `Finished`, or an error of ours.

>>> Sampling(temperature=3.0)
Traceback (most recent call last):
...
p2phub.errors.UsageError: temperature must be between 0 and 2, not 3.0
>>> Sampling(temperature=0).greedy
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from p2phub.errors import UsageError

Json = Any
"""What JSON can hold."""
MAX_STOP: Final = 16
"""Stop strings of one request."""
MAX_LOGPROBS: Final = 20
"""Alternatives that are told for each token."""
_RANGES: Final = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.01, 10.0),
}

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, and when it ends. Raises `UsageError` for what no engine could do."""

    max_tokens: int | None = None
    """New tokens at most; None: as many as the context has room for."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """0: no limit."""
    seed: int | None = None
    """The same seed, request and machine give the same tokens."""
    stop: tuple[str, ...] = ()
    """Texts that end it; they are not part of the answer."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """By token id: added to its logit."""
    logprobs: int | None = None
    """Alternatives to tell for each token, 0 to `MAX_LOGPROBS`; None: no log probabilities."""
    schema: Json = None
    """A JSON schema that the answer must fit; `{}`: any JSON object; None: any text."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} must be between {least:g} and {most:g}, not {value}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if self.top_k is not None and self.top_k < 0:
            raise UsageError(f"top_k must be at least 0, not {self.top_k}")
        if len(self.stop) > MAX_STOP or not all(self.stop):
            raise UsageError(f"stop must be up to {MAX_STOP} texts that are not empty")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise UsageError(f"top_logprobs must be between 0 and {MAX_LOGPROBS}")
        if not all(-100 <= bias <= 100 for bias in self.logit_bias.values()):
            raise UsageError("logit_bias must be between -100 and 100 for each token")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, for the model's own chat template."""

    messages: tuple[Json, ...]
    """As the OpenAI API has them: `role`, `content` (a text or parts), `tool_calls`, …"""
    tools: tuple[Json, ...] = ()
    tool_choice: Json = "auto"
    """`none`, `auto`, `required`, or the function that must be called."""
    template_arguments: Mapping[str, Json] = field(default_factory=dict)
    """More that the template is given, such as `enable_thinking`."""


Prompt = str | tuple[int, ...] | Chat
"""A text, its tokens, or a conversation."""


@dataclass(frozen=True, slots=True)
class Generate:
    """Text that goes on from a prompt: one choice; who wants several asks several times."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    adapter: str = ""
    """The name of an adapter that is attached, or the digest of its release; empty: none."""
    echo: bool = False
    """Whether a text prompt is part of the answer."""
    truncate: int = 0
    """So many of the last tokens of the prompt are kept; 0: all of them."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token, and how likely it was."""

    text: str
    logprob: float
    """Natural logarithm."""
    token: bytes = b""
    """Its bytes; may be a part of a character."""
    others: tuple["Chosen", ...] = ()
    """The most likely ones there, the first one first."""
    id: int | None = None
    """Its number in the vocabulary of the model; None: the engine does not tell."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What came since the last piece. Whole characters only."""

    text: str
    tokens: tuple[Chosen, ...] = ()
    """With log probabilities only if they were asked for."""
    tool_calls: tuple[Json, ...] = ()
    """Calls that are complete now: `{"id", "type": "function", "function": {"name", "arguments"}}`,
    the arguments as a text of JSON."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Tokens of the prompt that another request had left in the cache."""
    stopped_by: str = ""
    """The stop string that ended it."""


@dataclass(frozen=True, slots=True)
class Embed:
    """One vector for each input."""

    inputs: tuple[str | tuple[int, ...], ...]
    normalize: bool | None = None
    """None: as the model's own configuration says."""
    dimensions: int | None = None
    """The first so many only (Matryoshka models)."""
    truncate: bool = False
    """Whether a text that is too long is cut; else it is an error."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors, in the order of the inputs."""

    data: bytes
    """Rows of float32, little-endian."""
    width: int
    """Numbers in a row."""
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One call of a task of the Hugging Face inference API, such as `fill-mask`."""

    task: str
    inputs: Json = None
    """Text, a list or a map, as the task wants it; None if it is `data`."""
    data: bytes = b""
    """An image or a sound."""
    parameters: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What came of it: JSON, or bytes with their media type."""

    value: Json = None
    data: bytes = b""
    media_type: str = "application/json"
