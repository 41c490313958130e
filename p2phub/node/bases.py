"""The base of an adapter: the release whose digest the adapter's publisher signed.

A reference to an adapter means the base with the adapter on it. Both pass the gate and the rule for
whoever signed them, and both must be here before anything is loaded.

Rules it keeps:
 * the base is found by its digest, never by a name: a peer or the index of a publisher may say
   where to look, and what is found there is judged like every other release;
 * an adapter of an adapter is refused, and so is one on a release that it was not made for;
 * the adapter, which is small, is fetched first: what is wrong with it is told before its base
   comes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from glob import escape
from typing import NoReturn

import trio

from p2phub.errors import MalformedError, NotFoundError, UnsupportedError, UsageError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId, Reference, RepoId, commit_id
from p2phub.formats.manifest import Release
from p2phub.inference.variants import LLAMACPP
from p2phub.node.adapters import (
    AdapterRelease,
    NoBaseError,
    adapter_of,
    is_adapter,
    require_for,
)
from p2phub.node.asking import first_right
from p2phub.node.events import Report
from p2phub.node.locate import ResolvedRelease, by_ref, locate_digest
from p2phub.node.models import Model, Read
from p2phub.node.pull import obey_policy, pull_resolved
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.node.serving import Chosen
from p2phub.node.values import PullRequest
from p2phub.protocol.ports import Source
from p2phub.trust import envelope


def with_adapters(read: Read) -> Read:
    """`read`, which tells what would be loaded of a model, made to understand adapters too.

    It looks on this disk alone. Raises `NoBaseError` for a base that is not here.
    """

    def read_both(services: Services, resolved: ResolvedRelease, *, adapted: bool = False) -> Model:
        if not _is_adapter(resolved):
            return read(services, resolved, adapted=adapted)
        adapter = adapter_of(services, resolved)
        try:
            base = locate_digest(services.store, services.knowledge, adapter.base)
        except NotFoundError:
            _not_found(adapter, "is not on this disk", f"`p2phub serve {adapter.name}` fetches it")
        return _on(services, base, adapter, read)

    return read_both


async def resolve_asked(
    services: Services, reference: str, adapters: Sequence[str], report: Report, read: Read
) -> Model:
    """What would be loaded for a reference and more adapters, which are fetched.

    Raises what `resolve` and a pull raise, `NoBaseError`, `UnsupportedError`, and `UsageError` for
    an adapter that was made for another release.
    """
    resolved = await resolve(services, Reference.parse(reference))
    if _is_adapter(resolved):
        if adapters:
            raise UsageError(
                f"{resolved.called} is an adapter itself",
                remedy="name its base, and all adapters with --adapter",
            )
        adapter = await _brought(services, resolved, report)
        base = await resolve_base(services, adapter)
        return await services.on_disk(_on, services, base, adapter, read)
    reads = partial(read, adapted=bool(adapters))
    model = await services.on_disk(reads, services, resolved)
    beside = [await _fitting(services, each, resolved) for each in adapters]
    brought = [await _brought(services, each.resolved, report) for each in beside]
    return _supported(replace(model, beside=tuple(brought)))


async def resolve_base(services: Services, adapter: AdapterRelease) -> ResolvedRelease:
    """The base of an adapter, from this disk or from whoever has it; its files are not fetched.

    Raises `NoBaseError` if nobody knows it, and what `resolve` raises.
    """
    repo = await services.on_disk(services.store.repos.repo_of, adapter.base)
    repo = repo or await _repo_of(services, adapter.base)
    if repo is None:
        _not_found(adapter, "is with nobody reachable", "pull it from who publishes it")
    exact = Reference(str(repo.publisher), repo.name, commit_id(adapter.base))
    base = await services.on_disk(by_ref, services.store, await resolve(services, exact))
    require_for(adapter, base)
    return base


async def base_of_asked(
    services: Services, resolved: ResolvedRelease, report: Report
) -> tuple[ResolvedRelease, AdapterRelease | None]:
    """The model that a release is or is for, and the adapter if it is one; nothing is fetched.

    Raises as `resolve_base`, `UnsupportedError`, and `UntrustedError` where the rule for who signed
    the base refuses it.
    """
    if not _is_adapter(resolved):
        return resolved, None
    adapter = await services.on_disk(adapter_of, services, resolved)
    base = await resolve_base(services, adapter)
    _require_model(base, adapter)
    await obey_policy(services, base, report)
    return base, adapter


def takes_adapters(choices: Sequence[Chosen], base: ResolvedRelease) -> tuple[Chosen, ...]:
    """The ways to run a base with an adapter on it. Raises `UnsupportedError` if there is none."""
    found = tuple(each for each in choices if each.engine != LLAMACPP)
    if not found:
        raise UnsupportedError(
            f"{base.called} runs from GGUF weights, which take no adapter here",
            remedy="adapters run on safetensors; `[inference] engine` in node.toml may say"
            " otherwise",
        )
    return found


def _is_adapter(resolved: ResolvedRelease) -> bool:
    return is_adapter([file.path for file in resolved.release.files])


def _on(services: Services, base: ResolvedRelease, adapter: AdapterRelease, read: Read) -> Model:
    """A base with the adapter that was asked for. Raises `UnsupportedError`."""
    _require_model(base, adapter)
    return _supported(replace(read(services, base, adapted=True), adapter=adapter))


def _require_model(base: ResolvedRelease, adapter: AdapterRelease) -> None:
    """Raise `UnsupportedError` for an adapter of an adapter."""
    if _is_adapter(base):
        raise UnsupportedError(
            f"{adapter.name} was made for {base.called}, which is an adapter itself",
            remedy="its publisher has to merge the two, and name the model that they are for",
        )


def _supported(model: Model) -> Model:
    """The model, if what runs it can take adapters. Raises `UnsupportedError`."""
    if model.adapters:
        takes_adapters([model.chosen], model.resolved)
    return model


async def _fitting(services: Services, reference: str, base: ResolvedRelease) -> AdapterRelease:
    """An adapter that was made for `base`. Raises `UsageError`."""
    resolved = await resolve(services, Reference.parse(reference))
    if not _is_adapter(resolved):
        raise UsageError(
            f"{resolved.called} is no adapter", remedy="`p2phub ls REF` lists its files"
        )
    adapter = await services.on_disk(adapter_of, services, resolved)
    require_for(adapter, base)
    return adapter


async def _brought(services: Services, resolved: ResolvedRelease, report: Report) -> AdapterRelease:
    """An adapter with all its files on this disk."""
    adapter = await services.on_disk(adapter_of, services, resolved)
    if not adapter.missing:
        return adapter
    names = tuple(escape("/".join(file.path)) for file in adapter.files)
    request = PullRequest(adapter.name, include=names)
    await pull_resolved(services, resolved, request, report, trio.current_time())
    return await services.on_disk(adapter_of, services, resolved)


async def _repo_of(services: Services, digest: bytes) -> RepoId | None:
    """Which repo a release is of, as its manifest says; asked of whoever has it.

    What comes is that manifest, or its digest would be another one. Whether it counts is not known
    yet.
    """

    async def ask(source: Source) -> RepoId:
        document = envelope.unpack(await source.document(digest, limits.MAX_RELEASE))
        if document.digest != digest or document.type != Release.TYPE:
            raise MalformedError(f"{source.name} sent another document than was asked for")
        release = Release.from_payload(document.payload)
        return RepoId(PublisherId(release.publisher), release.name)

    sources = await services.neighbours.holders(digest)
    asked = await first_right(sources, ask)
    return asked.answers[0][1] if asked.answers else None


def _not_found(adapter: AdapterRelease, where: str, remedy: str) -> NoReturn:
    card = f" (its card names {adapter.card})" if adapter.card else ""
    raise NoBaseError(
        f"{adapter.name} was made for release {adapter.base.hex()}, which {where}{card}",
        remedy=remedy,
    )
