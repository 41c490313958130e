"""Which variant of a release is run where nobody names one: the same one every time.

What counts is what this machine has for models in all (`Capacity`), not what is free just now, so
that two requests, and `fit` and `serve`, mean the same model.

Rules it keeps:
 * a variant that is on this disk whole comes before those that would have to be fetched;
 * of those that fit, safetensors come before GGUF, and then what needs the most memory;
 * what a variant needs is told by its headers; by the size of its files where those are not here.

>>> q4, q8 = Candidate("Q4_0", "llamacpp", 4, 9), Candidate("Q8_0", "llamacpp", 8, 9)
>>> pick("lab/x", [q4, q8]).label, pick("lab/x", [replace(q4, here=True), q8]).label
('Q8_0', 'Q4_0')
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from p2phub.errors import (
    DamagedBlobError,
    EngineError,
    MalformedError,
    NoMemoryError,
    NotFoundError,
    UnsupportedError,
)
from p2phub.formats.ids import ContentId
from p2phub.inference.fit import Release, predict
from p2phub.inference.memory import (
    HOST,
    Device,
    Need,
    joined,
    most_of,
    named,
    names_of,
    place,
    readable,
)
from p2phub.inference.spec import RunOptions, can_share
from p2phub.inference.threads import computes_bfloat16, cpuinfo
from p2phub.inference.variants import LLAMACPP, TRANSFORMERS
from p2phub.inference_results import FitReport
from p2phub.inference_settings import InferenceSettings
from p2phub.node.headers import Described, describe_here
from p2phub.node.locate import ResolvedRelease
from p2phub.node.services import Services
from p2phub.node.serving import TEXT, Chosen, choices, options_of, task_of

REMEMBERED: Final = 4096
"""Variants of which it is remembered what they need."""
_SHRINK: Final = {"none": 2, "int8": 4, "int4": 8}
"""How many times smaller safetensors can be in memory than in their file, by `[inference]
quantize`: such as float32 that is loaded as bfloat16."""


class NoVariantError(NotFoundError):
    """A release has no variant of that name, or several that may be meant."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant, with what decides whether it is taken."""

    label: str
    engine: str
    need: int
    """Bytes of memory, at the most."""
    room: int
    """Bytes that models may take where it would run."""
    here: bool = False
    """Whether all its files are on this disk."""
    guessed: bool = False
    """Whether its headers are not here, so that `need` is what it takes at the least."""

    @property
    def fits(self) -> bool:
        return self.need <= self.room


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this machine has for models in all, and what is known of their needs."""

    inference: InferenceSettings
    devices: tuple[Device, ...]
    needs: dict[tuple[bytes, str], Need | None] = field(default_factory=dict)
    """By release and first file of the weights; None: it cannot be run."""

    def device(self, engine: str, task: str) -> Device:
        """Where an engine runs a model for `task`.

        Several GPUs that share it are told as one. Without a name it is the GPU with the most
        memory, whatever is free there now. Raises `EngineError` if node.toml names a device that is
        not there.
        """
        wanted = options_of(self.inference, code=False).device
        whole = [replace(each, free=each.total) for each in self.devices]
        name = place(engine, wanted, whole, shares=can_share(engine, task))
        found = named(name, self.devices)
        if not found:
            known = ", ".join(each.name for each in self.devices)
            raise EngineError(f"there is no device {name} here", remedy=f"there are: {known}")
        return joined(found)

    def room(self, device: Device) -> int:
        """Bytes that models may take there, if none is loaded and nothing else runs."""
        return most_of(device, self.inference.memory * len(names_of(device.name)))

    def note(self, resolved: ResolvedRelease, chosen: Chosen, need: Need | None) -> None:
        """Remember what a variant needs."""
        while len(self.needs) >= REMEMBERED:
            self.needs.pop(next(iter(self.needs)))
        self.needs[_key(resolved, chosen)] = need

    def knows(self, resolved: ResolvedRelease, chosen: Chosen) -> bool:
        """Whether it is remembered what a variant needs, or that it cannot be run."""
        return _key(resolved, chosen) in self.needs


def pick(called: str, candidates: Sequence[Candidate]) -> Candidate:
    """The one to run; one alone is not judged.

    Raises `NoMemoryError` if none fits, which names the smallest, `UnsupportedError` if none is
    left.
    """
    if not candidates:
        raise UnsupportedError(
            f"no variant of {called} begins as a model does",
            remedy="`p2phub ls REF` lists its files; tell its publisher",
        )
    if len(candidates) == 1:
        return candidates[0]
    fitting = [each for each in candidates if each.fits]
    if fitting:
        return min(fitting, key=_order)
    least = min(candidates, key=lambda each: each.need)
    raise NoMemoryError(
        f"no variant of {called} fits: {least.label}, the smallest, needs {readable(least.need)} of"
        f" memory, and models may take {readable(least.room)} here",
        remedy="`p2phub fit REF` lists all of them; `[inference] memory` in node.toml is the most"
        " that models take",
    )


def ways_of(
    resolved: ResolvedRelease, *, code: bool, engine: str, variant: str
) -> tuple[Chosen, ...]:
    """Every way to load a release, or the one of a `variant`; see `choices`.

    Raises `UnsupportedError`, and `NoVariantError`, which names those that there are.
    """
    sizes = {file.path: file.size for file in resolved.release.files}
    try:
        return choices(list(sizes), code=code, engine=engine, variant=variant)
    except NotFoundError as error:
        ways = choices(list(sizes), code=code, engine=engine)
        names = [each.label or each.weights[0][-1] for each in ways]
        bytes_of = [sum(sizes[path] for path in each.weights) for each in ways]
        pairs = zip(names, bytes_of, strict=True)
        there = ", ".join(f"{name} ({readable(size)})" for name, size in pairs)
        raise NoVariantError(
            f"{error.message} of {resolved.called}", remedy=f"name one of {there}"
        ) from error


def candidates_of(
    services: Services,
    resolved: ResolvedRelease,
    ways: Sequence[Chosen],
    capacity: Capacity,
    right: Collection[ContentId],
) -> tuple[tuple[Candidate, Chosen], ...]:
    """What is known here of every variant; blocks. `right`: the files that are on this disk.

    One whose headers are broken, or say that it is no model, is left out.
    """
    sizes = {file.path: file.content for file in resolved.release.files}
    found = []
    for each in ways:
        device = capacity.device(each.engine, resolved.release.card.task or TEXT)
        need = known(services, resolved, each, capacity)
        if need is None:
            continue
        at_least = _at_least(each, sum(sizes[path].size for path in each.weights), capacity)
        candidate = Candidate(
            each.label,
            each.engine,
            need.most or at_least,
            capacity.room(device),
            here=all(sizes[path] in right for path in each.wanted),
            guessed=not need.bytes,
        )
        found.append((candidate, each))
    return tuple(found)


def predicted(
    resolved: ResolvedRelease, chosen: Chosen, described: Described, capacity: Capacity
) -> FitReport:
    """What a variant needs, by its headers. Raises `MalformedError`, `UnsupportedError`."""
    task = task_of(resolved.release.card.task, chosen.engine, described.config)
    device = capacity.device(chosen.engine, task)
    release = Release(
        resolved.called, resolved.digest.hex(), task, described.config, described.prefixes
    )
    names = ["/".join(path) for path in chosen.weights]
    files = {name: described.files[name] for name in names}
    options = typed(options_of(capacity.inference, code=False), chosen.engine, task, device.name)
    made = predict(release, files, device=device.name, options=options)
    return replace(made, available_bytes=capacity.room(device), free_bytes=device.free)


def typed(options: RunOptions, engine: str, task: str, device: str) -> RunOptions:
    """The options with the type that a worker will choose for text on this processor."""
    if options.dtype or device != HOST or task != TEXT or engine != TRANSFORMERS:
        return options
    return replace(options, dtype="bfloat16") if computes_bfloat16(cpuinfo()) else options


def _order(candidate: Candidate) -> tuple[bool, bool, int, str]:
    """The first is taken."""
    engine = candidate.engine == LLAMACPP
    return not candidate.here, engine, -candidate.need, candidate.label


def _key(resolved: ResolvedRelease, chosen: Chosen) -> tuple[bytes, str]:
    return resolved.digest, "/".join(chosen.weights[0])


def need_in(report: FitReport) -> Need:
    """What is told in a report."""
    parts = report.weight_bytes, report.cache_bytes, report.other_bytes
    return Need(*parts, report.loading_bytes)


def known(
    services: Services, resolved: ResolvedRelease, chosen: Chosen, capacity: Capacity
) -> Need | None:
    """What it needs, if its headers are here, else nothing; None if it cannot be run. Blocks."""
    key = _key(resolved, chosen)
    if key not in capacity.needs:
        try:
            found = describe_here(services, resolved, chosen.weights)
            need: Need | None = need_in(predicted(resolved, chosen, found, capacity))
        except (NotFoundError, DamagedBlobError, EngineError):  # or no such device: who loads sees
            return Need()
        except (MalformedError, UnsupportedError):
            need = None
        capacity.note(resolved, chosen, need)
    return capacity.needs[key]


def _at_least(chosen: Chosen, size: int, capacity: Capacity) -> int:
    """Memory that weights of so many bytes take at the least."""
    return size if chosen.engine == LLAMACPP else size // _SHRINK[capacity.inference.quantize]
