"""The models of this node: who asks is served the release that was named, or told why not.

A request names a model; it is judged by the gate and by the rule for its publisher, as on every
other way to a release, and answered by the pool. What goes with each answer (`Served`) is what was
judged and loaded, and nothing that a client said.

Rules it keeps:
 * a request fetches nothing: what is not on this disk is brought by `load`, which is asked with a
   token;
 * a release that is taken back is unloaded at once. What it answers then ends with `RevokedError`,
   and nothing of it is answered after;
 * files that the loader finds changed are read whole by the store, which puts them in quarantine:
   the next load fetches them again;
 * everything else yields to what is answered: each request is counted in `Services.pressure`.

What runs a model, and how many fit, is the pool's business.
"""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from glob import escape
from typing import Final, Protocol

import trio

from p2phub.errors import (
    NotFoundError,
    P2PHubError,
    RevokedError,
    UnsupportedError,
    UntrustedError,
    UsageError,
    plain_errors,
)
from p2phub.formats.ids import Reference
from p2phub.inference.engine import Engine
from p2phub.inference.spec import ModelSpec
from p2phub.inference.wire import Arrived, Moved
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.node.arriving import Coming
from p2phub.node.endpoints import Endpoints
from p2phub.node.events import Event, Loading, ReleaseWithdrawn, Report, Warned
from p2phub.node.fitting import fit
from p2phub.node.loaded import InMemory, row_of
from p2phub.node.models import (
    Model,
    find_model,
    model_of,
    models_here,
    not_here,
    shown_name,
    spec_of,
    unknown,
)
from p2phub.node.obedient import ObedientEngine, revoked
from p2phub.node.pull import obey_policy, pull_resolved, told_of
from p2phub.node.resolve import resolve
from p2phub.node.served import Served
from p2phub.node.services import Services
from p2phub.node.values import PullRequest

log = logging.getLogger(__name__)

REMEMBERED: Final = 64
"""Models of which it is remembered what an engine is told."""


class Pool(Protocol):
    """What is asked of whoever runs models: `p2phub.inference.pool.Pool`."""

    def lease(
        self,
        spec: ModelSpec,
        report: Callable[[str, int, int], None] | None = None,
        keep_alive: float | None = None,
        *,
        arriving: AsyncIterable[Arrived | Moved] | None = None,
    ) -> AbstractAsyncContextManager[Engine]: ...

    def loaded(self) -> Sequence[InMemory]: ...

    async def unload(self, release: str) -> None: ...


class Inference:
    """Keeps the port `InferenceApi` of the gateway."""

    def __init__(self, services: Services, pool: Pool, endpoints: Endpoints | None = None) -> None:
        self._services, self._pool = services, pool
        self._endpoints = endpoints or Endpoints(services.config.inference.endpoints)
        self._taken_back: dict[str, tuple[int, ReleaseWithdrawn]] = {}
        """What was taken back, by its digest, and as which of them."""
        self._news = 0
        """How many releases were taken back so far."""
        self._specs: dict[tuple[str, bool], ModelSpec] = {}
        self._kept: dict[str, float] = {}
        """Seconds for which a model stays that was asked to stay for other than usual."""
        self._served: dict[str, Model] = {}
        """What was judged when it was loaded, by the digest of its release."""

    async def run(self) -> None:
        """Unload every release that is taken back, for ever."""
        with self._services.withdrawals.listen() as news:
            async for withdrawn in news:
                self._news += 1
                self._taken_back[withdrawn.digest] = self._news, withdrawn
                await self._pool.unload(withdrawn.digest)

    async def close(self) -> None:
        """Let go of the servers of others."""
        await self._endpoints.close()

    # ------------------------------------------------------------ answering

    @asynccontextmanager
    async def serve(self, model: str, task: str) -> AsyncIterator[Served]:
        """Hold a model for a request. `task` empty: whatever it can do.

        Raises `NotFoundError` (naming the nearest), `UntrustedError`, `UnsupportedError`,
        `BusyError`, `NoMemoryError`, `EngineError`.
        """
        before = self._news
        try:
            found = await self._find(model)
        except NotFoundError:
            url = await self._endpoints.find(model)
            if url is None:
                raise
            async with self._endpoints.engine(url, model) as elsewhere:
                yield _served_elsewhere(elsewhere, model)
            return
        async with self._leased(found, before, _unheard) as engine:
            _require(engine, task, found)
            yield Served(
                engine=engine,
                release=found.digest,
                publisher=str(found.resolved.repo.publisher),
                verdict=found.resolved.judgement.text,
                name=found.name,
                policy=found.rule.policy,
            )

    async def _find(self, wanted: str) -> Model:
        """What a request names, on this disk."""
        services = self._services
        try:
            found = await services.on_disk(find_model, services, Reference.parse(wanted))
        except (NotFoundError, UsageError) as error:
            if isinstance(error, UnsupportedError):
                raise UnsupportedError(f"{wanted}: {error.message}", remedy=error.remedy) from error
            raise await services.on_disk(unknown, services, wanted, error) from error
        if found.missing:
            raise not_here(found)
        await obey_policy(services, found.resolved, _logged)
        return found

    @asynccontextmanager
    async def _leased(
        self,
        model: Model,
        before: int,
        report: Report,
        keep_alive: float | None = None,
        coming: Coming | None = None,
    ) -> AsyncIterator[Engine]:
        def taken_back() -> ReleaseWithdrawn | None:
            number, withdrawn = self._taken_back.get(model.digest, (0, None))
            return withdrawn if number > before else None

        def tell(step: str, done: int, total: int) -> None:
            report(Loading(model.resolved.called, step, done, total))

        spec = await self._spec(model)
        keeps = self._kept.get(model.digest) if keep_alive is None else keep_alive
        news = coming.news() if coming is not None else None
        self._served[model.digest] = model
        try:
            async with self._pool.lease(spec, tell, keeps, arriving=news) as engine:
                await self._require_good(taken_back())
                yield ObedientEngine(engine, taken_back, self._services.pressure)
        except UntrustedError as error:
            if not isinstance(error, RevokedError):
                await self._put_in_quarantine(model)
            raise

    async def _require_good(self, withdrawn: ReleaseWithdrawn | None) -> None:
        """Raise `RevokedError` for what was taken back while it was loaded, and unload it again."""
        if withdrawn is not None:
            await self._pool.unload(withdrawn.digest)
            raise revoked(withdrawn)

    async def _spec(self, model: Model) -> ModelSpec:
        if model.missing:
            return await self._services.on_disk(spec_of, self._services, model)
        key = (model.digest, model.code)
        if key not in self._specs:
            made = await self._services.on_disk(spec_of, self._services, model)
            while len(self._specs) >= REMEMBERED:
                self._specs.pop(next(iter(self._specs)))
            self._specs[key] = made
        return replace(self._specs[key], name=model.name)

    async def _put_in_quarantine(self, model: Model) -> None:
        """Read every file again; what is not what was signed is no blob any more."""
        self._specs = {key: spec for key, spec in self._specs.items() if key[0] != model.digest}
        for file in model.files:
            with suppress(P2PHubError):
                await self._services.on_disk(self._services.store.blobs.verify, file.content)

    # ------------------------------------------------------------ looking

    async def models(self) -> tuple[ModelRow, ...]:
        """All that may be asked for without anything being fetched, the loaded ones first."""
        rows = await self._services.on_disk(models_here, self._services)
        loaded = {row.id for row in await self.loaded()}
        marked = [replace(row, loaded=row.id in loaded) for row in rows]
        named = {row.id for row in marked}
        marked += [row for row in await self._endpoints.rows() if row.id not in named]
        return tuple(sorted(marked, key=lambda row: (not row.loaded, row.id)))

    async def loaded(self) -> tuple[LoadedRow, ...]:
        """What is in memory."""
        return tuple(
            row_of(each, self._served.get(each.spec.release)) for each in self._pool.loaded()
        )

    async def fit(self, reference: str) -> FitReport:
        """What a model would take on this machine; fetches headers and no weights.

        Raises `NotFoundError`, `UntrustedError`, `UnsupportedError`, and what a pull raises.
        """
        return await fit(self._services, reference, _logged)

    # ------------------------------------------------------------ loading

    async def load(self, reference: str, keep_alive: float | None, report: Report) -> LoadedRow:
        """Bring what is missing of a model, and load it.

        `keep_alive`: seconds after the last request until it is unloaded; infinity: never; None: as
        node.toml says. Raises what a pull and `serve` raise.
        """
        services, before = self._services, self._news
        resolved = await resolve(services, Reference.parse(reference))
        model = await services.on_disk(model_of, services, resolved)
        if model.missing:
            return await self._load_while_it_comes(model, before, keep_alive, report)
        await obey_policy(services, resolved, report)
        report(told_of(resolved))
        async with self._leased(model, before, report, keep_alive):
            self._keep(model, keep_alive)
            return await self._row(model)

    async def _load_while_it_comes(
        self, model: Model, before: int, keep_alive: float | None, report: Report
    ) -> LoadedRow:
        """Load what is fetched meanwhile; if one fails, the other ends."""
        services, resolved = self._services, model.resolved
        names = tuple(escape("/".join(file.path)) for file in model.files)
        request = PullRequest(model.name, include=names)
        coming, now = Coming(services, model.missing), trio.current_time()
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull_resolved, services, resolved, request, report, now)
                await coming.ready()
                async with self._leased(model, before, report, keep_alive, coming):
                    self._keep(model, keep_alive)
                    row = await self._row(model)
        return row

    def _keep(self, model: Model, keep_alive: float | None) -> None:
        if keep_alive is not None:
            self._kept[model.digest] = keep_alive

    async def _row(self, model: Model) -> LoadedRow:
        return next(row for row in await self.loaded() if row.release == model.digest)

    async def unload(self, reference: str) -> LoadedRow:
        """Take a model out of memory, by a name, a release digest or the beginning of a commit.

        Raises `NotFoundError`.
        """
        rows = await self.loaded()
        wanted = shown_name(str(Reference.parse(reference)))
        repo, _, revision = wanted.partition("@")
        for row in rows:
            named = row.id == wanted or (row.id.partition("@")[0] == repo and bool(revision))
            if named and (row.id == wanted or row.release.startswith(revision)):
                self._kept.pop(row.release, None)
                await self._pool.unload(row.release)
                return row
        known = ", ".join(row.id for row in rows)
        raise NotFoundError(
            f"{reference} is not in memory",
            remedy=f"in memory are: {known}" if known else "no model is in memory",
        )


def _served_elsewhere(engine: Engine, model: str) -> Served:
    """A model of another server: nobody here knows what it is made of."""
    return Served(engine, release="", publisher="", verdict="unsigned", name=model, policy="off")


def _require(engine: Engine, task: str, model: Model) -> None:
    """Raise `UnsupportedError` for what this model cannot do."""
    if task and task not in engine.info.tasks:
        can = ", ".join(engine.info.tasks)
        raise UnsupportedError(
            f"{model.name} does not do {task}", remedy=f"ask it for {can}, or ask another model"
        )


def _unheard(event: Event) -> None:
    """Where the progress of a load goes that a request waits for."""


def _logged(event: Event) -> None:
    if isinstance(event, Warned):
        log.warning("%s", event.message)
