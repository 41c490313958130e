"""The part of the control API about our own identity: signed papers come in, no secret ever does.

Both calls need the token. What is adopted was signed elsewhere, by the root or by recovery keys,
and passes the gate like a stranger's documents.
"""

from dataclasses import dataclass
from typing import Final

from p2phub.errors import MalformedError
from p2phub.gateway.guard import HttpError
from p2phub.gateway.operation import Operation
from p2phub.gateway.ports import NodeApi
from p2phub.key_results import Adopted
from p2phub.node.values import Report

_ID: Final = "a" * 52


@dataclass(frozen=True, slots=True)
class AdoptParcel:
    """A change of our identity."""

    parcel: str
    """Roots, delegation and notices as `p2phub key` writes them to a file, in base64."""


@dataclass(frozen=True, slots=True)
class JoinPublisher:
    """A publisher to publish for."""

    publisher_id: str
    """In full."""


async def _adopt(node: NodeApi, request: AdoptParcel, report: Report) -> Adopted:
    try:
        return await node.own_identity.adopt(request.parcel)
    except MalformedError as error:
        raise HttpError(error, 400) from error  # it came from the caller, not from a peer


IDENTITY: Final = (
    Operation(
        "identity/adopt",
        "Take over a change of our own identity that was signed elsewhere, and tell of it",
        AdoptParcel,
        Adopted,
        _adopt,
        example={"parcel": "gqlkb2N1bWVudHOR"},
        scope="admin",
    ),
    Operation(
        "identity/join",
        "Publish for a publisher that names a release key of this machine; asks the network",
        JoinPublisher,
        Adopted,
        lambda node, request, report: node.own_identity.join(request.publisher_id),
        example={"publisher_id": _ID},
        scope="admin",
    ),
)
