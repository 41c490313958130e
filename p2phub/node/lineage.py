"""What a release was made from, as its publisher signed it and as people here know it.

Who signs it, and what may be signed, is in `drafting_lineage`.
"""

from contextlib import suppress

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import RepoEntry
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import name_of, ref_of
from p2phub.node.values import MadeFrom
from p2phub.store.store import Store


def made_from(store: Store, knowledge: Knowledge, release: Release) -> tuple[MadeFrom, ...]:
    """What a release says of its bases, with what they are called here."""
    return tuple(
        MadeFrom(
            relation=each.relation,
            release=each.release.hex() or None,
            ref=_called(store, knowledge, each.release),
            upstream=each.upstream or None,
            revision=each.revision or None,
        )
        for each in release.lineage
    )


def _called(store: Store, knowledge: Knowledge, digest: bytes) -> str | None:
    """A release as people here know it; None for one that nobody told of."""
    repo = store.repos.repo_of(digest) if digest else None
    if repo is None:
        return None
    revision = None
    with suppress(NotFoundError, UntrustedError):
        entry = knowledge.find(repo.publisher, repo.name)
        revision = ref_of(entry.refs, digest) if isinstance(entry, RepoEntry) else None
    return name_of(store, repo, revision or commit_id(digest))
