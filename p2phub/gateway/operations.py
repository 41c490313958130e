"""The control API as one table: what can be asked of a node, how, and who may ask.

`OPERATIONS` is the only list of routes. `control` serves it, `openapi` describes it, and the client
calls it by name. An operation needs a token of its scope unless it says that it is open, and only
reading public knowledge is: who this node talks to and whom it trusts is private, and whatever
changes a state or keeps the machine busy is not for every page that a browser has open.

>>> {each.method for each in OPERATIONS if each.open}
{'GET'}
"""

from dataclasses import dataclass
from typing import Final

from p2phub.cache_results import CacheAdopted
from p2phub.gateway.bundle_operations import BUNDLES
from p2phub.gateway.identity_operations import IDENTITY
from p2phub.gateway.model_operations import MODELS
from p2phub.gateway.operation import Nothing, Operation
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.publish_operations import PUBLISHING, require_absolute
from p2phub.gateway.quarantine_operations import QUARANTINE
from p2phub.gateway.trust_operations import TRUST
from p2phub.node.events import Loading
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.values import (
    AdoptRequest,
    FileDone,
    FileRow,
    FilesDone,
    Hit,
    Identity,
    PeerInfo,
    Planned,
    Progress,
    Pulled,
    PullRequest,
    ReleaseWithdrawn,
    Removed,
    RepoInfo,
    RepoRow,
    Report,
    Resolved,
    SearchQuery,
    Status,
    Verification,
    Verifying,
    Warned,
)

EVENTS: Final = (
    Resolved,
    Planned,
    Progress,
    FileDone,
    FilesDone,
    Warned,
    Verifying,
    ReleaseWithdrawn,
    Loading,
)


@dataclass(frozen=True, slots=True)
class OneRelease:
    """A call about one release."""

    reference: str
    """`[publisher/]name[@revision]` or `p2p://…`."""


@dataclass(frozen=True, slots=True)
class OneOrAll:
    """A call about one release, or about all that are on this disk."""

    reference: str | None = None
    """`[publisher/]name[@revision]` or `p2p://…`; null means all."""


@dataclass(frozen=True, slots=True)
class Dial:
    """A peer to connect to."""

    address: str
    """A full multiaddr, `/p2p/<peer id>` included."""


async def _identity(node: NodeApi, _: Nothing, report: Report) -> Identity:
    return node.identity


async def _watch(node: NodeApi, _: Nothing, report: Report) -> Nothing:
    await node.watch(report)
    return Nothing()


async def _pull(node: NodeApi, request: PullRequest, report: Report) -> Pulled:
    require_absolute("to", request.to)
    return await node.pull(request, report)


async def _adopt(node: NodeApi, request: AdoptRequest, report: Report) -> CacheAdopted:
    require_absolute("cache", request.cache)
    return await node.adopt(request, report)


OPERATIONS: Final = (
    Operation("id", "Who this node is", Nothing, Identity, _identity, method="GET", open=True),
    Operation(
        "status",
        "What the node is doing now",
        Nothing,
        Status,
        lambda node, request, report: node.status(),
        method="GET",
        open=True,
    ),
    Operation(
        "peers",
        "Who is connected",
        Nothing,
        PeerInfo,
        lambda node, request, report: node.peers(),
        under="peers",
        method="GET",
    ),
    Operation(
        "connect",
        "Connect to a peer",
        Dial,
        PeerInfo,
        lambda node, request, report: node.connect(request.address),
        example={"address": "/ip4/192.0.2.1/tcp/4042/p2p/12D3KooWExample"},
    ),
    *PUBLISHING,
    *BUNDLES,
    *QUARANTINE,
    Operation(
        "pull",
        "Fetch and verify a release. A client that goes away cancels it; what was verified so far"
        " stays on this disk and the next pull goes on from there",
        PullRequest,
        Pulled,
        _pull,
        streams=True,
        example={"reference": "lab/minilm", "include": ["*.safetensors"]},
    ),
    Operation(
        "adopt",
        "Use the files of a Hugging Face cache, and give them out, from where they lie. Each is"
        " read whole and compared with its name first. A client that goes away cancels it; what"
        " was adopted stays",
        AdoptRequest,
        CacheAdopted,
        _adopt,
        streams=True,
        example={"cache": "/home/me/.cache/huggingface/hub", "exclude": ["my-lab/*"]},
        scope="admin",
    ),
    Operation(
        "resolve",
        "Find out which release a name means now, over the network; brings no file",
        OneRelease,
        Named,
        lambda node, request, report: node.resolve(request.reference),
        example={"reference": "lab/minilm"},
    ),
    Operation(
        "ranges",
        "Fetch and verify the pieces that hold some byte ranges of a file. They stay on this disk,"
        " and a pull goes on from there",
        PartRequest,
        PartHere,
        lambda node, request, report: node.bring_ranges(request, report),
        streams=True,
        example={"reference": "lab/minilm", "path": "model.safetensors", "ranges": [[0, 8]]},
    ),
    Operation(
        "read",
        "The bytes of some ranges of a file, one after another, verified; fetched if they are not"
        " here. At most 16 MiB a call",
        PartRequest,
        bytes,
        lambda node, request, report: node.read(request),
        example={"reference": "lab/minilm", "path": "model.safetensors", "ranges": [[0, 8]]},
    ),
    Operation(
        "search",
        "Search the local catalog",
        SearchQuery,
        Hit,
        lambda node, request, report: node.search(request),
        under="hits",
        method="GET",
        open=True,
        example={"text": "embedding", "task": "feature-extraction", "limit": 10},
    ),
    Operation(
        "info",
        "What is known about a release",
        OneRelease,
        RepoInfo,
        lambda node, request, report: node.info(request.reference),
        method="GET",
        open=True,
        example={"reference": "lab/minilm"},
    ),
    Operation(
        "repos",
        "The repos on this disk",
        Nothing,
        RepoRow,
        lambda node, request, report: node.ls(None),
        under="repos",
        method="GET",
        open=True,
    ),
    Operation(
        "files",
        "The files of a release",
        OneRelease,
        FileRow,
        lambda node, request, report: node.ls(request.reference),
        under="files",
        method="GET",
        open=True,
        example={"reference": "lab/minilm@main"},
    ),
    Operation(
        "verify",
        "Read every byte of one release, or of all on this disk, and check it",
        OneOrAll,
        Verification,
        lambda node, request, report: node.verify(request.reference, report),
        under="results",
        streams=True,
        example={"reference": "lab/minilm"},
    ),
    Operation(
        "watch",
        "Hear of every release on this disk that is refused from now on, because it was revoked or"
        " withdrawn: whoever serves one stops. Lines come as long as the client listens",
        Nothing,
        Nothing,
        _watch,
        streams=True,
    ),
    Operation(
        "rm",
        "Drop a release from this disk",
        OneRelease,
        Removed,
        lambda node, request, report: node.remove(request.reference),
        example={"reference": "lab/minilm@0123456789abcdef"},
    ),
    *MODELS,
    *TRUST,
    *IDENTITY,
)
