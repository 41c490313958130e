"""Make a release what its repo is: the refs that name it, the index and head that say so, the
folder that people see.

Everything here blocks, and is done by whoever holds `Services.signing`.
"""

import contextlib
from dataclasses import replace

from p2phub.errors import NotFoundError, WrongBytesError
from p2phub.formats.ids import PublisherId, RepoId, commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.node.author import Author, own_delegation, require_may_write
from p2phub.node.desk import notices_of, require_own_papers
from p2phub.node.own_history import Base
from p2phub.node.own_index import sign_index
from p2phub.node.services import Services
from p2phub.trust.envelope import Envelope
from p2phub.trust.merging import MAIN
from p2phub.trust.policy import Rule
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.releases import Case, judge_release
from p2phub.trust.verdict import Verdict


def list_release(
    services: Services,
    author: Author,
    base: Base,
    digest: bytes,
    release: Release,
    tag: str | None,
    signed: Envelope | None = None,
    *,
    ref: str = MAIN,
) -> None:
    """Let a ref, and the `tag` if one is given, name a release; `signed` is one that is new here.

    What is so already is not signed again. Raises `UntrustedError` if the key may not write this
    repo, and what a peer's gate would raise.
    """
    before = base.entry(release.name)
    moves = {ref: digest} | ({tag: digest} if tag else {})
    if signed is not None or _moves_anything(before, moves):
        delegation = own_delegation(services)
        require_may_write(delegation, author.key, services.now(), release.name)
        if signed is not None:
            _require_good(services, base, signed, release)
        entry = _moved(before, release, moves, base.seq, tag)
        sign_index(services, author, base, [entry], [signed] if signed is not None else [])
        if ref == MAIN:
            services.store.tips.drop_sides(release.name, release.parents)
    elif before is not None:  # perhaps a crash came before it could be searched
        services.store.repos.record(author.publisher, before)
    _show(services, author, digest, release, ref)


def set_ref(
    services: Services, author: Author, base: Base, name: str, ref: str, to: bytes, *, tag: bool
) -> None:
    """Let a ref of a repo name a release that the repo has. Raises `NotFoundError`, and what
    `list_release` raises.
    """
    before = base.entry(name)
    if before is None:
        raise NotFoundError(f"there is no repo {name} here")
    require_may_write(own_delegation(services), author.key, services.now(), name)
    refs = {**before.refs, ref: Ref(release=to, seq=base.seq, tag=tag)}
    sign_index(services, author, base, [replace(before, refs=refs)])


def _require_good(services: Services, base: Base, signed: Envelope, release: Release) -> None:
    """Enough have signed it, and nobody took it or one of its files back. Raises `Refusal`."""
    identity = require_own_papers(services.store.documents).identity
    packed = services.knowledge.notices(identity.publisher)
    judge_release(
        Case(
            signed.digest,
            release,
            signed.signed_by(),
            identity,
            notices_of(packed),
            base.seq,
        ),
        Rule(),
        Trail(f"release {commit_id(signed.digest)[:16]} of {release.name}"),
    )


def _show(services: Services, author: Author, digest: bytes, release: Release, ref: str) -> None:
    """The folder with its files, and the row that keeps them."""
    repo, commit = RepoId(author.publisher, release.name), commit_id(digest)
    files = [(file.path, file.content) for file in release.files]
    services.store.snapshots.present(repo, commit, files)
    services.store.repos.pulled(
        author.publisher, release.name, commit, digest=digest, ref=ref, now=services.now()
    )


def expect(services: Services, publisher: PublisherId, entry: RepoEntry, ref: str = MAIN) -> None:
    """Let the gate take the release that a ref of our own repo names: listed by our newest index,
    or by one that is to be joined with it.
    """
    with contextlib.suppress(NotFoundError):
        services.knowledge.find(publisher, entry.name)
    services.knowledge.expect(entry.refs[ref].release, publisher)


def release_of(
    services: Services, publisher: PublisherId, before: RepoEntry | None, ref: str = MAIN
) -> tuple[bytes, Release] | None:
    """The release that a ref names, if its manifest is here and it counts."""
    if before is None or ref not in before.refs:
        return None
    digest = before.refs[ref].release
    expect(services, publisher, before, ref)
    try:
        accepted = services.knowledge.document(digest, Release)
    except Refusal as error:
        if error.verdict is Verdict.CORRUPT or isinstance(error, WrongBytesError):
            raise
        return None  # taken back, or signed by keys that do not count any more
    if accepted is None or not isinstance(accepted.document, Release):
        return None
    return digest, accepted.document


def _moves_anything(before: RepoEntry | None, moves: dict[str, bytes]) -> bool:
    refs = before.refs if before else {}
    return any(name not in refs or refs[name].release != to for name, to in moves.items())


def _moved(
    before: RepoEntry | None, release: Release, moves: dict[str, bytes], seq: int, tag: str | None
) -> RepoEntry:
    refs = dict(before.refs) if before else {}
    for name, digest in moves.items():
        if name not in refs or refs[name].release != digest:
            refs[name] = Ref(release=digest, seq=seq, tag=name == tag)
    if before is not None and MAIN in before.refs and MAIN not in moves:
        return replace(before, refs=refs)  # `main` is what describes it
    return RepoEntry(
        name=release.name,
        kind=release.kind,
        refs=refs,
        card=release.card,
        size=release.total_size,
        created=release.created,
    )
