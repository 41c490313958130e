"""What `Hub` and `AsyncHub` can do about releases that are signed elsewhere, or by several, and
about files that other programs have fetched."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from p2phub.cache_results import CacheAdopted
from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.results import Proposal, Published

T = TypeVar("T")


class PublishMethods(ABC):
    """The part of `Hub` about releases that wait for signatures, and files of other programs."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def prepare(
        self,
        folder: Path | str,
        name: str,
        file: Path | str,
        *,
        message: str = "",
        tag: str | None = None,
        kind: str = "model",
        base: str | None = None,
        relation: str | None = None,
    ) -> Published:
        """Describe the files of `folder` as a release, unsigned, in the new file `file`.

        `p2phub key sign FILE` signs it on any machine, `finish` announces it here. Until then
        nobody is told of it. The answer's `pending` counts signatures. Raises `UsageError`,
        `RefusedError` (the file exists), and what `publish` raises.
        """
        call = calls.publish(
            Path(folder),
            name,
            message=message,
            tag=tag,
            kind=kind,
            base=base,
            relation=relation,
            prepare=Path(file),
        )
        return self._run(call)

    def adopt(
        self,
        cache: Path | str | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        forget: bool = False,
    ) -> CacheAdopted:
        """Use the files of a Hugging Face cache, and give them out, from where they lie.

        Each is read whole first; what is not what its name says is left alone, and told.

        Args:
            cache: the folder; by default the one that huggingface_hub uses in this process.
            include: globs; only repos (`org/name`) that match one are looked at.
            exclude: globs; repos that match one are left out, such as private ones.
            dry_run: only look.
            forget: the other way round: use these files no more, but what a release here needs.

        Raises `NotFoundError`, `UsageError` if it is no cache, `NoSpaceError`.
        """
        folder = Path(cache) if cache is not None else None
        call = calls.adopt(folder, include=include, exclude=exclude, dry_run=dry_run, forget=forget)
        return self._run(call)

    def finish(self, file: Path | str, *, tag: str | None = None) -> Published:
        """Announce the release in a file, once enough keys have signed it.

        Raises `UntrustedError` (too few signatures, another publisher's), `NotFoundError` (its
        files are not on the node's disk, no release key there), `RefusedError` (`main` has moved on
        since).
        """
        return self._run(calls.finish(Path(file), tag=tag))

    def proposals(self) -> list[Proposal]:
        """The releases of the node's publisher that wait for signatures."""
        return self._run(calls.proposals())

    def sign_proposal(self, commit: str) -> Proposal:
        """Add the signatures of the node's keys to one; it is listed if they are enough.

        Raises `NotFoundError`, `UntrustedError` if no key of the node counts.
        """
        return self._run(calls.sign_proposal(commit))

    def fetch_proposal(self, commit: str, *, to: Path | str | None = None) -> Proposal:
        """Bring the files of one from the nodes that have them, verified; into the folder `to`, if
        one is given.

        Raises `NotFoundError`, `NoSourceError`, `WrongBytesError`, `NoSpaceError`.
        """
        target = Path(to) if to is not None else None
        return self._run(calls.fetch_proposal(commit, to=target))

    def drop_proposal(self, commit: str) -> Proposal:
        """Forget one, and its files that nothing else needs. Raises `NotFoundError`."""
        return self._run(calls.drop_proposal(commit))


class AsyncPublishMethods(ABC):
    """The same for `AsyncHub`: `PublishMethods` tells arguments, results and errors."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def prepare(
        self,
        folder: Path | str,
        name: str,
        file: Path | str,
        *,
        message: str = "",
        tag: str | None = None,
        kind: str = "model",
        base: str | None = None,
        relation: str | None = None,
    ) -> Published:
        call = calls.publish(
            Path(folder),
            name,
            message=message,
            tag=tag,
            kind=kind,
            base=base,
            relation=relation,
            prepare=Path(file),
        )
        return await self._run(call)

    async def adopt(
        self,
        cache: Path | str | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        forget: bool = False,
    ) -> CacheAdopted:
        folder = Path(cache) if cache is not None else None
        call = calls.adopt(folder, include=include, exclude=exclude, dry_run=dry_run, forget=forget)
        return await self._run(call)

    async def finish(self, file: Path | str, *, tag: str | None = None) -> Published:
        return await self._run(calls.finish(Path(file), tag=tag))

    async def proposals(self) -> list[Proposal]:
        return await self._run(calls.proposals())

    async def sign_proposal(self, commit: str) -> Proposal:
        return await self._run(calls.sign_proposal(commit))

    async def fetch_proposal(self, commit: str, *, to: Path | str | None = None) -> Proposal:
        target = Path(to) if to is not None else None
        return await self._run(calls.fetch_proposal(commit, to=target))

    async def drop_proposal(self, commit: str) -> Proposal:
        return await self._run(calls.drop_proposal(commit))
