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
    """What a request names: `publisher/name`, with `@revision` unless it is main, and `:variant`
    if the release has several."""
    created: int = 0
    """When its release was signed, unix seconds."""
    owner: str = ""
    """The publisher: what it is called here, or its id."""
    tasks: tuple[str, ...] = ()
    """What it can be asked: `text-generation`, `feature-extraction`, …"""
    loaded: bool = False
    """Whether it is in memory, so that it answers at once."""
    default: bool = True
    """Whether its name without a variant means this one."""
    base: str = ""
    """The model that it is an adapter of; empty for a model of its own."""


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
    compile_seconds: float = 0.0
    """Seconds of `load_seconds` that compiling took."""
    not_compiled: str = ""
    """Why it does not run compiled although `compile` is set; else empty."""
    quantization: str = ""
    adapters: tuple[str, ...] = ()
    """What is attached to it: each has a row of its own too."""
    base: str = ""
    """The model that it is an adapter of, which has the requests and the memory; else empty."""
    base_release: str = ""
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
    memory_bytes: int = 0
    """What counts for it in all, with its adapters, and with what `fit` tells beside weights and
    cache; 0 for an adapter, which counts with its base."""
    load_seconds: float = 0.0
    """Seconds that loading took."""
    keep_seconds: float | None = None
    """Seconds after which it is unloaded if nobody asks; None: never."""
    pid: int = 0
    """Its process; 0 for a server of somebody else's."""
    variant: str = ""
    """Which weights of its release it runs; empty if that has no others."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the ways to run a repo: a file or a folder of weights in it."""

    name: str
    """Its label, such as `Q4_K_M`; empty: the repo's only one."""
    dtype: str
    bytes_needed: int
    fits: bool
    chosen: bool = False
    """Whether it is run where nobody names one."""
    here: bool = False
    """Whether all its files are on this disk."""
    engine: str = ""


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
    """What models may take on the device in all, whether or not it is free just now."""
    engine: str = ""
    dtype: str = ""
    context: int = 0
    """Tokens of prompt and answer that the cache was counted for."""
    slots: int = 1
    """Requests at once that it was counted for."""
    variants: tuple[Variant, ...] = ()
    """All that the repo has, the largest first."""
    chosen: str = ""
    """The `name` of the variant that these numbers are of; empty if none fits or there is only one.
    It is the one that is run where nobody names one, or the one that was named."""
    free_bytes: int = 0
    """What models may take on the device of what is free just now."""
    loading_bytes: int = 0
    """What it takes beyond that while it loads: weights that are made smaller were whole before."""

    @property
    def bytes_needed(self) -> int:
        return self.weight_bytes + self.cache_bytes + self.other_bytes

    @property
    def most_bytes(self) -> int:
        """What it takes at the most, at one moment."""
        return self.bytes_needed + self.loading_bytes

    @property
    def fits(self) -> bool:
        return self.most_bytes <= self.available_bytes
