"""Copies of an upstream's repos that this node's publisher, or one it has pinned, has signed.

They are asked when the upstream cannot be. Such a release is shown under the upstream's name and
commit; the commit of the release itself means it as well. Whoever is not pinned here may sign what
he likes: it is not looked at.

>>> MOST_ASKED
16
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import trio

from p2phub.errors import NoRevisionError, NoSourceError, P2PHubError, UntrustedError, plain_errors
from p2phub.formats.ids import Kind, PublisherId, commit_id
from p2phub.formats.manifest import Release
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease
from p2phub.node.services import Services
from p2phub.node.upstream_names import copy_name

MOST_ASKED: Final = 16
"""Publishers whose copies are looked for."""
PATIENCE: Final = 8.0
"""Seconds in which they are found."""


class Past(Protocol):
    """A release of a history."""

    @property
    def digest(self) -> bytes: ...

    @property
    def release(self) -> Release: ...


Find = Callable[[str, str | None, Kind], Awaitable[ResolvedRelease]]
History = Callable[[ResolvedRelease], Awaitable[Sequence[Past]]]


async def find_copy(
    services: Services, find: Find, history: History, repo: str, revision: str | None, kind: Kind
) -> ResolvedRelease:
    """The newest copy of a repo of the upstream that has this revision.

    Raises `NoSourceError` if nobody who is trusted has one, `NoRevisionError` if none of them is
    of that revision, `UntrustedError` if what they have is refused.
    """
    copies = await _copies(services, find, repo, kind)
    if not copies:
        raise NoSourceError(
            f"{repo} is not known here: its hub cannot be asked, and nobody whom you trust has a"
            " copy",
            remedy="`p2phub trust add` pins publishers; copies of theirs are looked for",
        )
    if revision in (None, DEFAULT_REVISION):
        return _shown(copies[0], repo, "")
    for copy in copies:
        for past in await history(copy):
            upstream = past.release.upstream
            if upstream is not None and revision in (upstream.commit, commit_id(past.digest)):
                found = replace(copy, digest=past.digest, release=past.release)
                return _shown(found, repo, revision or "")
    raise NoRevisionError(f"no copy of {repo} is of the revision {revision}")


async def at_upstreams_commit(
    resolved: ResolvedRelease, history: History, commit: str
) -> ResolvedRelease | None:
    """The release of the same repo that is a copy of this commit of an upstream."""
    for past in await history(resolved):
        upstream = past.release.upstream
        if upstream is not None and upstream.commit == commit:
            return replace(resolved, digest=past.digest, release=past.release, revision=commit)
    return None


async def _copies(services: Services, find: Find, repo: str, kind: Kind) -> list[ResolvedRelease]:
    """What is found of everybody who is trusted, the newest first. Raises `UntrustedError` if all
    that is found is refused.
    """
    name, found, refused = copy_name(kind, repo), list[ResolvedRelease](), list[UntrustedError]()
    endpoint = services.config.gateway.upstream.rstrip("/")

    async def look(publisher: PublisherId) -> None:
        try:
            resolved = await find(f"{publisher}/{name}", None, kind)
        except UntrustedError as error:
            refused.append(error)
            return
        except P2PHubError:
            return  # they have none
        upstream = resolved.release.upstream
        if upstream is not None and (upstream.endpoint, upstream.repo) == (endpoint, repo):
            found.append(resolved)

    with trio.move_on_after(PATIENCE), plain_errors():
        async with trio.open_nursery() as nursery:
            for publisher in await services.on_disk(_trusted, services):
                nursery.start_soon(look, publisher)
    if refused and not found:
        raise refused[0]
    return sorted(found, key=lambda each: -each.release.created)


def _trusted(services: Services) -> list[PublisherId]:
    own = services.store.documents.own_publisher()
    pinned = services.store.documents.aliases().pins.values()
    return list(dict.fromkeys([*([own] if own else []), *pinned]))[:MOST_ASKED]


def _shown(resolved: ResolvedRelease, repo: str, revision: str) -> ResolvedRelease:
    """The release under the upstream's name; under our commit only for who asked by that."""
    assert resolved.release.upstream is not None
    ours = revision == commit_id(resolved.digest)
    return replace(
        resolved,
        called=f"{repo}@{revision or DEFAULT_REVISION}",
        shown=revision if ours else resolved.release.upstream.commit,
    )
