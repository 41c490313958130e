"""What is told of a model in memory: how the pool says that it runs, and what was judged.

>>> keeps(math.inf), keeps(300.0)
(None, 300.0)
"""

import math
from typing import Protocol

from p2phub.inference.engine import ModelInfo
from p2phub.inference.spec import ModelSpec
from p2phub.inference_results import LoadedRow
from p2phub.node.models import Model


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
    def busy(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def keep_seconds(self) -> float:
        """Until it is unloaded if nobody asks; infinite: never."""
        ...

    @property
    def pid(self) -> int: ...


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
        engine=info.engine,
        device=info.device,
        dtype=info.dtype,
        attention=info.attention,
        threads=info.threads,
        compiled=info.compiled,
        quantization=info.quantization,
        adapters=info.adapters,
        context=info.context,
        slots=info.slots,
        busy=loaded.busy,
        waiting=loaded.waiting,
        weight_bytes=info.weight_bytes,
        cache_bytes=info.cache_bytes,
        load_seconds=info.load_seconds,
        keep_seconds=keeps(loaded.keep_seconds),
        pid=loaded.pid,
    )


def keeps(seconds: float) -> float | None:
    """Seconds as JSON has them: None for ever."""
    return None if math.isinf(seconds) else seconds
