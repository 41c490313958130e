"""What a release is to say: the files of a folder, after the releases that came before it."""

from dataclasses import dataclass

from p2phub.errors import UsageError
from p2phub.formats import limits
from p2phub.formats.documents import has_control
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Card, FileEntry, Lineage, Release, Upstream
from p2phub.node.events import Report, Warned
from p2phub.node.ingesting import with_seeds
from p2phub.node.own_history import Base, parents_of_next
from p2phub.node.services import Services
from p2phub.node.values import PublishRequest
from p2phub.protocol.seeds import NO_SEEDS, layouts_of
from p2phub.trust.merging import MAIN


@dataclass(frozen=True, slots=True)
class Draft:
    """What a release is to say."""

    request: PublishRequest
    message: str
    layouts: tuple[str, ...]
    files: tuple[FileEntry, ...]
    card: Card
    lineage: tuple[Lineage, ...] = ()
    ref: str = MAIN
    """The branch that is to name it."""
    upstream: Upstream | None = None
    """The repo of another hub that it is a copy of."""


def message_of(text: str) -> str:
    """What a person says of a release, as a document may hold it. Raises `UsageError`."""
    plain = "\n".join(text.splitlines()).strip()
    if has_control(plain, lines=True) or len(plain.encode()) > limits.MAX_MESSAGE_TEXT:
        raise UsageError(
            "the message has control characters in it or is too long",
            remedy=f"write at most {limits.MAX_MESSAGE_TEXT} bytes of plain text",
        )
    return plain


def release_after(
    services: Services,
    own: PublisherId,
    draft: Draft,
    base: Base,
    main: tuple[bytes, Release] | None,
    report: Report,
) -> Release:
    """What the draft says, after the releases that came before it."""
    request = draft.request
    layouts = draft.layouts if request.seeds else _former_seeds(main, report)
    return Release(
        publisher=own.digest,
        name=request.name,
        kind=request.kind,
        created=services.now(),
        files=tuple(with_seeds(file, layouts, own, request.name) for file in draft.files),
        total_size=sum(file.size for file in draft.files),
        message=draft.message,
        parents=_parents(services, base, draft, main),
        card=draft.card,
        lineage=draft.lineage,
        upstream=draft.upstream,
    )


def _parents(
    services: Services, base: Base, draft: Draft, last: tuple[bytes, Release] | None
) -> tuple[bytes, ...]:
    """The releases that it follows. A branch has one writer at a time, and so no sides."""
    if draft.ref == MAIN:
        return parents_of_next(services, base, draft.request.name)
    return () if last is None else (last[0],)


def _former_seeds(main: tuple[bytes, Release] | None, report: Report) -> tuple[str, ...]:
    """The web seeds of the release that `main` names, if there is one."""
    layouts = layouts_of(main[1].files) if main is not None else ()
    if layouts:
        named = ", ".join(layouts)
        report(
            Warned(
                f"the web seeds stay those of the last release: {named}",
                remedy=f"`--seed {NO_SEEDS}` takes them away, `--seed URL` names others",
            )
        )
    return layouts
