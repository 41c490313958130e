"""Pull a release: resolve, look what is here, fetch the rest, verify, present as a folder.

How the bytes of its files get here is in `p2phub/node/bring.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import trio

from p2phub.errors import DamagedBlobError, QuarantinedError, UntrustedError, UsageError
from p2phub.formats.ids import Reference
from p2phub.formats.manifest import FileEntry
from p2phub.node.bring import bring_all
from p2phub.node.caching import check_cacheable, put_into_cache
from p2phub.node.events import Report, Resolved, Warned
from p2phub.node.images import LAYOUTS, check_image, files_of_image, put_into_images
from p2phub.node.locate import ResolvedRelease, require_let_in
from p2phub.node.resolve import resolve
from p2phub.node.rules import rule_of
from p2phub.node.selection import select
from p2phub.node.services import Services
from p2phub.node.values import Pulled, PullRequest, SourceShare
from p2phub.store.export import export, sweep


async def pull(
    services: Services, request: PullRequest, report: Report, *, waits: bool = True
) -> Pulled:
    """Bring what `request` asks for onto this disk, verified. `waits`: as for `bring_all`.

    Raises `NotFoundError`, `UntrustedError`, `WrongBytesError` (naming the file), `NoSourceError`,
    `NoSpaceError`, `UsageError`."""
    started = trio.current_time()
    reference = Reference.parse(request.reference)
    if request.layout == "hf":
        check_cacheable(request)
    elif request.layout in LAYOUTS:
        check_image(request)
    if request.to is not None:
        await services.on_disk(check_target, request.to, services.store.layout.store)
    resolved = await resolve(services, reference)
    return await pull_resolved(services, resolved, request, report, started, waits=waits)


async def pull_resolved(
    services: Services,
    resolved: ResolvedRelease,
    request: PullRequest,
    report: Report,
    started: float,
    *,
    head: int = 0,
    waits: bool = True,
) -> Pulled:
    """The same for a release that is resolved already; `started`: when, by trio's clock. `head`:
    bytes at the start of each file that come before the rest of it, which is read while it comes.
    """
    await obey_policy(services, resolved, report)
    report(told_of(resolved))
    for refusal in resolved.refused:
        report(Warned(f"a peer sent a head that is not believed: {refusal}"))
    files = files_of_image(wanted_files(resolved, request, report), request.layout)
    await services.on_disk(
        services.store.repos.pulling, resolved.digest, resolved.revision, services.now()
    )
    services.traffic.pulls += 1
    try:
        async with services.withdrawals.obeyed(resolved.digest):
            bringing = await bring_all(services, resolved, files, report, head=head, waits=waits)
    except BaseException:
        with trio.CancelScope(shield=True):
            await services.on_disk(_let_go_if_empty, services, resolved)
        raise
    finally:
        services.traffic.pulls -= 1
    async with services.bringing.of(request.to):  # not two at once into one folder
        to = request.to if request.layout == "folder" else None
        path = await services.on_disk(_present, services, resolved, files, to)
        if request.layout == "hf":
            path = await put_into_cache(services, resolved, request, files, report)
        elif request.layout in LAYOUTS:
            path = await put_into_images(services, resolved, request, files, report)
    complete = len(files) == len(resolved.release.files)
    services.announcer.publisher(resolved.repo.publisher)
    services.domains.pulled(resolved.repo.publisher)
    if complete:
        services.announcer.release(resolved.digest)
    services.hashing_waits.ring()
    shares = tuple(SourceShare(name, size) for name, size in sorted(bringing.brought.items()))
    return Pulled(
        ref=resolved.called,
        commit=resolved.commit,
        path=path,
        verdict=resolved.judgement.text,
        bytes_total=sum(file.size for file in files),
        bytes_fetched=sum(share.bytes for share in shares),
        bytes_linked=bringing.linked,
        seconds=trio.current_time() - started,
        sources=len(shares),
        shares=shares,
    )


def told_of(resolved: ResolvedRelease) -> Resolved:
    """What is reported once it is known which release is meant."""
    publisher = str(resolved.repo.publisher)
    return Resolved(resolved.called, resolved.commit, publisher, resolved.judgement.text)


def _let_go_if_empty(services: Services, resolved: ResolvedRelease) -> None:
    """A pull that brought nothing leaves no line in `ls`."""
    blobs = services.store.blobs
    if not any(blobs.has(file.content) for file in resolved.release.files):
        services.store.repos.remove(resolved.digest)


async def obey_policy(services: Services, resolved: ResolvedRelease, report: Report) -> None:
    """Go on, warn, or raise `UntrustedError`, as the rule for the publisher says. Raises
    `QuarantinedError` for what nobody let in yet.
    """
    await services.on_disk(require_let_in, services.store, resolved.digest, resolved.called)
    await obey_rule(services, resolved, report)


async def obey_rule(services: Services, resolved: ResolvedRelease, report: Report) -> None:
    """The same, whether the release waits in quarantine or not."""
    publisher = resolved.repo.publisher
    rule = await services.on_disk(rule_of(services.store, services.config), publisher)
    match rule.decide(resolved.judgement.verdict):
        case "refuse":
            raise UntrustedError(
                f"{resolved.repo.name}: {resolved.judgement.text}",
                remedy="`p2phub verify` shows each step; `p2phub trust policy` and `[trust]` in"
                " node.toml decide what is refused",
            )
        case "warn":
            report(Warned(f"{resolved.repo.name}: {resolved.judgement.text}"))


def wanted_files(
    resolved: ResolvedRelease, request: PullRequest, report: Report
) -> tuple[FileEntry, ...]:
    """The files that a request asks for. Raises `UsageError` if it is none."""
    paths = [file.path for file in resolved.release.files]
    wanted, pickles = select(paths, request.include, request.exclude)
    if pickles:
        names = ", ".join("/".join(path) for path in pickles[:5])
        report(Warned(f"left out, because loading them runs code: {names}", "use --include"))
    if not wanted:
        raise UsageError(
            f"no file of {resolved.repo.name} matches", remedy="`p2phub ls REF` lists its files"
        )
    chosen = set(wanted)
    return tuple(file for file in resolved.release.files if file.path in chosen)


def _present(
    services: Services, resolved: ResolvedRelease, files: Sequence[FileEntry], to: Path | None
) -> Path:
    """The folder people get: the read-only snapshot, or writable copies in a folder of theirs."""
    store = services.store
    links = [(file.path, file.content) for file in files]
    require_let_in(store, resolved.digest, resolved.called)
    path = store.snapshots.present(resolved.repo, resolved.commit, links)
    try:
        store.repos.pulled(
            resolved.repo.publisher,
            resolved.repo.name,
            resolved.commit,
            digest=resolved.digest,
            ref=resolved.revision,
            now=services.now(),
        )
    except QuarantinedError:
        store.snapshots.remove(resolved.repo, resolved.commit)
        raise
    if to is None:
        return path
    sweep(store.disk, [path for path, _ in links], to)
    for link in links:
        try:
            export(store.blobs, store.disk, [link], to)
        except DamagedBlobError as error:
            raise DamagedBlobError(
                f"{'/'.join(link[0])}: {error.message}", remedy=error.remedy
            ) from error
    return to.absolute()


def check_target(to: Path, store: Path) -> None:
    """Raise `UsageError` before anything is fetched if copies cannot go there."""
    target, ours = to.resolve(), store.resolve()
    if target == ours or ours in target.parents:
        raise UsageError(
            f"{to} is inside the store, which only p2phub writes to",
            remedy="name a folder of your own",
        )
    standing = next(each for each in (target, *target.parents) if each.exists())
    if not standing.is_dir():
        raise UsageError(f"{standing} is not a folder", remedy="name another folder")
