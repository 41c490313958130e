"""What people do with releases that wait for signatures: look at them, sign, drop, finish them."""

from pathlib import Path

from p2phub.formats.ids import PublisherId, RepoId, commit_id
from p2phub.node.author import author_of, own_delegation, require_may_write, signers_of
from p2phub.node.bring import bring_all
from p2phub.node.events import Report
from p2phub.node.finishing import finish, finish_proposal
from p2phub.node.locate import ResolvedRelease, called
from p2phub.node.proposals import (
    Proposed,
    drop,
    find,
    keep,
    missing_files,
    proposed,
)
from p2phub.node.pull import check_target
from p2phub.node.services import Services
from p2phub.node.values import FinishRequest, Proposal, Published
from p2phub.store.proposals import Proposal as Waiting
from p2phub.trust import envelope
from p2phub.trust.verdict import Judgement, Verdict


class ProposalDesk:
    """The releases of our own publisher that wait for signatures on this node."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self) -> tuple[Proposal, ...]:
        """All of them, the oldest first."""
        return await self._services.on_disk(_rows, self._services)

    async def sign(self, commit: str, sign_with: str | None, report: Report) -> Proposal:
        """Add the signatures of the keys here; list the release if they are enough, and its files
        are on this disk.

        Raises `NotFoundError`, `UsageError`, `UntrustedError` if no key here counts.
        """
        services = self._services
        waiting, made = await services.on_disk(_sign, services, commit, sign_with)
        is_here = not await services.on_disk(missing_files, services, made.release)
        listed = made.is_enough and is_here
        if listed:
            await finish_proposal(services, made, sign_with=None, tag=None, report=report)
        return await services.on_disk(_row, services, waiting, made, listed=listed)

    async def fetch(self, commit: str, to: Path | None, report: Report) -> Proposal:
        """Bring the files of a release that nobody has listed yet from the members that have them,
        verified against it; with `to`, writable copies into that folder.

        Raises `NotFoundError`, `NoSourceError`, `WrongBytesError`, `NoSpaceError`.
        """
        services = self._services
        waiting, made = await services.on_disk(find, services, commit)
        if to is not None:
            await services.on_disk(check_target, to, services.store.layout.store)
        resolved = await services.on_disk(_resolved, services, made)
        await bring_all(services, resolved, made.release.files, report)
        if to is not None:
            files = [(file.path, file.content) for file in made.release.files]
            await services.on_disk(services.store.export, files, to)
        return await services.on_disk(_row, services, waiting, made)

    async def drop(self, commit: str) -> Proposal:
        """Forget a proposal and the files that nothing else needs. Raises `NotFoundError`."""
        services = self._services
        waiting, made = await services.on_disk(find, services, commit)
        row = await services.on_disk(_row, services, waiting, made)
        await services.on_disk(drop, services, made.digest)
        return row

    async def finish(self, request: FinishRequest, report: Report) -> Published:
        """See `p2phub.node.finishing`."""
        return await finish(self._services, request, report)


def _resolved(services: Services, made: Proposed) -> ResolvedRelease:
    """The release as a pull wants it, unsigned as it is."""
    release = made.release
    return ResolvedRelease(
        RepoId(PublisherId(release.publisher), release.name),
        commit_id(made.digest),
        made.digest,
        release,
        Judgement(Verdict.UNSIGNED),
        {},
        f"{called(services.store, PublisherId(release.publisher))}/{release.name}",
    )


def _rows(services: Services) -> tuple[Proposal, ...]:
    delegation = own_delegation(services)
    return tuple(
        _row(services, each, proposed(delegation, envelope.unpack(each.data)))
        for each in services.store.proposals.all(services.now())
    )


def _row(services: Services, waiting: Waiting, made: Proposed, *, listed: bool = False) -> Proposal:
    release, commit = made.release, commit_id(made.digest)
    who = called(services.store, PublisherId(release.publisher))
    return Proposal(
        ref=f"{who}/{release.name}@{commit}",
        commit=commit,
        digest=made.digest.hex(),
        signatures=len(made.counted),
        needed=made.needed,
        signed_by=tuple(sorted(key.hex() for key in made.counted)),
        since=waiting.since,
        files=len(release.files),
        bytes=release.total_size,
        here=not missing_files(services, release),
        message=release.message,
        tag=waiting.tag or None,
        listed=listed,
    )


def _sign(services: Services, commit: str, sign_with: str | None) -> tuple[Waiting, Proposed]:
    waiting, made = find(services, commit)
    author, delegation = author_of(services, sign_with), own_delegation(services)
    keys, release = signers_of(services, author, sign_with), made.release
    require_may_write(delegation, keys[0], release.created, release.name)
    added = envelope.sign_payload(made.signed.type, made.signed.payload, keys)
    made = proposed(delegation, envelope.merge(made.signed, added))
    return waiting, keep(services, made, ours=False)
