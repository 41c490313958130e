"""The base of a release that is published: named by a reference, signed by its digest.

What the reference stands for now is looked up once; what is signed can then be moved to no other
release, neither by a name nor by a model card, and an adapter is served on those bytes only
(`adapters`).

Rules it keeps:
 * the base that is named is a release that the gate takes, here or from a peer;
 * an adapter is not made for another adapter;
 * nothing is signed of a base that nobody named: `adapter_config.json` and the card name one as
   well, by a name of another hub, and are no more than text.
"""

from typing import Final

from p2phub.errors import UsageError
from p2phub.formats.ids import Reference
from p2phub.formats.manifest import FileEntry, Lineage, Release
from p2phub.node.adapters import ADAPTER, is_adapter
from p2phub.node.events import Report, Warned
from p2phub.node.locate import ResolvedRelease
from p2phub.node.pull import obey_policy
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.node.values import PublishRequest

FINETUNE: Final = "finetune"
RELATIONS: Final = (ADAPTER, FINETUNE, "merge", "quantized")
"""How a release can be made from another, in the words of Hugging Face."""


async def named_base(
    services: Services, request: PublishRequest, report: Report
) -> ResolvedRelease | None:
    """The release that `request.base` names now, from this disk or from a peer.

    Raises `UsageError` for a relation that is none, and what `resolve` raises.
    """
    if request.relation is not None and request.relation not in RELATIONS:
        raise UsageError(
            f"{request.relation!r} is no relation to a base",
            remedy=f"it is one of {', '.join(RELATIONS)}",
        )
    if request.base is None:
        if request.relation is not None:
            raise UsageError(
                f"it is not said of what it is the {request.relation}",
                remedy="name the base with --base REF",
            )
        return None
    base = await resolve(services, Reference.parse(request.base))
    await obey_policy(services, base, report)
    return base


def lineage_of(
    request: PublishRequest, base: ResolvedRelease | None, files: tuple[FileEntry, ...]
) -> tuple[Lineage, ...]:
    """What the new release is to say of its base. Raises `UsageError` for one of an adapter."""
    if base is None:
        return ()
    relation = request.relation or (ADAPTER if _is_adapter(request, files) else FINETUNE)
    if relation == ADAPTER and is_adapter([file.path for file in base.release.files]):
        raise UsageError(
            f"{base.called} is an adapter itself: none can be made for it",
            remedy="name the model that it was trained on with --base REF",
        )
    return (Lineage(relation, base.digest),)


def is_same(request: PublishRequest, last: Release, new: Release) -> bool:
    """Whether a new release would say nothing that the last one does not say."""
    same = (last.files, last.kind, last.upstream) == (new.files, new.kind, new.upstream)
    return same and (request.base is None or last.lineage == new.lineage)


def warn_of_no_base(request: PublishRequest, release: Release, report: Report) -> None:
    """Tell of an adapter that nobody will be able to serve."""
    if _is_adapter(request, release.files) and not release.lineage:
        command = f"p2phub publish {request.folder} {request.name} --base REF"
        report(
            Warned(
                "this is an adapter that does not name its base: nobody can serve it",
                remedy=f"`{command}` names the release that it was trained on",
            )
        )


def _is_adapter(request: PublishRequest, files: tuple[FileEntry, ...]) -> bool:
    return request.kind == "model" and is_adapter([file.path for file in files])
