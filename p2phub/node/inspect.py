"""Look at what is on this disk: search, info, ls, verify, and the pinned aliases. Asks nobody.

Works the same on the store of a running node and on one that was opened for reading only, so that
`p2phub verify` needs no daemon and no network. Nothing here believes a row: what `info`, `ls` and
`verify` say of a release comes from its documents, which pass the gate again."""

from collections.abc import Collection, Sequence

from p2phub.errors import UntrustedError, UsageError
from p2phub.formats.ids import (
    ContentId,
    PublisherId,
    Reference,
    RepoId,
    commit_id,
)
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Head
from p2phub.node.claims import Claims, claims_of
from p2phub.node.events import Report
from p2phub.node.knowledge import Knowledge
from p2phub.node.lineage import made_from
from p2phub.node.locate import (
    DEFAULT_REVISION,
    ResolvedRelease,
    digest_of,
    locate,
    name_of,
    publisher_of,
)
from p2phub.node.values import (
    FileRow,
    Here,
    Hit,
    RefInfo,
    RepoInfo,
    RepoRow,
    SearchQuery,
    Verification,
)
from p2phub.node.verify import verify_release
from p2phub.node.withdrawals import judge
from p2phub.store.disk import Progress, no_progress
from p2phub.store.repos import RepoRow as StoredRow
from p2phub.store.search import Filters, Order
from p2phub.store.store import Store
from p2phub.trust.refusals import verdict_of
from p2phub.trust.verdict import Judgement, Verdict

_ORDERS: dict[str, Order] = {
    "relevance": "relevance",
    "name": "name",
    "size": "size",
    "updated": "created",
}


class Inspector:
    """Looks at one store through the gate. Synchronous; thread-safe as the store is."""

    def __init__(self, store: Store, knowledge: Knowledge, yields: Progress = no_progress) -> None:
        self._store, self._knowledge, self._yields = store, knowledge, yields

    # ------------------------------------------------------------ who

    def own(self) -> tuple[str | None, str | None]:
        """This machine's publisher id and what it calls itself."""
        own = self._store.documents.own_publisher()
        if own is None:
            return None, None
        return str(own), self._store.documents.aliases().alias_of(own)

    def own_claims(self) -> Claims:
        """What this machine's publisher says of itself."""
        own = self._store.documents.own_publisher()
        return claims_of(self._store, self._knowledge, own) if own is not None else Claims()

    # ------------------------------------------------------------ what

    def search(self, query: SearchQuery) -> tuple[Hit, ...]:
        """Repos in the local catalog that match. Raises `UsageError`, `NotFoundError` (alias)."""
        if query.sort not in _ORDERS:
            raise UsageError(f"cannot sort by {query.sort}; by {', '.join(_ORDERS)}")
        aliases = self._store.documents.aliases()
        filters = Filters(
            task=query.task,
            library=query.library,
            license=query.license,
            language=query.language,
            publisher=aliases.resolve(query.publisher) if query.publisher else None,
            max_size=query.max_size,
            kind=query.kind,
            tags=query.tags,
            min_parameters=query.min_params,
            max_parameters=query.max_params,
        )
        found = self._store.repos.search(
            query.text, filters, order=_ORDERS[query.sort], limit=query.limit
        )
        standings = {hit.repo.publisher: self._standing(hit.repo.publisher) for hit in found}
        return tuple(
            Hit(
                ref=self._name(hit.repo, hit.ref),
                commit=hit.commit,
                task=hit.task or None,
                license=hit.license or None,
                library=hit.library or None,
                bytes=hit.bytes,
                verdict=self._verdict(hit.repo, hit.digest, standings[hit.repo.publisher]),
                kind=hit.kind,
                tags=hit.tags,
                languages=hit.languages,
                created=hit.created,
                parameters=hit.parameters or None,
                publisher_id=str(hit.repo.publisher),
            )
            for hit in found
        )

    def info(self, reference: str) -> RepoInfo:
        """What is known here of a release. Raises `NotFoundError`, `UntrustedError`."""
        found = self._locate(Reference.parse(reference))
        release, card = found.release, found.release.card
        here = self._here([file.content for file in release.files], self._begun())
        path = self._store.snapshots.path(found.repo, found.commit)
        rows = self._store.repos.releases(found.repo.publisher, found.repo.name)
        claims = claims_of(self._store, self._knowledge, found.repo.publisher)
        return RepoInfo(
            ref=found.called,
            commit=found.commit,
            digest=found.digest.hex(),
            publisher_id=str(found.repo.publisher),
            kind=release.kind,
            verdict=found.judgement.text,
            stale_since=found.judgement.stale_since,
            created=release.created,
            message=release.message,
            files=len(release.files),
            bytes=release.total_size,
            here=here,
            path=path if path.is_dir() else None,
            task=card.task or None,
            license=card.license or None,
            library=card.library or None,
            languages=card.languages,
            tags=card.tags,
            base=card.base,
            lineage=made_from(self._store, self._knowledge, release),
            refs=tuple(
                RefInfo(name, commit_id(ref.release), ref.tag)
                for name, ref in sorted(found.refs.items())
            ),
            commits=tuple(row.commit for row in rows),
            publisher_name=claims.name,
            domain=claims.domain,
            domain_result=claims.domain_result,
            domain_checked=claims.domain_checked,
            domain_proved=claims.domain_proved,
            copy_of=_copy_of(release),
        )

    def ls(self, reference: str | None) -> Sequence[RepoRow] | Sequence[FileRow]:
        """The repos on this disk, or the files of the release that is named."""
        if reference is None:
            return tuple(self._row(row) for row in self._store.repos.local())
        found, begun = self._locate(Reference.parse(reference)), self._begun()
        return tuple(
            FileRow(
                path="/".join(file.path),
                size=file.size,
                sha256=file.sha256.hex(),
                sha256_checked=self._store.blobs.sha256(file.content) == file.sha256,
                content=str(file.content),
                here=self._here([file.content], begun),
            )
            for file in found.release.files
        )

    # ------------------------------------------------------------ whether

    def verify(
        self, reference: str | None, report: Report = lambda event: None
    ) -> tuple[Verification, ...]:
        """Check a release, or all that are on this disk, from the first root to the last byte.

        What is wrong is in the answer, step by step; `NotFoundError` if the reference is unknown.
        """
        if reference is not None:
            target = self._held(Reference.parse(reference))
            return (self._verify(*target, report),)
        return tuple(
            self._verify(row.repo, row.digest, self._name(row.repo, row.ref), report)
            for row in self._store.repos.local()
        )

    def _verify(self, repo: RepoId, digest: bytes, ref: str, report: Report) -> Verification:
        return verify_release(
            self._store, self._knowledge, repo, digest, ref, report=report, yields=self._yields
        )

    # ------------------------------------------------------------ finding

    def _held(self, reference: Reference) -> tuple[RepoId, bytes, str]:
        """The release to verify: what the revision names, else the newest one on this disk."""
        repo = RepoId(publisher_of(self._store, reference), reference.name)
        held = [row for row in self._store.repos.local() if row.repo == repo]
        if reference.revision is None and held:
            newest = max(held, key=lambda row: (row.ref == DEFAULT_REVISION, row.since))
            return repo, newest.digest, self._name(repo, newest.ref)
        for row in held:
            if reference.revision and row.commit.startswith(reference.revision):
                return repo, row.digest, self._name(repo, reference.revision)
        repo, digest = digest_of(self._store, self._knowledge, reference)
        return repo, digest, self._name(repo, reference.revision or DEFAULT_REVISION)

    def _locate(self, reference: Reference) -> ResolvedRelease:
        return locate(self._store, self._knowledge, reference)

    # ------------------------------------------------------------ saying

    def _row(self, row: StoredRow) -> RepoRow:
        return RepoRow(
            ref=self._name(row.repo, row.ref),
            commit=row.commit,
            kind=row.kind,
            verdict=self._verdict(row.repo, row.digest, self._standing(row.repo.publisher)),
            here="complete" if row.complete else "partial" if self._has_some(row) else "none",
            files=row.files,
            bytes=row.bytes,
            bytes_here=row.bytes_here,
        )

    def _verdict(self, repo: RepoId, digest: bytes, standing: Judgement) -> str:
        """What a release is worth today. Only of a publisher that took something back, or whose
        rule lets through what is not well signed, is every release looked at; the others are worth
        what their publisher's head is.
        """
        publisher = repo.publisher
        knowledge = self._knowledge
        doubtful = knowledge.has_notices(publisher) or knowledge.lets_through(publisher)
        if not standing.verdict.good or not doubtful:
            return standing.text
        try:
            judged = judge(self._knowledge, repo.publisher, repo.name, digest)
        except UntrustedError as error:
            return verdict_of(error).value
        known = None if judged else self._knowledge.taken_back(repo.publisher, digest)
        return judged or (standing.text if known is None else known.value)

    def _standing(self, publisher: PublisherId) -> Judgement:
        """What a publisher's newest head is worth today."""
        try:
            state = self._knowledge.state(publisher)
            head = self._knowledge.document(state.head, Head) if state is not None else None
        except UntrustedError as error:
            return Judgement(verdict_of(error))
        return head.judgement if head is not None else Judgement(Verdict.UNSIGNED)

    def _has_some(self, row: StoredRow) -> bool:
        if row.files_here:
            return True
        try:
            accepted = self._knowledge.document(row.digest, Release)
        except UntrustedError:
            return False
        if accepted is None or not isinstance(accepted.document, Release):
            return False
        contents = [file.content for file in accepted.document.files]
        return self._here(contents, self._begun()) != "none"

    def _here(self, contents: Sequence[ContentId], begun: Collection[ContentId]) -> Here:
        """Whether these files are here, whole or, if they were `begun`, with some pieces."""
        held = [content for content in contents if self._store.blobs.has(content)]
        if len(held) == len(contents):
            return "complete"
        return "partial" if held or any(content in begun for content in contents) else "none"

    def _begun(self) -> frozenset[ContentId]:
        return frozenset(self._store.partials.list())

    def _name(self, repo: RepoId, revision: str) -> str:
        return name_of(self._store, repo, revision)


def _copy_of(release: Release) -> str | None:
    seen = release.upstream
    return None if seen is None else f"{seen.endpoint}/{seen.repo} at {seen.commit}"
