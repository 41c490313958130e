"""The part of the control API about bundles, which carry releases to where no network reaches.

Both calls need the token of an administrator: they write to, and read from, folders of the machine.
What is on a medium can be looked at without a node (`p2phub.node.unbundling.inspect_bundle`).
"""

from typing import Final

from p2phub.bundle_results import BundleExported, BundleImported
from p2phub.gateway.operation import Operation
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.publish_operations import require_absolute
from p2phub.node.values import BundleExportRequest, BundleImportRequest, Report


async def _export(node: NodeApi, request: BundleExportRequest, report: Report) -> BundleExported:
    require_absolute("to", request.to)
    return await node.bundles.export_to(request, report)


async def _import(node: NodeApi, request: BundleImportRequest, report: Report) -> BundleImported:
    require_absolute("path", request.path)
    return await node.bundles.import_from(request, report)


BUNDLES: Final = (
    Operation(
        "bundle/export",
        "Add releases that are here, and all that it takes to judge them, to the bundle in a"
        " folder. A client that goes away cancels it; the next export goes on from there",
        BundleExportRequest,
        BundleExported,
        _export,
        streams=True,
        example={"references": ["lab/minilm"], "to": "/media/stick"},
        scope="admin",
    ),
    Operation(
        "bundle/import",
        "Take what is in a bundle and passes every check. What was refused, and why, is told in"
        " the answer. A client that goes away cancels it; what came is kept",
        BundleImportRequest,
        BundleImported,
        _import,
        streams=True,
        example={"path": "/media/stick"},
        scope="admin",
    ),
)
