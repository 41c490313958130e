"""How much memory a model needs on this machine, from its headers, before its weights are fetched.

The weights are the bytes of their tensors, the cache is what an engine sets aside for keys and
values, and the rest is about what a process with an engine takes by itself. What is free is asked
of the machine. Of several GGUF files the largest that fits is chosen.

>>> cache_of({"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
...     "hidden_size": 576}, tokens=1000)
23040000
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import EngineError, MalformedError
from p2phub.formats import gguf_metadata
from p2phub.formats.limits import MIB
from p2phub.formats.tensors import Header, More
from p2phub.inference.fit_gguf import shape_of
from p2phub.inference.memory import HOST, Device, Machine, place
from p2phub.inference.spec import RunOptions
from p2phub.inference_results import FitReport, Variant
from p2phub.node.events import Report
from p2phub.node.headers import Described, describe
from p2phub.node.services import Services
from p2phub.node.serving import TEXT, choose, options_of, task_of

REST: Final = {"transformers": 512 * MIB, "llamacpp": 200 * MIB}
"""Bytes of a process with an engine in it, and of what it computes with."""
SLOTS: Final = {"cpu": 8}
"""Requests at once where no setting says it, on a processor; on a GPU it is `GPU_SLOTS`."""
GPU_SLOTS: Final = 128
CACHE: Final = 1024 * MIB
"""Bytes for keys and values at most, on a processor."""
CONTEXT: Final = 4096
"""Tokens of a model that does not say how many it takes."""
_SMALLER: Final = {"int8": 2, "int4": 4}
"""How much smaller weights of 16 bits become."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What one way to run a repo takes."""

    name: str
    engine: str
    dtype: str
    weights: int
    cache: int
    context: int
    slots: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + REST[self.engine]


async def fit(services: Services, reference: str, report: Report) -> FitReport:
    """What a model would take here. Raises what `describe` raises, `UnsupportedError`."""
    found = await describe(services, reference, report)
    inference = services.config.inference
    options = options_of(inference, code=False)
    devices = await Machine().devices()
    paths = [file.path for file, _ in found.files]
    engine = choose(paths, code=False, engine=inference.engine).engine
    device = _device(place(engine, options.device, devices), devices)
    free = min(device.free, inference.memory) if inference.memory else device.free
    needs = _needs(found, engine, options, device.name)
    fitting = [each for each in needs if each.total <= free]
    best = fitting[0] if fitting else needs[-1]
    several = len(needs) > 1
    return FitReport(
        ref=found.resolved.called,
        release=found.resolved.digest.hex(),
        device=device.name,
        weight_bytes=best.weights,
        cache_bytes=best.cache,
        other_bytes=REST[best.engine],
        available_bytes=free,
        engine=best.engine,
        dtype=best.dtype,
        context=best.context,
        slots=best.slots,
        variants=tuple(
            Variant(each.name, each.dtype, each.total, each.total <= free) for each in needs
        )
        if several
        else (),
        chosen=best.name if several and fitting else "",
    )


def _device(name: str, devices: Sequence[Device]) -> Device:
    found = next((each for each in devices if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in devices)
        raise EngineError(f"there is no device {name} here", remedy=f"there are: {known}")
    return found


def _needs(found: Described, engine: str, options: RunOptions, device: str) -> list[_Need]:
    """Every way to run it with this engine, the largest first."""
    headers = {file.path: header for file, header in found.files}
    if engine == "transformers":
        weights = choose(list(headers), code=False, engine=engine).weights
        return [_of_tensors(found, [headers[path] for path in weights], options, device)]
    parts: dict[tuple[tuple[str, ...], ...], list[Header]] = {}
    for path in headers:
        if path[-1].endswith(".gguf"):
            whole = choose(list(headers), code=False, engine=engine, variant="/".join(path)).weights
            parts[whole] = [headers[each] for each in whole]
    made = [_of_gguf(found, "/".join(paths[0]), each, options) for paths, each in parts.items()]
    return sorted(made, key=lambda need: need.total, reverse=True)


def _of_tensors(
    found: Described, headers: Sequence[Header], options: RunOptions, device: str
) -> _Need:
    tensors = [each for header in headers for each in header.tensors]
    size = sum(each.stop - each.start for each in tensors)
    config, task = found.config, found.resolved.release.card.task
    limit = _number(config, "max_position_embeddings") or CONTEXT
    context = min(options.context or limit, limit)
    slots = options.slots or SLOTS.get(device, GPU_SLOTS)
    cache = 0
    if task_of(task, "transformers", config) == TEXT:
        cache = cache_of(config, tokens=slots * context)
        cache = min(cache, CACHE) if device == HOST else cache
    dtype = tensors[0].dtype if tensors else ""
    small = _SMALLER.get(options.quantize, 1)
    return _Need("", "transformers", dtype, size // small, cache, context, slots)


def _of_gguf(found: Described, name: str, headers: Sequence[Header], options: RunOptions) -> _Need:
    prefix = found.prefixes[name]
    metadata = gguf_metadata.read(prefix, len(prefix))
    if isinstance(metadata, More):
        raise MalformedError(f"the header of {name} is cut short")
    shape = shape_of(metadata, headers)
    context, slots = shape.room(options)
    cache = 0 if shape.pooled else shape.cache_bytes(context, slots)
    return _Need(name, "llamacpp", shape.dtype, shape.weight_bytes, cache, context, slots)


def cache_of(config: Mapping[str, Any], *, tokens: int, itemsize: int = 2) -> int:
    """Bytes of the keys and values of so many tokens, as `config.json` describes the model."""
    text = config.get("text_config")
    said = text if isinstance(text, Mapping) else config
    heads = _number(said, "num_attention_heads") or 1
    kept = _number(said, "num_key_value_heads") or heads
    width = _number(said, "head_dim") or _number(said, "hidden_size") // heads
    return 2 * _number(said, "num_hidden_layers") * kept * width * itemsize * tokens


def _number(config: Mapping[str, Any], name: str) -> int:
    found = config.get(name)
    return found if type(found) is int and 0 < found < 1 << 32 else 0
