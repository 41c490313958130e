"""How an engine is started: a worker of ours, or a server from its own environment.

`Starter` is what the pool is given. A server reads its files by their names, and so waits for what
still comes, and for the check of all of it.

Rules it keeps:
 * a server begins on files that were checked right before, and is given out only if they are still
   the same after it has loaded;
 * nothing of it is left when it ends, its folder included.
"""

import logging
import os
import time
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import trio

from p2phub.inference.engine import Engine, ModelInfo
from p2phub.inference.memory import Device, Machine, place
from p2phub.inference.own_server import OwnServer, ServerEngine, own_server
from p2phub.inference.spec import ModelSpec
from p2phub.inference.verified_folder import VerifiedFolder, verified_folder
from p2phub.inference.vllm import ENGINE, SLOTS, Vllm, gpus_of, options_of, variables_of
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.inference.worker_engine import Report, start_worker

log = logging.getLogger(__name__)

TASKS: Final = ("text-generation",)


class Devices(Protocol):
    """The memory of a machine; `memory.Machine` is the real one."""

    async def devices(self) -> tuple[Device, ...]: ...


@dataclass(frozen=True, slots=True)
class Starter:
    """Keeps the port `Start` of the pool."""

    vllm: str = ""
    """As `[inference] vllm` says."""
    endpoint: Callable[[], str] = lambda: ""
    """The URL of our gateway, once it has one."""
    machine: Devices = field(default_factory=Machine)

    async def __call__(
        self,
        nursery: trio.Nursery,
        spec: ModelSpec,
        report: Report,
        arriving: AsyncIterable[Tabled | Arrived | Moved] | None = None,
    ) -> Engine:
        if spec.engine != ENGINE:
            return await start_worker(nursery, spec, report, arriving)
        Vllm.parse(self.vllm)
        whole = spec if arriving is None else await _whole(spec, arriving)
        engine: ServerEngine = await nursery.start(self._serve, whole, report)
        return engine

    async def _serve(
        self,
        spec: ModelSpec,
        report: Report,
        *,
        task_status: Any = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Check the files, and run a server on them until it ends."""
        began = time.monotonic()
        folder = await verified_folder(spec, report)
        try:
            devices = await self.machine.devices()
            device = place(spec.engine, spec.options.device, devices)
            server = self._server(spec, folder, device, devices)
            report("starting vLLM", 0, 0)
            async with own_server(server, lambda line: _hear(spec, line)) as engine:
                await trio.to_thread.run_sync(folder.require_unchanged)
                info = _info(engine.info, spec, folder, device)
                engine.info = replace(info, load_seconds=time.monotonic() - began)
                task_status.started(engine)
                await engine.gone.wait()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(folder.remove)

    def _server(
        self, spec: ModelSpec, folder: VerifiedFolder, device: str, devices: tuple[Device, ...]
    ) -> OwnServer:
        program, gpus = Vllm.parse(self.vllm), gpus_of(device)
        memory = sum(each.total for each in devices if each.name in device.split(","))
        return OwnServer(
            (program.program, "serve"),
            folder.path,
            spec.name,
            self.endpoint(),
            options=(*options_of(spec, len(gpus), memory), *program.options),
            more_variables=variables_of(spec.options, gpus, folder.temporary, os.environ),
        )


def _info(told: ModelInfo, spec: ModelSpec, folder: VerifiedFolder, device: str) -> ModelInfo:
    """What is shown of it: what it says itself, and how we started it."""
    return replace(
        told,
        engine=ENGINE,
        device=device,
        dtype=spec.options.dtype or "auto",
        tasks=TASKS,
        slots=spec.options.slots or SLOTS,
        weight_bytes=folder.weight_bytes,
        cache_bytes=spec.options.cache_bytes,
        read_bytes=folder.read_bytes,
    )


async def _whole(spec: ModelSpec, arriving: AsyncIterable[Tabled | Arrived | Moved]) -> ModelSpec:
    """The same once every file is here. What went wrong with one is raised by `arriving`."""
    places, tables = {}, {}
    async for each in arriving:
        if isinstance(each, Moved):
            places[each.name] = each.where
        elif isinstance(each, Tabled):
            tables[each.name] = each.packed
    files = tuple(
        replace(
            file,
            where=places.get(file.name, file.where),
            packed_table=tables.get(file.name, file.packed_table),
            complete=True,
        )
        for file in spec.files
    )
    return replace(spec, files=files)


def _hear(spec: ModelSpec, line: str) -> None:
    log.debug("%s: %s", spec.name, line)
