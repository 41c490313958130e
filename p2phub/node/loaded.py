"""What is told of a model in memory: how the pool says that it runs, and what was judged.

An adapter has a row of its own below that of its base, though it has no process of its own.

>>> keeps(math.inf), keeps(300.0)
(None, 300.0)
"""

import math
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from p2phub.inference.engine import Engine, ModelInfo
from p2phub.inference.memory import Need
from p2phub.inference.spec import ModelSpec
from p2phub.inference.variants import ModelName, with_variant
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.inference_results import LoadedRow
from p2phub.node.adapters import AdapterRelease
from p2phub.node.models import Model, shown_name
from p2phub.node.pedigree import judgement_of


class InMemory(Protocol):
    """A loaded model, as the pool tells of it."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def info(self) -> ModelInfo | None:
        """None while it loads."""
        ...

    @property
    def device(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes that are reserved for it, with its adapters."""
        ...

    @property
    def busy(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def keep_seconds(self) -> float:
        """Until it is unloaded if nobody asks; infinite: never."""
        ...

    @property
    def pid(self) -> int: ...


class Pool(Protocol):
    """What is asked of whoever runs models: `p2phub.inference.pool.Pool`."""

    def lease(
        self,
        spec: ModelSpec,
        report: Callable[[str, int, int], None] | None = None,
        keep_alive: float | None = None,
        *,
        need: Need = ...,
        arriving: AsyncIterable[Tabled | Arrived | Moved] | None = None,
        client: str = "",
    ) -> AbstractAsyncContextManager[Engine]: ...

    def loaded(self) -> Sequence[InMemory]: ...

    async def unload(self, release: str, variant: str | None = None) -> None: ...

    async def detach(self, release: str) -> None:
        """Take an adapter off every model that it is attached to."""
        ...


class Judged:
    """What was judged when it was loaded."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._adapters: dict[str, AdapterRelease] = {}

    def note(self, model: Model) -> None:
        """Remember a model, and its adapters."""
        self._models[model.key] = replace(model, adapter=None, beside=())
        self._adapters |= {each.exact: each for each in model.adapters}

    def model(self, key: str) -> Model | None:
        """A model, by its `key`, without adapters."""
        return self._models.get(key)

    def adapters(self, names: Iterable[str]) -> tuple[AdapterRelease, ...]:
        """Adapters, by what an engine calls them."""
        return tuple(self._adapters[name] for name in names if name in self._adapters)


class Kept:
    """For how many seconds models stay that were asked to stay for other than usual, and by whom.

    An adapter keeps its base, and two of them keep it as long as the one that wants it longer.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, float]] = {}

    def note(self, model: Model, seconds: float | None) -> None:
        """Somebody asked for `model`, to stay so long; None: as usual."""
        if seconds is not None:
            self._seconds.setdefault(model.key, {})[model.asked.digest.hex()] = seconds

    def seconds(self, model: Model) -> float | None:
        """How long it stays; None: as usual."""
        return max(self._seconds.get(model.key, {}).values(), default=None)

    def forget(self, key: str) -> None:
        """A model stays for nobody any more."""
        self._seconds.pop(key, None)

    def forget_adapter(self, base: str, adapter: str) -> bool:
        """An adapter needs its base no more; whether it was the last that kept it."""
        asked = self._seconds.get(base, {})
        was_one = asked.pop(adapter, None) is not None
        return was_one and not asked


def rows_of(loaded: Iterable[InMemory], judged: Judged) -> tuple[LoadedRow, ...]:
    """The lines of `ps`: each model, and below it its adapters."""
    rows = []
    for each in loaded:
        model = judged.model(with_variant(each.spec.release, each.spec.variant))
        adapters = judged.adapters(each.info.adapters if each.info is not None else ())
        row = replace(row_of(each, model), adapters=tuple(each.name for each in adapters))
        rows.append(row)
        if model is not None:
            rows += [_adapter_row(row, replace(model, adapter=adapter)) for adapter in adapters]
    return tuple(rows)


def _adapter_row(base: LoadedRow, model: Model) -> LoadedRow:
    """The line of an adapter: what it shares with its base, and what it has of its own."""
    assert model.adapter is not None
    return replace(
        base,
        id=model.name,
        release=model.adapter.digest,
        publisher=str(model.asked.repo.publisher),
        verdict=judgement_of(model).text,
        adapters=(),
        base=base.id,
        base_release=base.release,
        busy=0,
        waiting=0,
        weight_bytes=model.adapter.bytes,
        cache_bytes=0,
        memory_bytes=0,
    )


def is_called(row: LoadedRow, name: ModelName) -> bool:
    """Whether a person means this one: by its name, or by the beginning of its release."""
    if name.variant and row.variant and name.variant.lower() != row.variant.lower():
        return False
    wanted = shown_name(str(name.reference))
    known = row.id.partition(":")[0]
    repo, _, revision = wanted.partition("@")
    same = bool(revision) and known.partition("@")[0] == repo
    return known == wanted or (same and row.release.startswith(revision))


def row_of(loaded: InMemory, model: Model | None) -> LoadedRow:
    """Its line of `ps`."""
    spec = loaded.spec
    info = loaded.info or ModelInfo(spec.engine, loaded.device, "", (), slots=0)
    return LoadedRow(
        id=spec.name,
        release=spec.release,
        publisher=str(model.resolved.repo.publisher) if model is not None else "",
        verdict=model.resolved.judgement.text if model is not None else "",
        task=spec.task,
        variant=spec.variant,
        engine=info.engine,
        device=info.device,
        dtype=info.dtype,
        attention=info.attention,
        threads=info.threads,
        compiled=info.compiled,
        compile_seconds=info.compile_seconds,
        not_compiled=why_not_compiled(spec, loaded.info),
        quantization=info.quantization,
        context=info.context,
        slots=info.slots,
        busy=loaded.busy,
        waiting=loaded.waiting,
        weight_bytes=info.weight_bytes,
        cache_bytes=info.cache_bytes,
        memory_bytes=loaded.size,
        load_seconds=info.load_seconds,
        keep_seconds=keeps(loaded.keep_seconds),
        pid=loaded.pid,
    )


def why_not_compiled(spec: ModelSpec, info: ModelInfo | None) -> str:
    """Why a model does not run compiled; empty: it does, or still loads, or nobody wanted it."""
    if not spec.options.compile or info is None or info.compiled:
        return ""
    return info.not_compiled or f"{info.engine} does without"


def keeps(seconds: float) -> float | None:
    """Seconds as JSON has them: None for ever."""
    return None if math.isinf(seconds) else seconds
