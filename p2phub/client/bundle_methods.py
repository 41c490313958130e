"""What `Hub` and `AsyncHub` can do about bundles: media that cross where no network reaches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from p2phub.bundle_results import BundleExported, BundleImported
from p2phub.client import calls
from p2phub.client.calls import Call

T = TypeVar("T")


class BundleMethods(ABC):
    """The part of `Hub` about bundles."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    def bundle_export(self, references: Sequence[str], to: Path | str) -> BundleExported:
        """Add releases that are on the node's disk to the bundle in the folder `to`.

        What is there already is not written again. Raises `NotFoundError` (not here with all its
        files), `UntrustedError`, `NoSpaceError`, `WrongBytesError` (the medium does not hold what
        was written), `RefusedError`.
        """
        return self._run(calls.bundle_export(references, Path(to)))

    def bundle_import(self, path: Path | str) -> BundleImported:
        """Take what is in the bundle in the folder `path`, verified as a pull verifies it.

        What was refused is told in the answer (`releases`, `exit`), not raised. Raises
        `NotFoundError` (no bundle), `WrongBytesError` (its list is damaged), `NoSourceError` (it
        cannot be read).
        """
        return self._run(calls.bundle_import(Path(path)))


class AsyncBundleMethods(ABC):
    """The same for `AsyncHub`: `BundleMethods` tells arguments, results and errors."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    async def bundle_export(self, references: Sequence[str], to: Path | str) -> BundleExported:
        return await self._run(calls.bundle_export(references, Path(to)))

    async def bundle_import(self, path: Path | str) -> BundleImported:
        return await self._run(calls.bundle_import(Path(path)))
