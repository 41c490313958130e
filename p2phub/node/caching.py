"""A pulled release in a cache of Hugging Face's tools, named there as it was asked for here.

Its files must be on this disk. Large ones are hashed whole first, for their SHA-256 is what their
blobs are called there, and until then it is a claim of the signer. That is done once: what is
hashed here is not hashed again in the background.
"""

from collections.abc import Sequence
from pathlib import Path

from p2phub.errors import UsageError
from p2phub.formats.huggingface_cache import check_repo_id
from p2phub.formats.ids import Reference, is_commit_id
from p2phub.formats.limits import MIN_BIG_FILE
from p2phub.formats.manifest import FileEntry
from p2phub.node.events import Report, Verifying
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease, called
from p2phub.node.progress import reporting
from p2phub.node.services import Services
from p2phub.node.values import PullRequest
from p2phub.store.hfcache import CachedRelease, HuggingFaceCache


def check_cacheable(request: PullRequest) -> None:
    """Raise `UsageError`, before anything is fetched, for what can't be put into a cache."""
    reference = Reference.parse(request.reference)
    if reference.publisher is not None:
        check_repo_id(f"{reference.publisher}/{reference.name}")
    if request.to is None:
        raise UsageError(
            "a Hugging Face cache needs a folder",
            remedy='say which in "to"; huggingface_hub looks in ~/.cache/huggingface/hub',
        )


async def put_into_cache(
    services: Services,
    resolved: ResolvedRelease,
    request: PullRequest,
    files: Sequence[FileEntry],
    report: Report,
) -> Path:
    """Let the cache `request.to` have these files, all of which are here: the snapshot.

    Raises `WrongBytesError` for a file that is not what its signer called it, and what
    `HuggingFaceCache.write` raises.
    """
    assert request.to is not None
    reference = Reference.parse(request.reference)
    publisher = reference.publisher or called(services.store, resolved.repo.publisher)
    revision = reference.revision or DEFAULT_REVISION
    release = CachedRelease(
        kind=resolved.release.kind,
        repo_id=check_repo_id(f"{publisher}/{resolved.repo.name}"),
        commit=resolved.commit,
        ref=None if is_commit_id(revision) else revision,
        files=resolved.release.files,
        wanted=files,
    )
    await hash_all(services, resolved, files, report)
    cache = HuggingFaceCache(request.to, services.store.blobs, services.store.disk)
    return await services.on_disk(cache.write, release)


async def hash_all(
    services: Services, resolved: ResolvedRelease, files: Sequence[FileEntry], report: Report
) -> None:
    """Hash whole what only its pieces were checked of, and let others find it by its SHA-256."""
    blobs = services.store.blobs
    unhashed = set(await services.on_disk(blobs.unhashed))
    wanted = {file.content for file in files if file.git_sha1 is None} & unhashed
    if not wanted:
        return
    report(Verifying(resolved.called))
    async with reporting(sum(content.size for content in wanted), report) as progress:
        for content in sorted(wanted):
            told = services.pressure.shared(progress.add)
            sha256 = await services.on_disk(blobs.hash_whole, content, told)
            if content.size > MIN_BIG_FILE:
                services.announcer.file(sha256)
