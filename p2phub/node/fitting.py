"""How much memory a model needs on this machine, before its weights are fetched.

The headers of every variant are read (`headers`), what follows from them is `inference.fit`'s
answer, and which one would be run is `choosing`'s. An adapter needs its base and its own weights.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from p2phub.errors import EngineError, MalformedError, NoMemoryError, UnsupportedError
from p2phub.inference.memory import KEEP_FREE, Machine, Need, joined, named
from p2phub.inference.variants import ModelName
from p2phub.inference_results import FitReport, Variant
from p2phub.node.adapters import AdapterRelease
from p2phub.node.bases import base_of_asked, takes_adapters
from p2phub.node.choosing import Candidate, Capacity, known, need_in, pick, predicted, ways_of
from p2phub.node.events import Report
from p2phub.node.headers import describe
from p2phub.node.locate import ResolvedRelease
from p2phub.node.models import Model
from p2phub.node.pull import obey_policy
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.node.serving import Chosen


async def fit(services: Services, name: str, capacity: Capacity, report: Report) -> FitReport:
    """What a model would take here: one variant, if the name has one, else all of them.

    Raises `NotFoundError`, `UntrustedError`, `UnsupportedError` (no engine here runs it),
    `EngineError` (there is no such device), and what a pull raises.
    """
    wanted = ModelName.parse(name)
    asked = await resolve(services, wanted.reference)
    await obey_policy(services, asked, report)
    resolved, adapter = await base_of_asked(services, asked, report)
    engine = capacity.inference.engine
    found = ways_of(resolved, code=False, engine=engine, variant=wanted.variant)
    if adapter is not None:
        found = takes_adapters(found, resolved)
    made = await _predicted(services, resolved, found, capacity)
    if adapter is not None:
        made = [(chosen, _with(each, adapter)) for chosen, each in made]
    contents = {file.path: file.content for file in resolved.release.files}
    right = await services.on_disk(services.store.shelf.right, list(contents.values()))
    candidates = [
        Candidate(
            chosen.label,
            chosen.engine,
            each.most_bytes,
            each.available_bytes,
            here=all(contents[path] in right for path in chosen.wanted),
        )
        for chosen, each in made
    ]
    return await _as_now(_report([each for _, each in made], candidates, asked.called))


def _with(report: FitReport, adapter: AdapterRelease) -> FitReport:
    """What a base needs, with an adapter on it."""
    return replace(
        report,
        ref=adapter.resolved.called,
        release=adapter.digest,
        weight_bytes=report.weight_bytes + adapter.bytes,
    )


async def _predicted(
    services: Services,
    resolved: ResolvedRelease,
    found: Sequence[Chosen],
    capacity: Capacity,
) -> list[tuple[Chosen, FitReport]]:
    """What each of these needs. One whose headers are broken is left out, unless it is alone."""
    made = []
    for chosen in found:
        with suppress(*((MalformedError, UnsupportedError) if len(found) > 1 else ())):
            described = await describe(services, resolved, chosen.weights)
            each = predicted(resolved, chosen, described, capacity)
            capacity.note(resolved, chosen, need_in(each))
            made.append((chosen, each))
    if not made:
        raise MalformedError(
            f"no variant of {resolved.called} begins as a file of weights does",
            remedy="`p2phub ls REF` lists its files; tell its publisher",
        )
    return made


def _report(made: Sequence[FitReport], candidates: Sequence[Candidate], called: str) -> FitReport:
    """All of them, with the numbers of the one that would be run, or else of the smallest."""
    chosen: Candidate | None
    try:
        chosen = pick(called, candidates)
    except NoMemoryError:
        chosen = None
    shown = chosen or min(candidates, key=lambda each: each.need)
    variants = [
        Variant(
            each.label,
            one.dtype,
            each.need,
            each.fits,
            chosen=each is chosen and each.fits,
            here=each.here,
            engine=each.engine,
        )
        for each, one in zip(candidates, made, strict=True)
    ]
    variants.sort(key=lambda each: (-each.bytes_needed, each.name))
    return replace(
        made[candidates.index(shown)],
        variants=tuple(variants),
        chosen=chosen.label if chosen is not None and chosen.fits else "",
    )


async def _as_now(report: FitReport) -> FitReport:
    """The same, with what models may take of what is free on the device just now."""
    found = named(report.device, await Machine().devices())
    if not found:
        return report
    device = joined(found)
    return replace(report, free_bytes=max(0, device.free - int(device.total * KEEP_FREE)))


async def need_of(services: Services, model: Model, engine: str, capacity: Capacity) -> Need:
    """What to reserve for a model in `engine`: what `fit` tells of it, if its headers are here.

    An engine that was not asked about, which vLLM is, takes what it is given.
    """
    if engine != model.chosen.engine:
        return Need()
    resolved, chosen = model.resolved, model.chosen
    if capacity.knows(resolved, chosen):
        return known(services, resolved, chosen, capacity) or Need()
    return await services.on_disk(known, services, resolved, chosen, capacity) or Need()


async def learn(
    services: Services, resolved: ResolvedRelease, chosen: Chosen, capacity: Capacity
) -> None:
    """Fetch the headers of a variant, unless `capacity` knows what it needs.

    Raises what a pull raises.
    """
    if capacity.knows(resolved, chosen):
        return
    need: Need | None = None
    with suppress(EngineError):  # there is no such device, which who loads will see
        with suppress(MalformedError, UnsupportedError):
            described = await describe(services, resolved, chosen.weights)
            need = need_in(predicted(resolved, chosen, described, capacity))
        capacity.note(resolved, chosen, need)
