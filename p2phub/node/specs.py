"""What engines are told to load, remembered: a request does not look at the disk for it again.

A release never changes, and the loader checks every byte: what was told once stays true until the
files are found to be others (`forget`).
"""

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Final, TypeVar

from p2phub.inference.memory import HOST, Machine
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.starting import Devices
from p2phub.inference.vllm import engine_of
from p2phub.node.adapters import AdapterRelease
from p2phub.node.models import Model, file_of, spec_of
from p2phub.node.services import Services

REMEMBERED: Final = 64
"""Models, and adapters, of which it is remembered what an engine is told."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Specs:
    """Of one node."""

    def __init__(self, services: Services, machine: Devices | None = None) -> None:
        self._services = services
        self._machine = Machine() if machine is None else machine
        self._gpu: bool | None = None
        self._models: dict[tuple[str, bool], ModelSpec] = {}
        self._adapters: dict[str, Adapter] = {}

    async def of(self, model: Model) -> ModelSpec:
        """What an engine is told of a model and its adapters. Raises as `spec_of`."""
        spec = await self._of_model(model)
        adapters = [await self._of_adapter(each) for each in model.adapters]
        spec = replace(spec, name=model.called, adapters=tuple(adapters))
        return replace(spec, engine=await self._engine(spec))

    def forget(self, digest: str) -> None:
        """The files of a release are not what was told."""
        left = (each for each in self._models.items() if each[1].release != digest)
        self._models = dict(left)
        self._adapters.pop(digest, None)

    async def _of_model(self, model: Model) -> ModelSpec:
        if model.missing:
            return await self._services.on_disk(spec_of, self._services, model)
        key = (model.key, model.code)
        if key not in self._models:
            made = await self._services.on_disk(spec_of, self._services, model)
            _remember(self._models, key, made)
        return self._models[key]

    async def _engine(self, spec: ModelSpec) -> str:
        """What runs it here: vLLM where that is wanted, or is set and there is a GPU for it."""
        inference = self._services.config.inference
        ready = bool(inference.vllm) and inference.device != HOST
        if ready and inference.engine == "auto" and inference.device == "auto":
            ready = await self._has_gpu()
        return engine_of(spec, inference.engine, ready=ready)

    async def _has_gpu(self) -> bool:
        """Asked once: a GPU that is plugged in later is not waited for."""
        if self._gpu is None:
            self._gpu = any(each.name != HOST for each in await self._machine.devices())
        return self._gpu

    async def _of_adapter(self, adapter: AdapterRelease) -> Adapter:
        if adapter.digest not in self._adapters:
            made = await self._services.on_disk(_told, self._services, adapter)
            _remember(self._adapters, adapter.digest, made)
        return replace(self._adapters[adapter.digest], name=adapter.exact)


def _told(services: Services, adapter: AdapterRelease) -> Adapter:
    files = tuple(file_of(services, each) for each in adapter.files)
    return Adapter(adapter.exact, files, adapter.digest)


def _remember(known: MutableMapping[Key, Value], key: Key, value: Value) -> None:
    while len(known) >= REMEMBERED:
        known.pop(next(iter(known)))
    known[key] = value
