"""The part of the control API about releases that several must sign, or that are signed elsewhere.

All calls need the token. A release travels as a file that the node reads or writes itself, like the
folder that is published: it may be 32 MiB.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.errors import UsageError
from p2phub.gateway.operation import Nothing, Operation
from p2phub.gateway.ports import NodeApi
from p2phub.node.values import FinishRequest, Proposal, Published, PublishRequest, Report


@dataclass(frozen=True, slots=True)
class SignProposal:
    """A release to sign."""

    commit: str
    """Its commit, or the first 8 digits of it and more."""
    sign_with: str | None = None
    """The name of the release key to sign with; null takes those of this node."""


@dataclass(frozen=True, slots=True)
class FetchProposal:
    """A release whose files are to be looked at."""

    commit: str
    """Its commit, or the first 8 digits of it and more."""
    to: Path | None = None
    """A folder of the caller's own, for writable copies; absolute."""


@dataclass(frozen=True, slots=True)
class DropProposal:
    """A release that is not to be signed any more."""

    commit: str
    """Its commit, or the first 8 digits of it and more."""


def require_absolute(name: str, path: Path | None) -> None:
    """Raise `UsageError` for a path that means something else to the node than to its caller."""
    if path is not None and not path.is_absolute():
        raise UsageError(
            f'"{name}" must be an absolute path, not {path}',
            remedy="The node has a working directory of its own; name the file in full.",
        )


async def _publish(node: NodeApi, request: PublishRequest, report: Report) -> Published:
    require_absolute("folder", request.folder)
    require_absolute("prepare", request.prepare)
    require_absolute("proposal_file", request.proposal_file)
    return await node.publish(request, report)


async def _finish(node: NodeApi, request: FinishRequest, report: Report) -> Published:
    require_absolute("file", request.file)
    return await node.proposals.finish(request, report)


async def _fetch(node: NodeApi, request: FetchProposal, report: Report) -> Proposal:
    require_absolute("to", request.to)
    return await node.proposals.fetch(request.commit, request.to, report)


PUBLISHING: Final = (
    Operation(
        "publish",
        "Sign a folder as a release and announce it, or prepare it to be signed elsewhere. A client"
        " that goes away cancels it",
        PublishRequest,
        Published,
        _publish,
        streams=True,
        example={"folder": "/data/minilm", "name": "minilm", "message": "first"},
        scope="admin",
    ),
    Operation(
        "publish/finish",
        "List and announce a release that was prepared or proposed here, now that it is signed",
        FinishRequest,
        Published,
        _finish,
        streams=True,
        example={"file": "/data/minilm-01234567.p2phub", "tag": "v1"},
        scope="admin",
    ),
    Operation(
        "proposals",
        "Releases of our own publisher that wait for signatures",
        Nothing,
        Proposal,
        lambda node, request, report: node.proposals.list(),
        under="proposals",
        method="GET",
    ),
    Operation(
        "proposals/sign",
        "Add the signatures of the keys here to a release that waits for some; list it if they are"
        " enough",
        SignProposal,
        Proposal,
        lambda node, request, report: node.proposals.sign(
            request.commit, request.sign_with, report
        ),
        streams=True,
        example={"commit": "0123456789abcdef"},
        scope="admin",
    ),
    Operation(
        "proposals/fetch",
        "Bring the files of a release that waits for signatures, to look at them before signing",
        FetchProposal,
        Proposal,
        _fetch,
        streams=True,
        example={"commit": "0123456789abcdef", "to": "/data/to-look-at"},
    ),
    Operation(
        "proposals/rm",
        "Forget a release that waits for signatures, and its files",
        DropProposal,
        Proposal,
        lambda node, request, report: node.proposals.drop(request.commit),
        example={"commit": "0123456789abcdef"},
    ),
)
