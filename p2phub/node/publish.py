"""Publish a folder: hash, sign, pass our own gate, keep, announce.

The order makes a crash harmless. Files become blobs first (nobody knows of them yet), then the
release, the pages, the index and the head are signed and offered to this node's own gate, which
refuses what a peer's would refuse. The row that names the new head is written last; until then the
old release is what everybody sees, and a second `publish` finds the blobs already here."""

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from p2phub.errors import NoSourceError, UntrustedError, UsageError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId, check_name, check_new_ref, commit_id
from p2phub.formats.manifest import Release
from p2phub.node.author import author_of, own_delegation, require_may_write, signers_of
from p2phub.node.desk import require_own_papers
from p2phub.node.drafting import Draft, message_of, release_after
from p2phub.node.drafting_lineage import is_same, lineage_of, named_base, warn_of_no_base
from p2phub.node.events import Report, Warned
from p2phub.node.folder import files_in
from p2phub.node.ingesting import card_of, ingest, keep_keys_home, warn_of_pickles
from p2phub.node.listing import expect, list_release, release_of
from p2phub.node.model_signature import with_model_signature
from p2phub.node.other_writers import hear_other_writers
from p2phub.node.own_history import Base, base_of
from p2phub.node.own_index import adopt_identity, on_newest
from p2phub.node.proposals import (
    Proposed,
    keep,
    like,
    parcel_path,
    proposed,
    with_known_signatures,
    write_parcel,
)
from p2phub.node.resolve import bring_manifest
from p2phub.node.services import Services
from p2phub.node.values import Pending, Published, PublishRequest
from p2phub.protocol.seeds import seed_layouts
from p2phub.trust import envelope
from p2phub.trust.envelope import Envelope
from p2phub.trust.merging import MAIN

TELL_PATIENCE = 5.0
"""Seconds that `publish` waits for the DHT to take the new head; it goes on in the background."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a draft."""

    digest: bytes
    release: Release
    pending: Pending | None = None


async def publish(services: Services, request: PublishRequest, report: Report) -> Published:
    """Sign and announce the files of a folder as a new release of `request.name`.

    Without `request.seeds` it keeps the web seeds of the last release. A folder that holds exactly
    what the repo holds already makes no new release: the one that is there is announced again, and
    tagged if a tag is asked for. What more keys must sign than are here, or is only to be prepared,
    is kept and announced to nobody. Raises `UsageError` (folder, name, tag, no publisher),
    `UnsafePathError`, `FileChangedError`, `NoSpaceError`, `RefusedError`, `UntrustedError` for what
    a peer's gate would refuse, and what looking up `request.base` raises."""
    check_name(request.name)
    check_tag(request.tag)
    message = message_of(request.message)
    layouts = seed_layouts(request.seeds)
    own = await services.on_disk(_publisher, services, request)
    base = await named_base(services, request, report)
    await services.on_disk(keep_keys_home, request.folder, services.store.layout)
    folder = await services.on_disk(files_in, request.folder, services.store.layout.blobs)
    warn_of_pickles(folder, report)
    files, hashed = await ingest(
        services, folder, report, in_place=request.in_place, rehash=request.rehash
    )
    card = await services.on_disk(card_of, services, files, report)
    lineage = lineage_of(request, base, files)
    draft = Draft(request, message, layouts, files, card, lineage)
    async with services.signing:  # two at once would each leave the other out of the index
        await come_up_to_date(services, own, request.name)
        sign = partial(sign_and_keep, services, own, draft, report)
        made = await on_newest(services, own, sign)
    if made.pending is None:
        await announce(services, own, made.digest, made.release)
    return await services.on_disk(published, services, made, request.tag, hashed)


def published(services: Services, made: Outcome, tag: str | None, hashed: int = 0) -> Published:
    """What people are told of it."""
    publisher = PublisherId(made.release.publisher)
    alias = services.store.documents.aliases().alias_of(publisher)
    commit = commit_id(made.digest)
    revision = commit if made.pending is not None else tag or MAIN
    return Published(
        ref=f"{alias or publisher}/{made.release.name}@{revision}",
        commit=commit,
        digest=made.digest.hex(),
        publisher_id=str(publisher),
        files=len(made.release.files),
        bytes=made.release.total_size,
        bytes_hashed=hashed,
        pending=made.pending,
    )


def _publisher(services: Services, request: PublishRequest) -> PublisherId:
    """Who publishes. To prepare a release, no key has to be here."""
    if request.prepare is None:
        return author_of(services, request.sign_with).publisher
    return require_own_papers(services.store.documents).publisher


def check_tag(tag: str | None) -> None:
    """Raise `UsageError` for what no release may be tagged with."""
    if tag is not None:
        check_new_ref(tag)
    if tag == MAIN:
        raise UsageError(
            "main is the branch that every release moves, and no tag",
            remedy="choose another name for the tag",
        )


async def come_up_to_date(services: Services, own: PublisherId, name: str, ref: str = MAIN) -> None:
    """Learn what our publisher's other nodes wrote, and the release of this repo that it led to."""
    await hear_other_writers(services, own)
    await services.on_disk(adopt_identity, services, own)
    base = await on_newest(services, own, partial(base_of, services, own))
    before = base.entry(name)
    for each in {MAIN, ref} & set(before.refs if before is not None else ()):
        assert before is not None
        await services.on_disk(expect, services, own, before, each)
        with contextlib.suppress(NoSourceError, UntrustedError):
            await bring_manifest(services, own, before.refs[each].release)


def sign_and_keep(services: Services, own: PublisherId, draft: Draft, report: Report) -> Outcome:
    """Sign what a draft says and list it; in a thread, while `Services.signing` is held."""
    base, request = base_of(services, own), draft.request
    entry = base.entry(request.name)
    main = release_of(services, own, entry, draft.ref) or release_of(services, own, entry)
    if request.oms:
        last = main[1] if main is not None else None
        files = with_model_signature(services, own, request.name, draft.files, last, report)
        draft = replace(draft, files=files)
    release = release_after(services, own, draft, base, main, report)
    if main is not None and is_same(request, main[1], release):
        return _unchanged(services, base, main, draft, report)
    warn_of_no_base(request, release, report)
    known = like(services, release)
    if request.prepare is not None:
        return _prepare(services, release, known, request, request.prepare)
    author = author_of(services, request.sign_with)
    keys = signers_of(services, author, request.sign_with)
    payload = known.signed.payload if known is not None else release.to_payload()
    signed = envelope.sign_payload(Release.TYPE, payload, keys)
    made = proposed(own_delegation(services), with_known_signatures(services, signed))
    if not made.counted:  # with what is wrong with the key
        require_may_write(own_delegation(services), keys[0], release.created, release.name)
    if not made.is_enough:
        kept = keep(services, made, tag=request.tag, ours=True)
        return _pending(kept, request.proposal_file)
    list_release(
        services,
        author,
        base,
        made.digest,
        made.release,
        request.tag,
        made.signed,
        ref=draft.ref,
    )
    services.store.proposals.drop(made.digest)
    return Outcome(made.digest, made.release)


def _unchanged(
    services: Services,
    base: Base,
    main: tuple[bytes, Release],
    draft: Draft,
    report: Report,
) -> Outcome:
    """The release that is there already, perhaps with a tag."""
    request = draft.request
    if request.prepare is not None:
        raise UsageError(
            f"nothing changed since commit {commit_id(main[0])}: there is nothing to prepare",
            remedy="publish without --prepare to tag that release",
        )
    report(Warned(f"nothing changed since commit {commit_id(main[0])}"))
    author = author_of(services, request.sign_with)
    list_release(services, author, base, *main, request.tag, ref=draft.ref)
    return Outcome(*main)


def _prepare(
    services: Services,
    release: Release,
    known: Proposed | None,
    request: PublishRequest,
    file: Path,
) -> Outcome:
    """Keep the release unsigned, and write it to a file."""
    signed = Envelope(Release.TYPE, release.to_payload(), ()) if known is None else known.signed
    made = proposed(own_delegation(services), signed)
    return _pending(keep(services, made, tag=request.tag, ours=True), file)


def _pending(made: Proposed, wanted: Path | None) -> Outcome:
    path = None
    if wanted is not None:
        path = parcel_path(wanted, made.release.name, made.digest)
        write_parcel(path, made.signed)
    pending = Pending(len(made.counted), made.needed, str(path) if path is not None else None)
    return Outcome(made.digest, made.release, pending)


async def announce(services: Services, own: PublisherId, digest: bytes, release: Release) -> None:
    """Tell the network of a release that was listed."""
    services.announcer.publisher(own, changed=True)
    services.announcer.release(digest)
    for file in release.files:
        if file.size > limits.MIN_BIG_FILE:
            services.announcer.file(file.sha256)
    if services.network.peers():
        await services.announcer.told(own, TELL_PATIENCE)
