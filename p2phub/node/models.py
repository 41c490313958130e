"""Models on this disk: from a reference to the verified files that an engine is told to load.

What is served is what the gate says today: a release passes it at each request, and its files are
those that were verified when they came, unchanged since. Everything here blocks, and asks nobody;
a node calls it from the store's threads.
"""

import contextlib
import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from p2phub.errors import NotFoundError, P2PHubError, UntrustedError
from p2phub.formats.ids import Reference, RepoId
from p2phub.formats.manifest import FileEntry
from p2phub.inference.spec import ModelFile, ModelSpec
from p2phub.inference_results import ModelRow
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease, called, locate
from p2phub.node.rules import rule_of
from p2phub.node.services import Services
from p2phub.node.serving import MAX_CONFIG, Chosen, choose, options_of, read_config, task_of
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

    @property
    def digest(self) -> str:
        """Of its release, in hex."""
        return self.resolved.digest.hex()

    @property
    def name(self) -> str:
        """What a request calls it: `publisher/name`, with `@revision` unless it is main."""
        return shown_name(self.resolved.called)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Those to load."""
        wanted = set(self.chosen.wanted)
        return tuple(each for each in self.resolved.release.files if each.path in wanted)


def shown_name(called: str) -> str:
    """A release as a request names it.

    >>> shown_name("lab/x@main"), shown_name("lab/x@v1")
    ('lab/x', 'lab/x@v1')
    """
    return called.removesuffix(f"@{DEFAULT_REVISION}")


def find_model(services: Services, reference: Reference) -> Model:
    """What would be loaded for a reference, from this disk alone.

    Without a revision it is the newest release that the publisher lists, and one that is here
    whole before a newer one of which files are missing. Raises `NotFoundError`, `UntrustedError`,
    `UnsupportedError`.
    """
    newest = model_of(services, locate(services.store, services.knowledge, reference))
    if not newest.missing or reference.revision is not None:
        return newest
    for row in _held(services, newest.resolved.repo):
        older = replace(reference, revision=row.commit)
        with contextlib.suppress(P2PHubError):
            found = model_of(services, locate(services.store, services.knowledge, older))
            if not found.missing:
                return found
    return newest


def model_of(services: Services, resolved: ResolvedRelease) -> Model:
    """What would be loaded of a release. Raises `UnsupportedError`."""
    publisher = resolved.repo.publisher
    rule = rule_of(services.store, services.config)(publisher)
    code = services.store.rules.allows_code(publisher)
    paths = [file.path for file in resolved.release.files]
    chosen = choose(paths, code=code, engine=services.config.inference.engine)
    wanted = set(chosen.wanted)
    files = [file for file in resolved.release.files if file.path in wanted]
    right = services.store.shelf.right([file.content for file in files])
    missing = tuple(file for file in files if file.content not in right)
    return Model(resolved, rule, code, chosen, missing)


def spec_of(services: Services, model: Model) -> ModelSpec:
    """What an engine is told to load. Of what is missing the piece tables must be here.

    Raises `DamagedBlobError` if a file is no longer what was verified, `NotFoundError` if one is
    gone.
    """
    missing = {each.path for each in model.missing}
    files = tuple(_file(services, each, here=each.path not in missing) for each in model.files)
    return ModelSpec(
        release=model.digest,
        name=model.name,
        engine=model.chosen.engine,
        task=_task(services, model),
        files=files,
        options=options_of(services.config.inference, code=model.code and _has_code(model)),
    )


def models_here(services: Services) -> tuple[ModelRow, ...]:
    """Every release on this disk that can be loaded as it is, by name."""
    rows = []
    for row in services.store.repos.local():
        reference = Reference(str(row.repo.publisher), row.repo.name, row.ref)
        with contextlib.suppress(P2PHubError):
            model = model_of(services, locate(services.store, services.knowledge, reference))
            if not model.missing and row.kind == "model":
                rows.append(_row(services, model))
    return tuple(sorted(rows, key=lambda row: row.id))


def unknown(services: Services, wanted: str, error: P2PHubError) -> NotFoundError:
    """That there is no such model, with the names nearest to it."""
    local = {
        f"{called(services.store, row.repo.publisher)}/{row.repo.name}"
        for row in services.store.repos.local()
    }
    listed = services.store.repos.search("", Filters(), order="name", limit=_NAMES)
    others = {f"{called(services.store, hit.repo.publisher)}/{hit.repo.name}" for hit in listed}
    near = _nearest(wanted, local) or _nearest(wanted, others)
    if near:
        return NotFoundError(
            f"there is no model {wanted} here: {error.message}",
            remedy=f"the nearest names are {', '.join(near)}",
        )
    return NotFoundError(
        f"there is no model {wanted} here: {error.message}",
        remedy=error.remedy or "`p2phub serve REF` fetches one and loads it",
    )


def not_here(model: Model) -> NotFoundError:
    """That files of a model would have to be fetched first."""
    size = sum(file.size for file in model.missing)
    return NotFoundError(
        f"{len(model.missing)} files of {model.name} ({size} bytes) are not on this disk",
        remedy=f"`p2phub serve {model.name}` fetches and loads it",
    )


def _held(services: Services, repo: RepoId) -> list[RepoRow]:
    held = [row for row in services.store.repos.local() if row.repo == repo and row.done]
    return sorted(held, key=lambda row: row.since, reverse=True)


def _file(services: Services, file: FileEntry, *, here: bool) -> ModelFile:
    blobs, where = services.store.blobs, ""
    if here:
        with blobs.opened(file.content):
            where = str(blobs.place(file.content) or blobs.path(file.content))
    table = blobs.table(file.content)
    if table is None:
        raise NotFoundError(
            f"the piece table of {'/'.join(file.path)} is gone", remedy="pull the repo again"
        )
    return ModelFile(file.path, file.content, where, table.pack(), complete=here)


def _has_code(model: Model) -> bool:
    return any(path[-1].endswith(".py") for path in model.chosen.others)


def _task(services: Services, model: Model) -> str:
    release = model.resolved.release
    config = next((each for each in release.files if each.path == (_CONFIG,)), None)
    data = b""
    if config is not None and config.size <= MAX_CONFIG:
        with (
            contextlib.suppress(NotFoundError, UntrustedError, OSError),
            services.store.blobs.opened(config.content) as file,
        ):
            data = os.pread(file, config.size, 0)
    return task_of(release.card.task, model.chosen.engine, read_config(data))


def _row(services: Services, model: Model) -> ModelRow:
    resolved = model.resolved
    return ModelRow(
        id=model.name,
        created=resolved.release.created,
        owner=called(services.store, resolved.repo.publisher),
        tasks=(_task(services, model),),
    )


def _nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """Names like `wanted`; a repo of that name of somebody else comes first."""
    bare = wanted.partition("@")[0]
    same = sorted(name for name in names if name.rpartition("/")[2] == bare.rpartition("/")[2])
    like = difflib.get_close_matches(bare, list(names), NEAREST, _LIKE)
    return list(dict.fromkeys((*same, *like)))[:NEAREST]
