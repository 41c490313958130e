"""What a node answers about the models it can run, as frozen dataclasses; see `p2phub.results` for
the rules. Memory is bytes; `release` is the digest of a release, in hex.

>>> FitReport("lab/x@main", "ab" * 32, "cpu", weight_bytes=600, cache_bytes=300, other_bytes=100,
...     available_bytes=2000).fits
True
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that can be asked here: one line of `/v1/models`."""

    id: str
    """What a request names: `publisher/name`, with `@revision` unless it is main."""
    created: int = 0
    """When its release was signed, unix seconds."""
    owner: str = ""
    """The publisher: what it is called here, or its id."""
    tasks: tuple[str, ...] = ()
    """What it can be asked: `text-generation`, `feature-extraction`, …"""
    loaded: bool = False
    """Whether it is in memory, so that it answers at once."""


@dataclass(frozen=True, slots=True)
class LoadedRow:
    """A model in memory: one line of `ps`."""

    id: str
    """As `ModelRow.id`."""
    release: str
    publisher: str
    """The publisher id."""
    verdict: str
    task: str
    engine: str
    """transformers, llamacpp or proxy."""
    device: str
    dtype: str
    attention: str = ""
    threads: int = 0
    """Of the processor; 0: not known."""
    compiled: bool = False
    quantization: str = ""
    adapters: tuple[str, ...] = ()
    context: int = 0
    """Tokens of prompt and answer together, at most; 0: it has no such limit."""
    slots: int = 1
    """Requests that it works at together."""
    busy: int = 0
    """Requests that it works at now."""
    waiting: int = 0
    """Requests that wait for a slot."""
    weight_bytes: int = 0
    """Memory of the weights."""
    cache_bytes: int = 0
    """Memory of keys and values."""
    load_seconds: float = 0.0
    """Seconds that loading took."""
    keep_seconds: float | None = None
    """Seconds after which it is unloaded if nobody asks; None: never."""
    pid: int = 0
    """Its process; 0 for a server of somebody else's."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the ways to run a repo: a file or a folder of weights in it."""

    name: str
    """The path within the repo; empty: the repo's only one."""
    dtype: str
    bytes_needed: int
    fits: bool


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a model would need on this machine, told from its headers alone."""

    ref: str
    release: str
    device: str
    weight_bytes: int
    """Memory of the weights, on the device."""
    cache_bytes: int
    """Keys and values, for `context` tokens in `slots` requests at once."""
    other_bytes: int
    """Activations, and what the engine itself takes."""
    available_bytes: int
    """What the device has free for it."""
    engine: str = ""
    dtype: str = ""
    context: int = 0
    """Tokens of prompt and answer that the cache was counted for."""
    slots: int = 1
    """Requests at once that it was counted for."""
    variants: tuple[Variant, ...] = ()
    """All that the repo has, the largest first."""
    chosen: str = ""
    """The `name` of the largest variant that fits; empty if none does or there is one only."""

    @property
    def bytes_needed(self) -> int:
        return self.weight_bytes + self.cache_bytes + self.other_bytes

    @property
    def fits(self) -> bool:
        return self.bytes_needed <= self.available_bytes
