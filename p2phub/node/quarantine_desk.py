"""The gate of one node: what waits there, what the checks found, and who lets it in or not.

Keys never come here: whoever decides signs where the key is (`p2phub.node.approving`) and hands
over what was signed. A node lets a release in when as many approvers as node.toml asks for have
signed for the results that the checks have now, and the gate of signatures still believes it today.
Everything that is decided is noted in the audit log before it takes effect.
"""

from collections.abc import Sequence
from dataclasses import replace

import trio

from p2phub.airgap_results import QuarantineApproval, QuarantineCheck, Quarantined
from p2phub.errors import (
    NotFoundError,
    P2PHubError,
    QuarantinedError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.approval import Approval, checks_digest, unpack_checks
from p2phub.formats.ids import Reference, RepoId, commit_id, is_commit_prefix
from p2phub.formats.limits import MIN_BIG_FILE
from p2phub.formats.manifest import FileEntry
from p2phub.node.approvers import (
    Signed,
    read_approval,
    require_about,
    require_approver,
    require_passed,
)
from p2phub.node.claims import resolve_publisher
from p2phub.node.events import Report
from p2phub.node.locate import ResolvedRelease, by_ref, called, locate
from p2phub.node.on_demand import ignore
from p2phub.node.pull import obey_rule, wanted_files
from p2phub.node.quarantining import check, hold_back, told
from p2phub.node.remove import remove_contents
from p2phub.node.services import Services
from p2phub.node.values import PullRequest
from p2phub.store.quarantine import Case


class QuarantineDesk:
    """What people ask of one node about what waits at its gate."""

    def __init__(self, services: Services) -> None:
        self._services, self._turn = services, trio.Lock()

    async def waiting(self) -> Sequence[Quarantined]:
        """Everything that waits, or was rejected; the oldest first."""
        return await self._services.on_disk(self._list)

    async def look(self, reference: str) -> Quarantined:
        """One of them. Raises `NotFoundError`, `UsageError`."""
        return await self._services.on_disk(self._look, reference)

    async def check(self, reference: str, report: Report) -> Quarantined:
        """Run the checks again. Other results end the approvals that were given before.

        Raises `NotFoundError`, `QuarantinedError` if not all of it came or it was rejected.
        """
        async with self._turn:
            case = await self._services.on_disk(self._find, reference)
            _require_open(case)
            resolved, files = await self._files(case)
            checks = await check(self._services, resolved, files, report)
            await self._note("checked", case, told=told(self._services, checks))
            return await self._services.on_disk(self._row_of, case.digest)

    async def decide(self, approval: bytes) -> Quarantined:
        """Take what an approver signed: an approval or a rejection. The last approval lets it in.

        Raises `MalformedError`, `UntrustedError` (who signed may not), `NotFoundError`,
        `QuarantinedError` (it is about another case or other results; a check failed).
        """
        signed = read_approval(approval)
        async with self._turn:
            try:
                case = await self._services.on_disk(self._counted, signed)
            except P2PHubError as error:
                await self._refused(signed, error)
                raise
            said = signed.said
            await self._note(
                "approved" if said.decision == "approve" else "rejected",
                case,
                approver=said.approver,
                key=signed.envelope.signatures[0].key.hex(),
                despite=said.despite,
                reason=said.reason,
                checks=said.checks.hex(),
            )
            if said.decision == "reject":
                why = f"{said.reason or 'no reason was given'} ({said.approver})"
                return await self._kept_out(case, why)
            quarantine = self._services.store.quarantine
            packed = signed.envelope.pack()
            await self._services.on_disk(quarantine.approve, case.digest, said.approver, packed)
            case = await self._services.on_disk(self._case, case.digest)
            left = await self._services.on_disk(self._needed, case)
            return await (self._row(case) if left else self._let_in(case))

    async def reject(self, reference: str, reason: str) -> Quarantined:
        """Keep a release out and drop its files, in the name of this node's administrator."""
        async with self._turn:
            case = await self._services.on_disk(self._find, reference)
            _require_open(case)
            await self._note("rejected", case, approver="", reason=reason)
            return await self._kept_out(case, reason)

    async def allow(self, reference: str) -> Quarantined:
        """Let a rejected release come again: its next import is another case."""
        async with self._turn:
            case = await self._services.on_disk(self._find, reference)
            if case.state != "rejected":
                raise UsageError(
                    f"commit {commit_id(case.digest)[:16]} was not rejected",
                    remedy="`p2phub quarantine approve` lets it in",
                )
            row = await self._row(case)
            await self._note("allowed", case)
            await self._services.on_disk(self._forget, case)
            return row

    # ------------------------------------------------------------ letting in

    async def _let_in(self, case: Case) -> Quarantined:
        """Enough have signed. The folder first, then the row that makes it visible."""
        services, store = self._services, self._services.store
        resolved, files = await self._files(case)
        await obey_rule(services, resolved, ignore)
        here = await services.on_disk(store.shelf.right, [file.content for file in files])
        if any(file.content not in here for file in files):
            raise QuarantinedError(
                f"files of {resolved.called} were damaged or lost on this disk meanwhile",
                remedy="import the bundle again, then approve again",
            )
        row = await self._row(case)
        approvers = [each.approver for each in row.approvals]
        await self._note("let in", case, approvers=approvers)
        links = [(file.path, file.content) for file in files]
        await services.on_disk(store.snapshots.present, resolved.repo, resolved.commit, links)
        await services.on_disk(store.quarantine.let_in, case.digest, case.case, services.now())
        await self._announce(resolved, files)
        return replace(row, state="let in", needed=0)

    async def _announce(self, resolved: ResolvedRelease, files: Sequence[FileEntry]) -> None:
        services, announcer = self._services, self._services.announcer
        announcer.publisher(resolved.repo.publisher)
        if len(files) == len(resolved.release.files):
            announcer.release(resolved.digest)
        for file in files:
            if file.size > MIN_BIG_FILE:
                announcer.file(file.sha256)  # the checks have compared it
        services.hashing_waits.ring()

    def _keep_out(self, case: Case, reason: str) -> Quarantined:
        store = self._services.store
        remove_contents(store, store.quarantine.reject(case.digest, reason))
        return self._row_of(case.digest)

    async def _kept_out(self, case: Case, reason: str) -> Quarantined:
        row = await self._services.on_disk(self._keep_out, case, reason)
        hold_back(self._services, case.digest, f"it was rejected: {reason}")
        return row

    def _forget(self, case: Case) -> None:
        store = self._services.store
        remove_contents(store, store.quarantine.forget(case.digest))

    def _counted(self, signed: Signed) -> Case:
        """The case that this is about, if it counts. Raises as `decide`."""
        services, said = self._services, signed.said
        case = self._case(said.release)
        _require_open(case)
        if len(signed.envelope.signatures) != 1:
            raise UntrustedError("an approval has one signature: everybody signs one of their own")
        require_about(case, self._repo(case).publisher.digest, said, services.now())
        require_approver(services, signed)
        if said.decision == "approve":
            require_passed(case, said)
        return case

    def _needed(self, case: Case) -> int:
        """How many approvals are missing; who signed counts once, while the key is good."""
        keys: dict[bytes, str] = {}
        for signed in self._good(case):
            keys[signed.envelope.signatures[0].key] = signed.said.approver
        return max(0, self._services.config.airgap.approvals - len(set(keys.values())))

    def _good(self, case: Case) -> list[Signed]:
        """The approvals that count today."""
        found, repo = [], self._repo(case)
        for data in case.approvals:
            signed = read_approval(data)
            try:
                require_about(case, repo.publisher.digest, signed.said, self._services.now())
                require_approver(self._services, signed)
                require_passed(case, signed.said)
            except P2PHubError:
                continue
            found.append(signed)
        return found

    async def _refused(self, signed: Signed, error: P2PHubError) -> None:
        await self._services.audit.record(
            "quarantine.refused",
            release=signed.said.release.hex(),
            approver=signed.said.approver,
            decision=signed.said.decision,
            why=error.message,
        )

    # ------------------------------------------------------------ finding

    def _find(self, reference: str) -> Case:
        """The case that a reference, or the beginning of a commit, names."""
        store = self._services.store
        cases = [case for case in store.quarantine.all() if self._is_meant(case, reference)]
        if len(cases) > 1:
            names = ", ".join(commit_id(case.digest)[:16] for case in cases)
            raise UsageError(
                f"{reference} names several releases that wait: {names}",
                remedy="name one by its commit",
            )
        if not cases:
            raise NotFoundError(
                f"nothing that is called {reference} waits in quarantine",
                remedy="`p2phub quarantine ls` lists what does",
            )
        return cases[0]

    def _is_meant(self, case: Case, reference: str) -> bool:
        if is_commit_prefix(reference) and commit_id(case.digest).startswith(reference):
            return True
        wanted, repo = Reference.parse(reference), self._repo(case)
        if wanted.name != repo.name:
            return False
        if wanted.publisher is not None:
            who = resolve_publisher(self._services.store, wanted.publisher)
            if who != repo.publisher:
                return False
        if wanted.revision is None or commit_id(case.digest).startswith(wanted.revision):
            return True
        resolved = self._resolved(case)
        return resolved is not None and resolved.revision == wanted.revision

    def _case(self, digest: bytes) -> Case:
        case = self._services.store.quarantine.get(digest)
        if case is None:
            raise NotFoundError(
                f"release {commit_id(digest)} does not wait in quarantine here",
                remedy="`p2phub quarantine ls` lists what does",
            )
        return case

    def _repo(self, case: Case) -> RepoId:
        repo = self._services.store.repos.repo_of(case.digest)
        assert repo is not None, "a case is of a release that was recorded"
        return repo

    def _resolved(self, case: Case) -> ResolvedRelease | None:
        """The release as the gate has it today; None if it is refused by now."""
        services, repo = self._services, self._repo(case)
        exact = Reference(str(repo.publisher), repo.name, commit_id(case.digest))
        try:
            return by_ref(
                services.store, locate(services.store, services.knowledge, exact, waiting=True)
            )
        except (NotFoundError, UntrustedError):
            return None

    async def _files(self, case: Case) -> tuple[ResolvedRelease, tuple[FileEntry, ...]]:
        """The release, and those of its files that came. Raises `UntrustedError`."""
        services, repo = self._services, self._repo(case)
        exact = Reference(str(repo.publisher), repo.name, commit_id(case.digest))
        resolved = await services.on_disk(
            locate, services.store, services.knowledge, exact, waiting=True
        )
        return resolved, wanted_files(resolved, PullRequest(str(exact)), ignore)

    # ------------------------------------------------------------ saying

    def _list(self) -> tuple[Quarantined, ...]:
        return tuple(self._row_of(case.digest) for case in self._services.store.quarantine.all())

    def _look(self, reference: str) -> Quarantined:
        return self._row_of(self._find(reference).digest)

    async def _row(self, case: Case) -> Quarantined:
        return await self._services.on_disk(self._row_of, case.digest)

    def _row_of(self, digest: bytes) -> Quarantined:
        services, case = self._services, self._case(digest)
        repo, resolved = self._repo(case), self._resolved(case)
        release = resolved.release if resolved is not None else None
        checks = unpack_checks(case.checks) if case.checks else ()
        who = called(services.store, repo.publisher)
        return Quarantined(
            ref=f"{who}/{repo.name}@{commit_id(digest)[:16]}",
            commit=commit_id(digest),
            digest=digest.hex(),
            publisher_id=str(repo.publisher),
            name=repo.name,
            kind=release.kind if release is not None else "",
            license=release.card.license if release is not None else "",
            files=len(release.files) if release is not None else 0,
            bytes=release.total_size if release is not None else 0,
            verdict=resolved.judgement.text if resolved is not None else "refused",
            state=case.state,
            since=case.since,
            origin=case.origin,
            reason=case.reason,
            case=case.case.hex(),
            checks=tuple(QuarantineCheck(each.name, each.ok, each.detail) for each in checks),
            checks_digest=checks_digest(checks).hex() if checks else "",
            approvals=tuple(_approval(signed.said) for signed in self._good(case)),
            approvers=services.config.airgap.approvers,
            needed=self._needed(case),
        )

    async def _note(self, what: str, case: Case, **fields: object) -> None:
        repo = await self._services.on_disk(self._repo, case)
        ref = f"{repo.publisher}/{repo.name}@{commit_id(case.digest)}"
        await self._services.audit.record(
            f"quarantine.{what.replace(' ', '_')}", ref=ref, case=case.case.hex(), **fields
        )


def _require_open(case: Case) -> None:
    if case.state == "rejected":
        raise QuarantinedError(
            f"commit {commit_id(case.digest)[:16]} was rejected: {case.reason}",
            remedy=f"`p2phub quarantine allow {commit_id(case.digest)[:16]}` lets it come again",
        )


def _approval(said: Approval) -> QuarantineApproval:
    return QuarantineApproval(said.approver, said.created, said.despite, said.reason)
