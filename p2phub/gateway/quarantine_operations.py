"""The part of the control API about what waits at the gate of the node.

All of it needs the token of an administrator: what waits is to be seen by nobody else. Keys are
never sent: an approval was signed where the key is.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Final

from p2phub.airgap_results import Quarantined
from p2phub.errors import MalformedError, UsageError
from p2phub.gateway.guard import HttpError
from p2phub.gateway.operation import Nothing, Operation
from p2phub.gateway.ports import NodeApi
from p2phub.node.values import (
    QuarantineDecision,
    QuarantineQuery,
    QuarantineRejection,
    Report,
)


async def _list(node: NodeApi, request: Nothing, report: Report) -> Sequence[Quarantined]:
    return await node.quarantine.waiting()


async def _look(node: NodeApi, request: QuarantineQuery, report: Report) -> Quarantined:
    return await node.quarantine.look(request.reference)


async def _check(node: NodeApi, request: QuarantineQuery, report: Report) -> Quarantined:
    return await node.quarantine.check(request.reference, report)


async def _decide(node: NodeApi, request: QuarantineDecision, report: Report) -> Quarantined:
    try:
        approval = b64decode(request.approval, validate=True)
    except (Base64Error, ValueError):
        raise UsageError("an approval is sent as base64") from None
    try:
        return await node.quarantine.decide(approval)
    except MalformedError as error:
        raise HttpError(error, 400) from error  # it came from the caller, not from a peer


async def _reject(node: NodeApi, request: QuarantineRejection, report: Report) -> Quarantined:
    return await node.quarantine.reject(request.reference, request.reason)


async def _allow(node: NodeApi, request: QuarantineQuery, report: Report) -> Quarantined:
    return await node.quarantine.allow(request.reference)


_EXAMPLE: Final = {"reference": "lab/minilm"}
QUARANTINE: Final = (
    Operation(
        "quarantine/ls",
        "What came in bundles and waits to be let in, or was rejected",
        Nothing,
        Quarantined,
        _list,
        under="quarantined",
        method="GET",
        scope="admin",
    ),
    Operation(
        "quarantine/look",
        "One release that waits: what is to be signed for it, and what the checks found",
        QuarantineQuery,
        Quarantined,
        _look,
        method="GET",
        example=_EXAMPLE,
        scope="admin",
    ),
    Operation(
        "quarantine/check",
        "Run every check of a release that waits again. Other results end the approvals so far",
        QuarantineQuery,
        Quarantined,
        _check,
        streams=True,
        example=_EXAMPLE,
        scope="admin",
    ),
    Operation(
        "quarantine/decide",
        "Take what an approver signed. The last approval that is needed lets the release in; a"
        " rejection drops its files",
        QuarantineDecision,
        Quarantined,
        _decide,
        example={"approval": "g6dwYXlsb2Fk"},
        scope="admin",
    ),
    Operation(
        "quarantine/reject",
        "Keep a release out and drop its files; it does not come again unless it is allowed",
        QuarantineRejection,
        Quarantined,
        _reject,
        example={"reference": "lab/minilm", "reason": "the wrong licence"},
        scope="admin",
    ),
    Operation(
        "quarantine/allow",
        "Let a release that was rejected come again, with the next import",
        QuarantineQuery,
        Quarantined,
        _allow,
        example=_EXAMPLE,
        scope="admin",
    ),
)
