"""What `Hub` and `AsyncHub` can do about bundles: media that cross where no network reaches."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from p2phub.bundle_results import BundleExported, BundleImported, InventoryMade, Sites, Swapped
from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.quarantine_methods import AsyncQuarantineMethods, QuarantineMethods

T = TypeVar("T")


class BundleMethods(QuarantineMethods):
    """The part of `Hub` about bundles."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def bundle_export(
        self,
        references: Sequence[str],
        to: Path | str,
        *,
        since: Path | str | None = None,
        size_limit: int | None = None,
        part: int | None = None,
        recipients: Sequence[str] = (),
        seal: bool = False,
    ) -> BundleExported:
        """Add releases that are on the node's disk to the bundle in the folder `to`.

        `since`: the inventory of the site that it is for, which gets only what it lacks.
        `size_limit`: bytes that one medium takes; the answer tells how many `parts` there are, and
        `part` says which of them this one is. `recipients`: keys of age (`age1…`) that it is sealed
        to; `seal`: it is sealed to the site of `since`. What is there already is not written again.
        Raises `NotFoundError` (not here with all its files), `UntrustedError`, `NoSpaceError`,
        `WrongBytesError` (the medium does not hold what was written), `RefusedError`.
        """
        since = Path(since) if since is not None else None
        return self._run(
            calls.bundle_export(
                references,
                Path(to),
                since=since,
                size_limit=size_limit,
                part=part,
                recipients=recipients,
                seal=seal,
            )
        )

    def bundle_import(
        self, path: Path | str, *, identities: Sequence[Path | str] = ()
    ) -> BundleImported:
        """Take what is in the bundle in the folder `path`, verified as a pull verifies it.

        `identities`: files with keys of age that open it, besides the node's own. What was refused
        is told in the answer (`releases`, `exit`), not raised. Raises `RefusedError` (all of it is
        sealed to other keys), `NotFoundError` (no bundle), `WrongBytesError` (its list is damaged),
        `NoSourceError` (it cannot be read).
        """
        return self._run(calls.bundle_import(Path(path), [Path(each) for each in identities]))

    def swap(
        self,
        path: Path | str,
        *,
        wants: Sequence[str] = (),
        name: str | None = None,
        inventories: Sequence[Path | str] = (),
        size_limit: int | None = None,
        to_anybody: bool = False,
        seal: bool = False,
    ) -> Swapped:
        """Take what is on the medium at `path`, and give what the other sites it visits lack.

        `wants`: the only repos to take and to ask for; `name`: what this site calls itself there;
        `inventories`: those of sites that came another way; `size_limit`: bytes that may be added;
        `to_anybody`: give everything, for a site that has left no inventory; `seal`: seal what
        is given to the sites that it is for. What was refused is
        told in the answer. Raises as `bundle_import` and `bundle_export`.
        """
        paths = [Path(each) for each in inventories]
        return self._run(
            calls.swap(
                Path(path),
                wants=wants,
                name=name,
                inventories=paths,
                size_limit=size_limit,
                to_anybody=to_anybody,
                seal=seal,
            )
        )

    def inventory(self, *, wants: Sequence[str] = (), name: str | None = None) -> InventoryMade:
        """What the node has and wants, signed: what `bundle_export` takes as `since` elsewhere."""
        return self._run(calls.inventory(wants, name))

    def sites(self) -> Sites:
        """The sites across an air gap that the node has heard of, and the receipts either way."""
        return self._run(calls.sites())


class AsyncBundleMethods(AsyncQuarantineMethods):
    """The same for `AsyncHub`: `BundleMethods` tells arguments, results and errors."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def bundle_export(
        self,
        references: Sequence[str],
        to: Path | str,
        *,
        since: Path | str | None = None,
        size_limit: int | None = None,
        part: int | None = None,
        recipients: Sequence[str] = (),
        seal: bool = False,
    ) -> BundleExported:
        since = Path(since) if since is not None else None
        return await self._run(
            calls.bundle_export(
                references,
                Path(to),
                since=since,
                size_limit=size_limit,
                part=part,
                recipients=recipients,
                seal=seal,
            )
        )

    async def bundle_import(
        self, path: Path | str, *, identities: Sequence[Path | str] = ()
    ) -> BundleImported:
        return await self._run(calls.bundle_import(Path(path), [Path(each) for each in identities]))

    async def swap(
        self,
        path: Path | str,
        *,
        wants: Sequence[str] = (),
        name: str | None = None,
        inventories: Sequence[Path | str] = (),
        size_limit: int | None = None,
        to_anybody: bool = False,
        seal: bool = False,
    ) -> Swapped:
        paths = [Path(each) for each in inventories]
        return await self._run(
            calls.swap(
                Path(path),
                wants=wants,
                name=name,
                inventories=paths,
                size_limit=size_limit,
                to_anybody=to_anybody,
                seal=seal,
            )
        )

    async def inventory(
        self, *, wants: Sequence[str] = (), name: str | None = None
    ) -> InventoryMade:
        return await self._run(calls.inventory(wants, name))

    async def sites(self) -> Sites:
        return await self._run(calls.sites())
