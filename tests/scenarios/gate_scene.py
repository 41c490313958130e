"""A node with a gate, a stick with one release for it, and approvers who sign."""

import time

from p2phub.node.approving import read_asked, signed_approval
from p2phub.node.auditing import log_lines
from p2phub.node.values import BundleExportRequest, BundleImportRequest, as_json
from p2phub.trust.keys import SigningKey
from tests.scenarios.nodes import (
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    settings,
    snapshots,
)

ANN = SigningKey(b"a" * 32)
BOB = SigningKey(b"b" * 32)


async def export(running, stick, *references):
    return await running.bundles.export_to(BundleExportRequest(references, stick), quiet)


async def bring(running, stick, report=quiet):
    return await running.bundles.import_from(BundleImportRequest(stick), report)


def noted(home):
    return [line.event for line in log_lines(settings(), home)]


async def publish_and_export(tmp_path, stick):
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        made = await publish(lab, model(tmp_path / "model"))
        await export(lab, stick, "x")
    return who, made.commit


def gate(**more):
    """The environment of a node with a gate that ann and bob may open."""
    pins = f"ann={ANN.public.hex()},bob={BOB.public.hex()}"
    return {"AIRGAP_QUARANTINE": "true", "AIRGAP_APPROVERS": pins} | more


def approval(row, key=ANN, name="ann", **more):
    return signed_approval(read_asked(as_json(row)), key, name, int(time.time()), **more)


async def waiting(running):
    """The one release that waits."""
    (row,) = await running.quarantine.waiting()
    return row


def is_seen(running):
    """Whether any file of a release can be seen in a folder."""
    return bool(snapshots(running_home(running)))
