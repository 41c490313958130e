"""Models on this disk: from a reference to the verified files that an engine is told to load.

What is served is what the gate says today: a release passes it at each request, and its files are
those that were verified when they came, unchanged since. Everything here blocks, and asks nobody;
a node calls it from the store's threads.
"""

import contextlib
import difflib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from p2phub.errors import NotFoundError, P2PHubError, QuarantinedError, UntrustedError
from p2phub.formats.ids import ContentId, Reference, RepoId
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath
from p2phub.inference.spec import ModelFile, ModelSpec
from p2phub.inference.variants import LLAMACPP, with_variant
from p2phub.inference_results import ModelRow
from p2phub.node.adapters import AdapterRelease
from p2phub.node.choosing import Capacity, candidates_of, pick, ways_of
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease, called, locate, publisher_of
from p2phub.node.rules import rule_of
from p2phub.node.services import Services
from p2phub.node.serving import MAX_CONFIG, Chosen, options_of, read_config, task_of
from p2phub.store.repos import RepoRow
from p2phub.store.search import Filters
from p2phub.trust.policy import Rule

NEAREST: Final = 3
"""Names that an error about an unknown one tells."""
_LIKE: Final = 0.5
_NAMES: Final = 2000
"""Repos of the catalog that are looked through for a name that is like another."""
_CONFIG: Final = "config.json"


@dataclass(frozen=True, slots=True)
class Model:
    """A release, and which of its files would be loaded."""

    resolved: ResolvedRelease
    rule: Rule
    code: bool
    """Whether its Python files may run."""
    chosen: Chosen
    missing: tuple[FileEntry, ...]
    """The files to load that are not on this disk."""
    guessed: bool = False
    """Whether it is one of several variants, taken by the size of its files alone."""
    adapter: AdapterRelease | None = None
    """The adapter that was asked for, of which this is the base."""
    beside: tuple[AdapterRelease, ...] = ()
    """Adapters that nobody asks now, and that are to be there as well."""

    @property
    def digest(self) -> str:
        """Of its release, in hex."""
        return self.resolved.digest.hex()

    @property
    def key(self) -> str:
        """What tells it from all others that are loaded: its release, and the variant of that."""
        return with_variant(self.digest, self.chosen.label)

    @property
    def called(self) -> str:
        """What a request calls the model itself, with `:variant` if its release has several."""
        return with_variant(shown_name(self.resolved.called), self.chosen.label)

    @property
    def asked(self) -> ResolvedRelease:
        """The release that was asked for: its own, or that of the adapter."""
        return self.resolved if self.adapter is None else self.adapter.resolved

    @property
    def name(self) -> str:
        """What a request calls it: `publisher/name`, with `@revision` unless it is main, and with
        the `:variant` of the model if its release has several.
        """
        return with_variant(shown_name(self.asked.called), self.chosen.label)

    @property
    def adapters(self) -> tuple[AdapterRelease, ...]:
        """All that are to be attached."""
        return (*([] if self.adapter is None else [self.adapter]), *self.beside)

    @property
    def lacking(self) -> tuple[FileEntry, ...]:
        """What is not on this disk of the model and of its adapters."""
        return sum((each.missing for each in self.adapters), self.missing)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Those to load."""
        wanted = set(self.chosen.wanted)
        return tuple(each for each in self.resolved.release.files if each.path in wanted)


class Read(Protocol):
    """What tells which model would be loaded of a release; `adapted`: with adapters on it."""

    def __call__(
        self, services: Services, resolved: ResolvedRelease, *, adapted: bool = False
    ) -> Model: ...


def shown_name(called: str) -> str:
    """A release as a request names it.

    >>> shown_name("lab/x@main"), shown_name("lab/x@v1")
    ('lab/x', 'lab/x@v1')
    """
    return called.removesuffix(f"@{DEFAULT_REVISION}")


def find_model(services: Services, reference: Reference, read: Read) -> Model:
    """What would be loaded for a reference, from this disk alone; `read` tells it of a release.

    Without a revision it is the newest release that the publisher lists, and one that is here
    whole before a newer one of which files are missing. Raises `NotFoundError`, `UntrustedError`,
    `UnsupportedError`.
    """
    try:
        newest = read(services, locate(services.store, services.knowledge, reference))
    except QuarantinedError:
        if reference.revision is not None:
            raise
        return _before_quarantine(services, reference, read)
    if not newest.lacking or reference.revision is not None:
        return newest
    return _whole(services, reference, newest.asked.repo, read) or newest


def _before_quarantine(services: Services, reference: Reference, read: Read) -> Model:
    """What answers while a newer release waits to be let in: the newest that is here whole."""
    repo = RepoId(publisher_of(services.store, reference), reference.name)
    found = _whole(services, reference, repo, read)
    if found is None:
        locate(services.store, services.knowledge, reference)
        raise NotFoundError(f"there is no model {reference} here", remedy="ask for it again")
    return found


def _whole(services: Services, reference: Reference, repo: RepoId, read: Read) -> Model | None:
    """The newest release of a repo that is here with all that a model needs."""
    for row in _held(services, repo):
        older = replace(reference, revision=row.commit)
        with contextlib.suppress(P2PHubError):
            found = read(services, locate(services.store, services.knowledge, older))
            if not found.lacking:
                return found
    return None


def reader(variant: str, capacity: Capacity) -> Read:
    """What tells `find_model` of a release: the variant that was named, or the one that suits."""

    def read(services: Services, resolved: ResolvedRelease, *, adapted: bool = False) -> Model:
        return model_of(services, resolved, variant, capacity, adapted=adapted)

    return read


def model_of(
    services: Services,
    resolved: ResolvedRelease,
    variant: str,
    capacity: Capacity,
    *,
    adapted: bool = False,
) -> Model:
    """What would be loaded of a release. `variant`: the one to take; empty: what suits best.

    Where it is `adapted`, that is one which takes adapters, if there is any.
    Raises `UnsupportedError`, `NotFoundError` for a variant that it does not have, `NoMemoryError`
    if it has several and none fits.
    """
    ways, right = _ways(services, resolved, variant)
    if adapted:
        ways = tuple(each for each in ways if each.engine != LLAMACPP) or ways
    if len(ways) == 1:
        return _model(services, resolved, ways[0], right)
    known = candidates_of(services, resolved, ways, capacity, right)
    candidate = pick(resolved.called, [each for each, _ in known])
    chosen = next(each for one, each in known if one is candidate)
    return replace(_model(services, resolved, chosen, right), guessed=candidate.guessed)


def _ways(
    services: Services, resolved: ResolvedRelease, variant: str
) -> tuple[tuple[Chosen, ...], set[ContentId]]:
    """Every way to load a release, and the files of it that are here."""
    files = resolved.release.files
    ways = ways_of(
        resolved,
        code=services.store.rules.allows_code(resolved.repo.publisher),
        engine=services.config.inference.engine,
        variant=variant,
    )
    wanted = {path for each in ways for path in each.wanted}
    return ways, services.store.shelf.right([each.content for each in files if each.path in wanted])


def _model(
    services: Services, resolved: ResolvedRelease, chosen: Chosen, right: Collection[ContentId]
) -> Model:
    publisher = resolved.repo.publisher
    rule = rule_of(services.store, services.config)(publisher)
    code = services.store.rules.allows_code(publisher)
    wanted = set(chosen.wanted)
    files = [file for file in resolved.release.files if file.path in wanted]
    missing = tuple(file for file in files if file.content not in right)
    return Model(resolved, rule, code, chosen, missing)


def spec_of(services: Services, model: Model) -> ModelSpec:
    """What an engine is told to load. The piece tables of what is missing may follow.

    Raises `DamagedBlobError` if a file is no longer what was verified, `NotFoundError` if one is
    gone.
    """
    missing = {each.path for each in model.missing}
    files = tuple(file_of(services, each, here=each.path not in missing) for each in model.files)
    return ModelSpec(
        release=model.digest,
        name=model.called,
        engine=model.chosen.engine,
        task=purpose_here(services, model),
        files=files,
        options=options_of(services.config.inference, code=model.code and _has_code(model)),
        variant=model.chosen.label,
    )


def models_here(services: Services, read: Read) -> tuple[ModelRow, ...]:
    """Every release on this disk that can be loaded as it is, by name; `read` as above."""
    rows = []
    for row in services.store.repos.local():
        reference = Reference(str(row.repo.publisher), row.repo.name, row.ref)
        with contextlib.suppress(P2PHubError):
            if row.kind == "model":
                model = read(services, locate(services.store, services.knowledge, reference))
                here = [each for each in (model, *_others(services, model)) if not each.lacking]
                rows += [_row(services, each, default=each is model) for each in here]
    return tuple(sorted(rows, key=lambda row: row.id))


def _others(services: Services, model: Model) -> list[Model]:
    """The other variants of a model."""
    if model.adapter is not None or not model.chosen.label:
        return []
    ways, right = _ways(services, model.resolved, "")
    others = [each for each in ways if each.label != model.chosen.label]
    return [_model(services, model.resolved, each, right) for each in others]


def unknown(services: Services, wanted: str, error: P2PHubError) -> NotFoundError:
    """That there is no such model, with the names nearest to it."""
    near = _near(services, wanted)
    if near:
        return NotFoundError(
            f"there is no model {wanted} here: {error.message}",
            remedy=f"the nearest names are {', '.join(near)}",
        )
    return NotFoundError(
        f"there is no model {wanted} here: {error.message}",
        remedy=error.remedy or "`p2phub serve REF` fetches one and loads it",
    )


def with_nearest(services: Services, wanted: str, error: NotFoundError) -> NotFoundError:
    """The same, with the names nearest to what nobody has."""
    near = _near(services, wanted)
    named = f"the nearest names are {', '.join(near)}" if near else ""
    remedy = "; ".join(filter(None, [error.remedy, named]))
    return NotFoundError(error.message, remedy=remedy)


def _near(services: Services, wanted: str) -> list[str]:
    """The names nearest to one: of what is here, else of all that is known of."""
    local = {
        f"{called(services.store, row.repo.publisher)}/{row.repo.name}"
        for row in services.store.repos.local()
    }
    listed = services.store.repos.search("", Filters(), order="name", limit=_NAMES)
    others = {f"{called(services.store, hit.repo.publisher)}/{hit.repo.name}" for hit in listed}
    return _nearest(wanted, local) or _nearest(wanted, others)


def not_here(services: Services, model: Model) -> NotFoundError:
    """That files of a model would have to be fetched first, and whether one was found changed."""
    size = sum(file.size for file in model.lacking)
    quarantine = services.store.layout.quarantine
    for file in model.lacking:
        if os.path.lexists(quarantine / str(file.content)):
            return NotFoundError(
                f"{'/'.join(file.path)} of {model.name} was found changed on this disk, and put"
                " into quarantine",
                remedy=f"`p2phub serve {model.name}` fetches it again",
            )
    return NotFoundError(
        f"{len(model.lacking)} files of {model.name} ({size} bytes) are not on this disk",
        remedy=f"`p2phub serve {model.name}` fetches and loads it",
    )


def _held(services: Services, repo: RepoId) -> list[RepoRow]:
    held = [row for row in services.store.repos.local() if row.repo == repo and row.done]
    return sorted(held, key=lambda row: row.since, reverse=True)


def file_of(services: Services, file: FileEntry, *, here: bool = True) -> ModelFile:
    """A file as an engine is told of it. Raises as `spec_of`."""
    blobs, where = services.store.blobs, ""
    if here:
        with blobs.opened(file.content):
            where = str(blobs.place(file.content) or blobs.path(file.content))
    table = blobs.table(file.content)
    if table is None and not here:
        return ModelFile(file.path, file.content, where, complete=False)
    if table is None:
        raise NotFoundError(
            f"the piece table of {'/'.join(file.path)} is gone", remedy="pull the repo again"
        )
    return ModelFile(file.path, file.content, where, table.pack(), complete=here)


def _has_code(model: Model) -> bool:
    return any(path[-1].endswith(".py") for path in model.chosen.others)


def files_named(model: Model) -> tuple[FilePath, ...]:
    """The paths of all files of its release, whether they are loaded or not."""
    return tuple(each.path for each in model.resolved.release.files)


def purpose_here(services: Services, model: Model) -> str:
    """What a model is for: what its card says, else what of it is on this disk."""
    release = model.resolved.release
    config = next((each for each in release.files if each.path == (_CONFIG,)), None)
    data = b""
    if config is not None and config.size <= MAX_CONFIG:
        with (
            contextlib.suppress(NotFoundError, UntrustedError, OSError),
            services.store.blobs.opened(config.content) as file,
        ):
            data = os.pread(file, config.size, 0)
    said, engine = read_config(data), model.chosen.engine
    return task_of(release.card.task, engine, said, files_named(model))


def _row(services: Services, model: Model, *, default: bool) -> ModelRow:
    asked = model.asked
    return ModelRow(
        id=model.name,
        created=asked.release.created,
        owner=called(services.store, asked.repo.publisher),
        tasks=(purpose_here(services, model),),
        default=default,
        base="" if model.adapter is None else model.called,
    )


def _nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """Names like `wanted`; a repo of that name of somebody else comes first."""
    bare = wanted.partition("@")[0]
    same = sorted(name for name in names if name.rpartition("/")[2] == bare.rpartition("/")[2])
    like = difflib.get_close_matches(bare, list(names), NEAREST, _LIKE)
    return list(dict.fromkeys((*same, *like)))[:NEAREST]
