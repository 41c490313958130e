"""The part of the control API about our own identity: signed papers come in, no secret ever does.

Both calls need the token. What is adopted was signed elsewhere, by the root or by recovery keys,
and passes the gate like a stranger's documents.
"""

from dataclasses import dataclass
from typing import Final

from p2phub.gateway.operation import Operation
from p2phub.key_results import Adopted

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


IDENTITY: Final = (
    Operation(
        "identity/adopt",
        "Take over a change of our own identity that was signed elsewhere, and tell of it",
        AdoptParcel,
        Adopted,
        lambda node, request, report: node.own_identity.adopt(request.parcel),
        example={"parcel": "gqlkb2N1bWVudHOR"},
    ),
    Operation(
        "identity/join",
        "Publish for a publisher that names a release key of this machine; asks the network",
        JoinPublisher,
        Adopted,
        lambda node, request, report: node.own_identity.join(request.publisher_id),
        example={"publisher_id": _ID},
    ),
)
