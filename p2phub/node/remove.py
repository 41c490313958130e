"""Remove a release from this disk: its folder, its row, and the blobs and partial files that
nothing else needs.

What is known of the release stays (it can be pulled again by its commit); only the bytes go. A file
that another release on this disk uses stays too, and one that was published in place is its
owner's: it is not touched.
"""

from collections.abc import Sequence

from p2phub.errors import NotFoundError
from p2phub.formats.ids import ContentId, Reference
from p2phub.node.locate import ResolvedRelease, locate
from p2phub.node.services import Services
from p2phub.node.values import Removed
from p2phub.store.store import Store


async def remove(services: Services, reference: str) -> Removed:
    """Drop a release from this disk. Raises `NotFoundError` if it is not here."""
    resolved = await services.on_disk(
        locate, services.store, services.knowledge, Reference.parse(reference)
    )
    freed = await services.on_disk(_remove, services, resolved)
    services.announcer.forget(resolved.digest)
    return Removed(ref=resolved.called, bytes_freed=freed)


def _remove(services: Services, resolved: ResolvedRelease) -> int:
    store, repo = services.store, resolved.repo
    contents = store.repos.remove(resolved.digest)
    if contents is None:
        raise NotFoundError(
            f"{repo.name} at commit {resolved.commit} is not on this disk",
            remedy="`p2phub ls` lists what is",
        )
    store.snapshots.remove(repo, resolved.commit)
    return remove_contents(store, contents)


def remove_contents(store: Store, contents: Sequence[ContentId]) -> int:
    """Drop files that nothing needs any more, and what has come of them: the bytes freed."""
    freed = sum(_remove_blob(store, content) for content in contents)
    for content in contents:
        begun = store.partials.written(content)
        freed += begun if store.partials.remove(content) else 0
    return freed


def _remove_blob(store: Store, content: ContentId) -> int:
    """The bytes that are free now: none where the file is its owner's and stays."""
    size = 0 if store.blobs.place(content) else content.size
    return size if store.blobs.remove(content) else 0
