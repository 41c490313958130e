"""The part of the control API about bundles, which carry releases to where no network reaches.

Calls that name a path need the token of an administrator: they write to, and read from, folders of
the machine. What is on a medium can be looked at without a node
(`p2phub.node.unbundling.inspect_bundle`).
"""

from typing import Final

from p2phub.bundle_results import BundleExported, BundleImported, InventoryMade, Sites, Swapped
from p2phub.gateway.operation import Nothing, Operation
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.publish_operations import require_absolute
from p2phub.node.values import (
    BundleExportRequest,
    BundleImportRequest,
    InventoryRequest,
    Report,
    SwapRequest,
)


async def _export(node: NodeApi, request: BundleExportRequest, report: Report) -> BundleExported:
    require_absolute("to", request.to)
    require_absolute("since", request.since)
    return await node.bundles.export_to(request, report)


async def _import(node: NodeApi, request: BundleImportRequest, report: Report) -> BundleImported:
    require_absolute("path", request.path)
    for path in request.identities:
        require_absolute("identities", path)
    return await node.bundles.import_from(request, report)


async def _swap(node: NodeApi, request: SwapRequest, report: Report) -> Swapped:
    require_absolute("path", request.path)
    for path in request.inventories:
        require_absolute("inventories", path)
    return await node.bundles.swap(request, report)


async def _inventory(node: NodeApi, request: InventoryRequest, report: Report) -> InventoryMade:
    return await node.bundles.inventory(request)


async def _sites(node: NodeApi, _: Nothing, report: Report) -> Sites:
    return await node.bundles.sites()


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
    Operation(
        "bundle/swap",
        "Take what is on a medium, put on it what the other sites that it visits lack, and sign"
        " what came. A client that goes away cancels it; the next swap goes on from there",
        SwapRequest,
        Swapped,
        _swap,
        streams=True,
        example={"path": "/media/stick", "name": "the lab"},
        scope="admin",
    ),
    Operation(
        "bundle/inventory",
        "Sign what this site has and wants, to be carried to another one",
        InventoryRequest,
        InventoryMade,
        _inventory,
        example={"name": "the lab"},
    ),
    Operation(
        "bundle/sites",
        "The sites across an air gap that were heard of, and the receipts that were signed",
        Nothing,
        Sites,
        _sites,
        method="GET",
    ),
)
