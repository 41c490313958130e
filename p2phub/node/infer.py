"""The models of this node: who asks is served the release that was named, or told why not.

A request names a model; it is judged by the gate and by the rule for its publisher, as on every
other way to a release, and answered by the pool. What goes with each answer (`Served`) is what was
judged and loaded, and nothing that a client said.

Rules it keeps:
 * a request fetches nothing: what is not on this disk is brought by `load`, which is asked with a
   token;
 * an adapter is answered by its base (`bases`): both are judged, and the worse verdict is told;
 * a release that is taken back is unloaded at once, an adapter is taken off its base. What it
   answers then ends with `RevokedError`, and nothing of it is answered after;
 * files that the loader finds changed are read whole by the store, which puts them in quarantine:
   the next load fetches them again;
 * everything else yields to what is answered and loaded: it is counted in `Services.pressure`.

What runs a model, and how many fit, is the pool's business.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from glob import escape

import trio

from p2phub.errors import (
    EngineError,
    MalformedError,
    NotFoundError,
    P2PHubError,
    RevokedError,
    UnsupportedError,
    UntrustedError,
    UsageError,
    plain_errors,
)
from p2phub.formats.manifest import FileEntry
from p2phub.inference.engine import Engine
from p2phub.inference.memory import Machine
from p2phub.inference.variants import ModelName, with_variant
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.node.adapters import NoBaseError
from p2phub.node.arriving import HEAD, Coming, leased
from p2phub.node.bases import resolve_asked, with_adapters
from p2phub.node.choosing import Capacity, NoVariantError
from p2phub.node.endpoints import Endpoints
from p2phub.node.events import Event, Loading, ReleaseWithdrawn, Report, Warned
from p2phub.node.fitting import fit, learn, need_of
from p2phub.node.loaded import Judged, Kept, Pool, is_called, rows_of
from p2phub.node.models import (
    Model,
    Read,
    find_model,
    models_here,
    not_here,
    reader,
    shown_name,
    unknown,
    with_nearest,
)
from p2phub.node.obedient import ObedientEngine, revoked
from p2phub.node.pedigree import served, served_elsewhere
from p2phub.node.pull import obey_policy, pull_resolved, told_of
from p2phub.node.purposes import require_able, require_purpose, require_task
from p2phub.node.served import Served
from p2phub.node.services import Services
from p2phub.node.specs import Specs
from p2phub.node.values import PullRequest

log = logging.getLogger(__name__)


class Inference:
    """Keeps the port `InferenceApi` of the gateway."""

    def __init__(self, services: Services, pool: Pool, endpoints: Endpoints | None = None) -> None:
        self._services, self._pool = services, pool
        self._endpoints = endpoints or Endpoints(services.config.inference.endpoints)
        self._taken_back: dict[str, tuple[int, ReleaseWithdrawn]] = {}
        """What was taken back, by its digest, and as which of them."""
        self._news = 0
        """How many releases were taken back so far."""
        self._specs = Specs(services)
        self._kept = Kept()
        self._judged = Judged()
        self._machine: Capacity | None = None

    async def run(self) -> None:
        """Unload every release that is taken back, for ever."""
        with self._services.withdrawals.listen() as news:
            async for withdrawn in news:
                self._news += 1
                self._taken_back[withdrawn.digest] = self._news, withdrawn
                await self._let_go(withdrawn.digest)

    async def _let_go(self, digest: str) -> None:
        """Let nothing of a release answer any more, be it a model or an adapter."""
        await self._pool.detach(digest)
        await self._pool.unload(digest)

    async def close(self) -> None:
        """Let go of the servers of others."""
        await self._endpoints.close()

    # ------------------------------------------------------------ answering

    @asynccontextmanager
    async def serve(self, model: str, task: str, client: str = "") -> AsyncIterator[Served]:
        """Hold a model for a request of `client`. `task` empty: whatever it can do.

        Raises `NotFoundError` (naming the nearest), `UntrustedError`, `UnsupportedError`,
        `BusyError`, `NoMemoryError`, `EngineError`.
        """
        before = self._news
        try:
            found = await self._find(model)
        except NotFoundError as error:
            url = await self._endpoints.find(model)
            if url is None:
                raise self._endpoints.unknown(error) from error
            async with self._endpoints.engine(url, model) as elsewhere:
                yield served_elsewhere(elsewhere, model)
            return
        require_task(found, (await self._specs.of(found)).task, task)
        async with self._leased(found, before, _unheard, client=client) as engine:
            require_able(engine, task, found)
            yield served(engine, found)

    async def _find(self, wanted: str) -> Model:
        """What a request names, on this disk."""
        services = self._services
        try:
            named = ModelName.parse(wanted)
            read = with_adapters(await self._reader(named.variant))
            found = await services.on_disk(find_model, services, named.reference, read)
        except (NoBaseError, NoVariantError):
            raise
        except (NotFoundError, UsageError) as error:
            if isinstance(error, UnsupportedError):
                raise UnsupportedError(f"{wanted}: {error.message}", remedy=error.remedy) from error
            raise await services.on_disk(unknown, services, wanted, error) from error
        if found.lacking:
            raise await services.on_disk(not_here, services, found)
        await self._obey(found, _logged)
        return found

    async def _capacity(self) -> Capacity:
        """What this machine has for models; looked at once."""
        if self._machine is None:
            devices = await Machine().devices()
            self._machine = self._machine or Capacity(self._services.config.inference, devices)
        return self._machine

    async def _reader(self, variant: str) -> Read:
        return reader(variant, await self._capacity())

    async def _obey(self, model: Model, report: Report) -> None:
        """The rules for whoever signed what would answer. Raises `UntrustedError`."""
        for each in (model.resolved, *(adapter.resolved for adapter in model.adapters)):
            await obey_policy(self._services, each, report)

    @asynccontextmanager
    async def _leased(
        self,
        model: Model,
        before: int,
        report: Report,
        keep_alive: float | None = None,
        coming: Coming | None = None,
        client: str = "",
    ) -> AsyncIterator[Engine]:
        releases = [model.digest, *(each.digest for each in model.adapters)]

        def taken_back() -> ReleaseWithdrawn | None:
            known = [self._taken_back[each] for each in releases if each in self._taken_back]
            return next((withdrawn for number, withdrawn in known if number > before), None)

        def tell(step: str, done: int, total: int) -> None:
            report(Loading(model.resolved.called, step, done, total))

        spec = await self._specs.of(model)
        need = await need_of(self._services, model, spec.engine, await self._capacity())
        keeps = self._kept.seconds(model) if keep_alive is None else keep_alive
        lease = partial(self._pool.lease, spec, tell, keeps, need=need, client=client)
        self._judged.note(model)
        try:
            async with leased(lease, self._services.pressure, coming) as engine:
                await self._require_good(taken_back())
                key = with_variant(spec.release, spec.variant)
                yield ObedientEngine(engine, taken_back, self._services.pressure, key)
        except EngineError:  # also of a load that ended because the release was taken back
            await self._require_good(taken_back())
            raise
        except UntrustedError as error:
            if not isinstance(error, RevokedError | MalformedError):  # malformed is how it was made
                await self._put_in_quarantine(model)
            raise

    async def _require_good(self, withdrawn: ReleaseWithdrawn | None) -> None:
        """Raise `RevokedError` for what was taken back while it was loaded, and unload it again."""
        if withdrawn is not None:
            await self._let_go(withdrawn.digest)
            raise revoked(withdrawn)

    async def _put_in_quarantine(self, model: Model) -> None:
        """Read every file again; what is not what was signed is no blob any more.

        The files of the model, which may be many, only if nothing is wrong with its adapters.
        """
        parts = [(each.digest, each.files) for each in model.adapters]
        for digest, files in (*parts, (model.digest, model.files)):
            self._specs.forget(digest)
            if await self._is_damaged(files):
                return

    async def _is_damaged(self, files: Sequence[FileEntry]) -> bool:
        damaged = False
        for file in files:
            try:
                await self._services.on_disk(self._services.store.blobs.verify, file.content)
            except P2PHubError:
                damaged = True
        return damaged

    # ------------------------------------------------------------ looking

    async def models(self) -> tuple[ModelRow, ...]:
        """All that may be asked for without anything being fetched, the loaded ones first."""
        rows = await self._services.on_disk(
            models_here, self._services, with_adapters(await self._reader(""))
        )
        loaded = {row.id for row in await self.loaded()}
        marked = [replace(row, loaded=row.id in loaded) for row in rows]
        named = {row.id for row in marked}
        marked += [row for row in await self._endpoints.rows() if row.id not in named]
        return tuple(sorted(marked, key=lambda row: (not row.loaded, row.id)))

    async def loaded(self) -> tuple[LoadedRow, ...]:
        """What is in memory."""
        return rows_of(self._pool.loaded(), self._judged)

    async def fit(self, reference: str) -> FitReport:
        """What a model would take on this machine; fetches headers and no weights.

        Raises `NotFoundError`, `UntrustedError`, `UnsupportedError`, and what a pull raises.
        """
        return await fit(self._services, reference, await self._capacity(), _logged)

    # ------------------------------------------------------------ loading

    async def load(
        self,
        reference: str,
        keep_alive: float | None,
        report: Report,
        adapters: Sequence[str] = (),
        task: str = "",
    ) -> LoadedRow:
        """Bring what is missing of a model, and load it, with `adapters` on it.

        `keep_alive`: seconds after the last request until it is unloaded; infinity: never; None: as
        node.toml says. `task`: what it will be asked for; a model that is for something else is not
        fetched. Raises what a pull and `serve` raise, and `UsageError` for an adapter that was made
        for another release.
        """
        elsewhere = None if adapters else await self._elsewhere(reference)
        if elsewhere is not None:
            return elsewhere
        services, before = self._services, self._news
        name = ModelName.parse(reference)
        read = await self._reader(name.variant)
        with self._endpoints.naming_those_away():
            model = await self._asked(name, adapters, report, read)
        await require_purpose(services, model, task)
        while model.guessed:  # its headers tell whether it fits
            await learn(services, model.resolved, model.chosen, await self._capacity())
            again = await services.on_disk(read, services, model.resolved)
            model = replace(again, adapter=model.adapter, beside=model.beside)
        if model.missing:
            await learn(services, model.resolved, model.chosen, await self._capacity())
            return await self._load_while_it_comes(model, before, keep_alive, report)
        await self._obey(model, report)
        report(told_of(model.asked))
        async with self._leased(model, before, report, keep_alive):
            self._kept.note(model, keep_alive)
            return await self._row(model)

    async def _asked(
        self, name: ModelName, adapters: Sequence[str], report: Report, read: Read
    ) -> Model:
        """What a name means, here or elsewhere."""
        services, reference = self._services, str(name.reference)
        try:
            return await resolve_asked(services, reference, adapters, report, read)
        except (NoBaseError, NoVariantError):
            raise
        except NotFoundError as error:
            raise await services.on_disk(with_nearest, services, reference, error) from error

    async def _elsewhere(self, wanted: str) -> LoadedRow | None:
        """A model of another server, which is loaded there; None if it is, or may be, ours."""
        if await self._endpoints.find(wanted) is None:
            return None
        try:
            await self._find(wanted)
        except NotFoundError:
            return await self._endpoints.row(wanted)
        return None

    async def _load_while_it_comes(
        self, model: Model, before: int, keep_alive: float | None, report: Report
    ) -> LoadedRow:
        """Load what is fetched meanwhile; if one fails, the other ends."""
        services, resolved = self._services, model.resolved
        names = tuple(escape("/".join(file.path)) for file in model.files)
        request = PullRequest(shown_name(resolved.called), include=names)
        coming, now = Coming(services, model.missing), trio.current_time()
        pull = partial(pull_resolved, head=HEAD)
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull, services, resolved, request, report, now)
                await coming.ready()
                async with self._leased(model, before, report, keep_alive, coming):
                    self._kept.note(model, keep_alive)
                    row = await self._row(model)
        return row

    async def _row(self, model: Model) -> LoadedRow:
        wanted = model.asked.digest.hex()
        rows = [row for row in await self.loaded() if row.release == wanted]
        return next(row for row in rows if row.variant == model.chosen.label)

    async def unload(self, reference: str) -> LoadedRow:
        """Take a model out of memory, by a name, a release digest or the beginning of a commit.

        Without a variant every one of them is meant. An adapter is taken off its base, which stays
        as long as somebody else asked it to, or as usual. Raises `NotFoundError`.
        """
        rows = await self.loaded()
        found = [row for row in rows if is_called(row, ModelName.parse(reference))]
        for row in found:
            await self._unload(row)
        if found:
            return found[0]
        known = ", ".join(row.id for row in rows)
        raise NotFoundError(
            f"{reference} is not in memory",
            remedy=f"in memory are: {known}" if known else "no model is in memory",
        )

    async def _unload(self, row: LoadedRow) -> None:
        if not row.base:
            self._kept.forget(with_variant(row.release, row.variant))
            await self._pool.unload(row.release, row.variant)
            return
        await self._pool.detach(row.release)
        key = with_variant(row.base_release, row.variant)
        base = self._judged.model(key)
        there = {each.spec.release for each in self._pool.loaded()}
        freed = self._kept.forget_adapter(key, row.release)
        if freed and base is not None and row.base_release in there:
            # The next lease says how long it stays; this one is given back at once.
            async with self._pool.lease(await self._specs.of(base)):
                pass


def _unheard(event: Event) -> None:
    """Where the progress of a load goes that a request waits for."""


def _logged(event: Event) -> None:
    if isinstance(event, Warned):
        log.warning("%s", event.message)
