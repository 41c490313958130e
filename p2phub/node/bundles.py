"""The bundles of one node: what a person asks of it about sticks.

Exports and imports take turns: two at once would write the same pack, or share a stick’s one head.
What crosses is noted in the audit log, before it does and after (which releases, and what came of
each, is noted where they are taken and given); what cannot be noted does not happen.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2phub.bundle_results import BundleExported, BundleImported, InventoryMade, Sites, Swapped
from p2phub.errors import P2PHubError
from p2phub.node.bundling import export_bundle
from p2phub.node.events import Report
from p2phub.node.services import Services
from p2phub.node.sites import inventory_made, sites_known
from p2phub.node.swapping import swap, wanted_repos
from p2phub.node.unbundling import import_bundle, note_release
from p2phub.node.values import (
    BundleExportRequest,
    BundleImportRequest,
    InventoryRequest,
    SwapRequest,
)


class Bundles:
    """Exports and imports of one node."""

    def __init__(self, services: Services) -> None:
        self._services, self._turn = services, trio.Lock()

    async def export_to(self, request: BundleExportRequest, report: Report) -> BundleExported:
        """See `p2phub.node.bundling.export_bundle`."""
        record = self._services.audit.record
        async with self._turn, self._noted("export", request.to):
            done = await export_bundle(self._services, request, report)
            await record(
                "bundle.export.ended",
                to=done.path,
                count=len(done.releases),
                bytes_total=done.bytes_total,
                bytes_written=done.bytes_written,
            )
        return done

    async def import_from(self, request: BundleImportRequest, report: Report) -> BundleImported:
        """See `p2phub.node.unbundling.import_bundle`."""
        record = self._services.audit.record
        async with self._turn, self._noted("import", request.path):
            done = await import_bundle(self._services, request, report)
            await record(
                "bundle.import.ended",
                path=done.path,
                count=len(done.releases),
                heads=done.heads,
                notices=done.notices,
                bytes_fetched=done.bytes_fetched,
                exit=done.exit,
            )
        return done

    async def swap(self, request: SwapRequest, report: Report) -> Swapped:
        """See `p2phub.node.swapping.swap`."""
        record = self._services.audit.record
        async with self._turn, self._noted("swap", request.path):
            done = await swap(self._services, request, report)
            for row in done.gave:
                await note_release(self._services, "swap", row)
            await record(
                "bundle.swap.ended",
                path=done.path,
                count=len(done.came),
                given=len(done.gave),
                bytes_fetched=done.bytes_fetched,
                bytes_written=done.bytes_written,
                exit=done.exit,
            )
        return done

    async def inventory(self, request: InventoryRequest) -> InventoryMade:
        """What this site has and wants, signed. Raises `UsageError` for an alias nobody knows."""
        services = self._services
        wants = await services.on_disk(wanted_repos, services, request.wants)
        return await services.on_disk(inventory_made, services, request.name, wants)

    async def sites(self) -> Sites:
        """The sites that were heard of, and the receipts either way."""
        return await self._services.on_disk(sites_known, self._services.store.documents)

    @asynccontextmanager
    async def _noted(self, what: str, path: Path) -> AsyncIterator[None]:
        """Note that it begins, and that it broke off, if it does."""
        record = self._services.audit.record
        await record(f"bundle.{what}.started", path=path)
        try:
            yield
        except BaseException as error:
            why = error.message if isinstance(error, P2PHubError) else type(error).__name__
            with trio.CancelScope(shield=True):
                await record(f"bundle.{what}.broken", path=path, why=why)
            raise
