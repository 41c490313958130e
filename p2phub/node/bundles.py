"""The bundles of one node: what a person asks of it about sticks.

Exports and imports take turns: two at once would write the same pack, or share a stick’s one head.
"""

import trio

from p2phub.bundle_results import BundleExported, BundleImported
from p2phub.node.bundling import export_bundle
from p2phub.node.events import Report
from p2phub.node.services import Services
from p2phub.node.unbundling import import_bundle
from p2phub.node.values import BundleExportRequest, BundleImportRequest


class Bundles:
    """Exports and imports of one node."""

    def __init__(self, services: Services) -> None:
        self._services, self._turn = services, trio.Lock()

    async def export_to(self, request: BundleExportRequest, report: Report) -> BundleExported:
        """See `p2phub.node.bundling.export_bundle`."""
        async with self._turn:
            return await export_bundle(self._services, request, report)

    async def import_from(self, request: BundleImportRequest, report: Report) -> BundleImported:
        """See `p2phub.node.unbundling.import_bundle`."""
        async with self._turn:
            return await import_bundle(self._services, request, report)
