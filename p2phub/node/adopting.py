"""Use the files of a Hugging Face cache from where they lie, and give them to whoever wants them.

Everything is hashed before anything is used: huggingface_hub keeps what it got, right or wrong. A
file that is what its name says becomes a blob in place; from then on no pull fetches what has the
same content, and peers get it by content or SHA-256. What is not is named and left alone.

Batch after batch, so that what was done stays when it is interrupted.
"""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from p2phub.cache_results import CacheAdopted, LeftAlone
from p2phub.errors import UsageError
from p2phub.formats.limits import MIN_BIG_FILE
from p2phub.node.events import Planned, Report, Warned
from p2phub.node.huggingface_cache import CachedBlob, OddBlob, blobs_in, repos_in
from p2phub.node.progress import reporting
from p2phub.node.pull import check_target
from p2phub.node.services import Services
from p2phub.node.values import AdoptRequest
from p2phub.store.claimed import Claim, Weighed

BATCH_FILES, BATCH_BYTES = 256, 1 << 30
"""Files of which it is said at once that they are blobs."""


async def adopt(services: Services, request: AdoptRequest, report: Report) -> CacheAdopted:
    """Look at every file of a cache, and use those that are what they say they are.

    Raises `NotFoundError`, `UsageError` for a folder that is no cache, `NoSpaceError`; what was
    adopted until then stays.
    """
    if request.forget and request.dry_run:
        raise UsageError("to look and to forget are two things", remedy="ask for one of them")
    await services.on_disk(check_target, request.cache, services.store.layout.store)
    repos = await services.on_disk(repos_in, request.cache, lambda repo: _wants(request, repo))
    found, odd = await services.on_disk(_look, services, repos)
    total = sum(blob.size for blob in found)
    if request.forget:
        return await _forget(services, request, repos, found)
    report(Planned(len(found), total, bytes_linked=0, bytes_to_fetch=0))
    left = [_left(each.name, each.reason) for each in odd]
    weighed: list[Weighed] = []
    names = {blob.path: blob.name for blob in found}
    async with reporting(total, report) as progress:
        for batch in _batches(found):
            done = await services.on_disk(
                services.store.claims.take,
                [Claim(blob.path, blob.etag) for blob in batch],
                services.pressure.shared(progress.add),
                keep=not request.dry_run,
                lanes=len(os.sched_getaffinity(0)),
            )
            weighed += done
            left += [_left(names[each.claim.path], each.wrong) for each in done if each.wrong]
            _announce(services, done, request)
    for each in left:
        report(Warned(f"{each.path}: {each.reason}"))
    fresh = {each.placed.content for each in weighed if each.placed}
    return CacheAdopted(
        cache=request.cache,
        repos=len(repos),
        files=len(found) + len(odd),
        bytes=total,
        adopted=len(fresh),
        bytes_adopted=sum(content.size for content in fresh),
        known=sum(each.known for each in weighed),
        left_alone=tuple(left),
        dry_run=request.dry_run,
    )


def _left(name: Path, reason: str) -> LeftAlone:
    """A reason may name a path that is no text."""
    return LeftAlone(name, reason.encode(errors="backslashreplace").decode())


async def _forget(
    services: Services,
    request: AdoptRequest,
    repos: Sequence[Path],
    found: Sequence[CachedBlob],
) -> CacheAdopted:
    paths = list(dict.fromkeys(blob.path for blob in found))
    forgotten = await services.on_disk(services.store.claims.forget, paths)
    for each in forgotten:
        services.announcer.forget(each.sha256)
    return CacheAdopted(
        cache=request.cache,
        repos=len(repos),
        files=len(paths),
        bytes=sum(blob.size for blob in found),
        adopted=0,
        bytes_adopted=0,
        known=0,
        forgotten=len(forgotten),
    )


def _wants(request: AdoptRequest, repo: str) -> bool:
    if request.include and not any(fnmatchcase(repo, each) for each in request.include):
        return False
    return not any(fnmatchcase(repo, each) for each in request.exclude)


def _look(
    services: Services, repos: Sequence[Path]
) -> tuple[Sequence[CachedBlob], Sequence[OddBlob]]:
    """The blobs of these repos, each file once, and what is none."""
    ours = Path(os.path.realpath(services.store.layout.store))
    found: dict[tuple[Path, str], CachedBlob] = {}
    odd = []
    for repo in repos:
        for blob in blobs_in(repo, ours):
            if isinstance(blob, OddBlob):
                odd.append(blob)
            else:
                found.setdefault((blob.path, str(blob.etag)), blob)
    return tuple(found.values()), odd


def _batches(blobs: Sequence[CachedBlob]) -> Iterator[list[CachedBlob]]:
    batch: list[CachedBlob] = []
    for blob in blobs:
        size = sum(each.size for each in batch)
        if batch and (len(batch) >= BATCH_FILES or size + blob.size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(blob)
    if batch:
        yield batch


def _announce(services: Services, weighed: Sequence[Weighed], request: AdoptRequest) -> None:
    for each in weighed:
        if each.placed and not request.dry_run and each.placed.content.size > MIN_BIG_FILE:
            services.announcer.file(each.placed.sha256)
