"""Publish a folder: hash, sign, pass our own gate, keep, announce.

The order makes a crash harmless. Files become blobs first (nobody knows of them yet), then the
release, the pages, the index and the head are signed and offered to this node's own gate, which
refuses what a peer's would refuse. The row that names the new head is written last; until then the
old release is what everybody sees, and a second `publish` finds the blobs already here."""

import contextlib
from dataclasses import dataclass, replace

from p2phub.errors import NoSourceError, UntrustedError, UsageError
from p2phub.formats import limits
from p2phub.formats.documents import has_control
from p2phub.formats.ids import check_name, check_new_ref, commit_id
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.node.author import Author, author_of
from p2phub.node.events import Report, Warned
from p2phub.node.folder import files_in
from p2phub.node.ingesting import card_of, ingest, keep_keys_home, warn_of_pickles, with_seeds
from p2phub.node.listing import expect, list_release, release_of_main
from p2phub.node.model_signature import with_model_signature
from p2phub.node.other_writers import hear_other_writers
from p2phub.node.own_history import Base, base_of, parents_of_next
from p2phub.node.own_index import adopt_identity
from p2phub.node.resolve import bring_manifest
from p2phub.node.services import Services
from p2phub.node.values import Published, PublishRequest
from p2phub.protocol.seeds import NO_SEEDS, layouts_of, seed_layouts
from p2phub.trust import envelope
from p2phub.trust.merging import MAIN

TELL_PATIENCE = 5.0
"""Seconds that `publish` waits for the DHT to take the new head; it goes on in the background."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a release is to say."""

    request: PublishRequest
    message: str
    layouts: tuple[str, ...]
    files: tuple[FileEntry, ...]
    card: Card


async def publish(services: Services, request: PublishRequest, report: Report) -> Published:
    """Sign and announce the files of a folder as a new release of `request.name`.

    Without `request.seeds` it keeps the web seeds of the last release. A folder that holds exactly
    what the repo holds already makes no new release: the one that is there is announced again, and
    tagged if a tag is asked for. Raises `UsageError` (folder, name, tag, no publisher),
    `UnsafePathError`, `FileChangedError`, `NoSpaceError`, `RefusedError`."""
    check_name(request.name)
    check_tag(request.tag)
    message = _message(request.message)
    layouts = seed_layouts(request.seeds)
    author = await services.on_disk(author_of, services, request.sign_with)
    await services.on_disk(keep_keys_home, request.folder, services.store.layout)
    folder = await services.on_disk(files_in, request.folder, services.store.layout.blobs)
    warn_of_pickles(folder, report)
    files, hashed = await ingest(
        services, folder, report, in_place=request.in_place, rehash=request.rehash
    )
    card = await services.on_disk(card_of, services, files, report)
    draft = Draft(request, message, layouts, files, card)
    async with services.signing:  # two at once would each leave the other out of the index
        await come_up_to_date(services, author, request.name)
        digest, release = await services.on_disk(_sign_and_keep, services, author, draft, report)
    await announce(services, author, digest, release)
    alias = (await services.on_disk(services.store.documents.aliases)).alias_of(author.publisher)
    return Published(
        ref=f"{alias or author.publisher}/{release.name}@{request.tag or MAIN}",
        commit=commit_id(digest),
        digest=digest.hex(),
        publisher_id=str(author.publisher),
        files=len(release.files),
        bytes=release.total_size,
        bytes_hashed=hashed,
    )


def check_tag(tag: str | None) -> None:
    """Raise `UsageError` for what no release may be tagged with."""
    if tag is not None:
        check_new_ref(tag)
    if tag == MAIN:
        raise UsageError(
            "main is the branch that every release moves, and no tag",
            remedy="choose another name for the tag",
        )


def _message(text: str) -> str:
    """What a person says of a release, as a document may hold it. Raises `UsageError`."""
    plain = "\n".join(text.splitlines()).strip()
    if has_control(plain, lines=True) or len(plain.encode()) > limits.MAX_MESSAGE_TEXT:
        raise UsageError(
            "the message has control characters in it or is too long",
            remedy=f"write at most {limits.MAX_MESSAGE_TEXT} bytes of plain text",
        )
    return plain


async def come_up_to_date(services: Services, author: Author, name: str) -> None:
    """Learn what our publisher's other nodes wrote, and the release of this repo that it led to."""
    await hear_other_writers(services, author.publisher)
    await services.on_disk(adopt_identity, services, author.publisher)
    base = await services.on_disk(base_of, services, author.publisher)
    before = base.entry(name)
    if before is not None and MAIN in before.refs:
        await services.on_disk(expect, services, author.publisher, before)
        with contextlib.suppress(NoSourceError, UntrustedError):
            await bring_manifest(services, author.publisher, before.refs[MAIN].release)


def _sign_and_keep(
    services: Services, author: Author, draft: Draft, report: Report
) -> tuple[bytes, Release]:
    base, request = base_of(services, author.publisher), draft.request
    main = release_of_main(services, author.publisher, base.entry(request.name))
    if request.oms:
        last = main[1] if main is not None else None
        signed_files = with_model_signature(
            services, author.publisher, request.name, draft.files, last, report
        )
        draft = replace(draft, files=signed_files)
    release = _release(services, author, draft, base, main, report)
    if main is not None and (main[1].files, main[1].kind) == (release.files, release.kind):
        report(Warned(f"nothing changed since commit {commit_id(main[0])}"))
        list_release(services, author, base, *main, request.tag)
        return main
    signed = envelope.sign(release, [author.key])
    list_release(services, author, base, signed.digest, release, request.tag, signed)
    return signed.digest, release


def _release(
    services: Services,
    author: Author,
    draft: Draft,
    base: Base,
    main: tuple[bytes, Release] | None,
    report: Report,
) -> Release:
    """What the draft says, after the releases that came before it."""
    request = draft.request
    layouts = draft.layouts if request.seeds else _former_seeds(main, report)
    return Release(
        publisher=author.publisher.digest,
        name=request.name,
        kind=request.kind,
        created=services.now(),
        files=tuple(
            with_seeds(file, layouts, author.publisher, request.name) for file in draft.files
        ),
        total_size=sum(file.size for file in draft.files),
        message=draft.message,
        parents=parents_of_next(services, base, request.name),
        card=draft.card,
    )


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


async def announce(services: Services, author: Author, digest: bytes, release: Release) -> None:
    """Tell the network of a release that was listed."""
    services.announcer.publisher(author.publisher, changed=True)
    services.announcer.release(digest)
    for file in release.files:
        if file.size > limits.MIN_BIG_FILE:
            services.announcer.file(file.sha256)
    if services.network.peers():
        await services.announcer.told(author.publisher, TELL_PATIENCE)
