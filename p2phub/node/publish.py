"""Publish a folder: hash, sign, pass our own gate, keep, announce.

The order makes a crash harmless. Files become blobs first (nobody knows of them yet), then the
release, the pages, the index and the head are signed and offered to this node's own gate, which
refuses what a peer's would refuse. The row that names the new head is written last; until then the
old release is what everybody sees, and a second `publish` finds the blobs already here."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from p2phub.errors import NotFoundError, UsageError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.card import card_from_readme
from p2phub.formats.documents import has_control
from p2phub.formats.ids import PublisherId, RepoId, check_name, check_new_ref, commit_id
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.paths import is_pickle
from p2phub.formats.publisher import (
    Ref,
    RepoEntry,
)
from p2phub.node.events import FileDone, Planned, Report, Warned
from p2phub.node.folder import FolderFile, files_in
from p2phub.node.own_index import RELEASE_KEY, Author, sign_index
from p2phub.node.progress import reporting
from p2phub.node.resolve import catch_up
from p2phub.node.services import Services
from p2phub.node.values import Published, PublishRequest
from p2phub.protocol.seeds import NO_SEEDS, filled, layouts_of, seed_layouts
from p2phub.store.ingest import Ingested
from p2phub.store.layout import Layout
from p2phub.trust import envelope
from p2phub.trust.keys import SigningKey

TELL_PATIENCE = 5.0
"""Seconds that `publish` waits for the DHT to take the new head; it goes on in the background."""


async def publish(services: Services, request: PublishRequest, report: Report) -> Published:
    """Sign and announce the files of a folder as a new release of `request.name`.

    Without `request.seeds` it keeps the web seeds of the last release. A folder that holds exactly
    what the repo holds already makes no new release: the one that is there is announced again, and
    tagged if a tag is asked for. Raises `UsageError` (folder, name, tag, no publisher),
    `UnsafePathError`, `FileChangedError`, `NoSpaceError`, `RefusedError`."""
    check_name(request.name)
    if request.tag is not None:
        check_new_ref(request.tag)
    if request.tag == "main":
        raise UsageError(
            "main is the branch that every release moves, and no tag",
            remedy="choose another name for the tag",
        )
    message = _message(request.message)
    layouts = seed_layouts(request.seeds)
    author = await services.on_disk(_author, services, request.sign_with)
    await services.on_disk(_keep_keys_home, request.folder, services.store.layout)
    folder = await services.on_disk(files_in, request.folder, services.store.layout.blobs)
    _warn_of_pickles(folder, report)
    files, hashed = await _ingest(services, request, folder, report)
    card = await services.on_disk(_card_of, services, files, report)
    async with services.signing:  # two at once would each leave the other out of the index
        await catch_up(services, author.publisher)
        if not request.seeds:
            layouts = await services.on_disk(_former_seeds, services, author, request.name, report)
        files = tuple(_with_seeds(file, layouts, author.publisher, request.name) for file in files)
        digest, release = await services.on_disk(
            _sign_and_keep, services, author, request, message, files, card, report
        )
    services.announcer.publisher(author.publisher, changed=True)
    services.announcer.release(digest)
    for file in files:
        if file.size > limits.MIN_BIG_FILE:
            services.announcer.file(file.sha256)
    if services.network.peers():
        await services.announcer.told(author.publisher, TELL_PATIENCE)
    alias = (await services.on_disk(services.store.documents.aliases)).alias_of(author.publisher)
    return Published(
        ref=f"{alias or author.publisher}/{release.name}@{request.tag or 'main'}",
        commit=commit_id(digest),
        digest=digest.hex(),
        publisher_id=str(author.publisher),
        files=len(files),
        bytes=release.total_size,
        bytes_hashed=hashed,
    )


def _keep_keys_home(folder: Path, layout: Layout) -> None:
    """Raise `UsageError` for a folder in which the keys of this very node lie."""
    chosen, secret = folder.resolve(), [layout.keys.resolve(), layout.run.resolve()]
    if any(chosen == each or chosen in each.parents or each in chosen.parents for each in secret):
        raise UsageError(
            f"{folder} holds the keys of this node, which must stay here",
            remedy="name the folder of the model itself",
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


def _author(services: Services, sign_with: str | None) -> Author:
    publisher = services.store.documents.own_publisher()
    if publisher is None:
        raise UsageError(
            "this machine has no publisher identity yet", remedy="run `p2phub init` first"
        )
    name = sign_with or RELEASE_KEY
    seed = services.keyring.load(name)
    if seed is None:
        raise NotFoundError(
            f"there is no key named {name} in {services.keyring.path(name).parent}",
            remedy="restore it from the backup that `p2phub init` wrote",
        )
    return Author(publisher, SigningKey(seed))


def _warn_of_pickles(folder: Sequence[FolderFile], report: Report) -> None:
    pickles = ["/".join(file.path) for file in folder if is_pickle(file.path)]
    if pickles:
        report(
            Warned(
                f"files that run code when they are loaded: {', '.join(pickles[:5])}",
                remedy="convert them to safetensors; pulls leave them out unless asked",
            )
        )


async def _ingest(
    services: Services, request: PublishRequest, folder: Sequence[FolderFile], report: Report
) -> tuple[tuple[FileEntry, ...], int]:
    """Every file as a blob of ours, and its entry. The bytes that had to be hashed for it."""
    total = sum(file.size for file in folder)
    report(Planned(files=len(folder), bytes_total=total, bytes_linked=0, bytes_to_fetch=0))
    async with reporting(total, report) as progress:
        found = await services.on_disk(
            services.store.blobs.ingest_many,
            [file.source for file in folder],
            progress.add,
            in_place=request.in_place,
            rehash=request.rehash,
        )
    for file, each in zip(folder, found, strict=True):
        if file.sha256 not in (None, each.sha256):
            await services.on_disk(services.store.blobs.remove, each.content)
            raise WrongBytesError(
                f"{file.source} is damaged: its SHA-256 is not what its name says",
                remedy="download the model again where it came from",
            )
    entries = tuple(map(_entry, folder, found))
    for entry in entries:
        report(FileDone("/".join(entry.path), entry.size))
    return entries, sum(each.bytes_hashed for each in found)


def _entry(file: FolderFile, found: Ingested) -> FileEntry:
    return FileEntry(
        path=file.path,
        size=found.content.size,
        sha256=found.sha256,
        content=found.content,
        git_sha1=found.git_sha1,
    )


def _with_seeds(
    file: FileEntry, layouts: Sequence[str], publisher: PublisherId, name: str
) -> FileEntry:
    """The file and where web servers have it."""
    path, content = "/".join(file.path), str(file.content)
    urls = [
        filled(layout, publisher=str(publisher), name=name, path=path, content=content)
        for layout in layouts
    ]
    if any(len(url) > limits.MAX_SEED for url in urls):
        raise UsageError(
            f"the web seed of {path} is too long",
            remedy=f"an address may have {limits.MAX_SEED} characters",
        )
    return replace(file, seeds=tuple(urls))


def _former_seeds(services: Services, author: Author, name: str, report: Report) -> tuple[str, ...]:
    """The web seeds of the release that `main` names, if there is one."""
    before = _entry_of(services, author.publisher, name)
    release = _release_of_main(services, before)
    layouts = layouts_of(release[1].files) if release is not None else ()
    if layouts:
        named = ", ".join(layouts)
        report(
            Warned(
                f"the web seeds stay those of the last release: {named}",
                remedy=f"`--seed {NO_SEEDS}` takes them away, `--seed URL` names others",
            )
        )
    return layouts


def _card_of(services: Services, files: Sequence[FileEntry], report: Report) -> Card:
    readme = next((file for file in files if file.path == ("README.md",)), None)
    if readme is None or readme.size > limits.MAX_README:
        report(Warned("there is no README.md", remedy="search finds models by what it says"))
        return Card()
    with os.fdopen(services.store.blobs.open_verified(readme.content), "rb") as file:
        card, warning = card_from_readme(file.read().decode("utf-8", errors="replace"))
    if warning:
        report(Warned(f"README.md: {warning}", remedy="mend its YAML front matter"))
    return card


def _sign_and_keep(
    services: Services,
    author: Author,
    request: PublishRequest,
    message: str,
    files: tuple[FileEntry, ...],
    card: Card,
    report: Report,
) -> tuple[bytes, Release]:
    knowledge = services.knowledge
    state = knowledge.state(author.publisher)
    before = _entry_of(services, author.publisher, request.name)
    known = _unchanged(services, before, files, request)
    if known is not None:
        report(Warned(f"nothing changed since commit {commit_id(known[0])}"))
        digest, release, signed = *known, None
    else:
        release = Release(
            publisher=author.publisher.digest,
            name=request.name,
            kind=request.kind,
            created=services.now(),
            files=files,
            total_size=sum(file.size for file in files),
            message=message,
            parents=(before.refs["main"].release,) if before and "main" in before.refs else (),
            card=card,
        )
        signed = envelope.sign(release, [author.key])
        digest = signed.digest
    moves = {"main": digest} | ({request.tag: digest} if request.tag else {})
    if signed is not None or _moves_anything(before, moves):
        entry = _moved(before, release, moves, (state.seq if state else 0) + 1, request.tag)
        sign_index(services, author, state, entry, signed)
    elif before is not None:  # perhaps a crash came before it could be searched
        services.store.repos.record(author.publisher, before)
    repo = RepoId(author.publisher, request.name)
    commit = commit_id(digest)
    services.store.snapshots.present(
        repo, commit, [(file.path, file.content) for file in release.files]
    )
    services.store.repos.pulled(
        author.publisher, request.name, commit, digest=digest, ref="main", now=services.now()
    )
    return digest, release


def _entry_of(services: Services, publisher: PublisherId, name: str) -> RepoEntry | None:
    if services.knowledge.state(publisher) is None:
        return None
    with contextlib.suppress(NotFoundError):
        found = services.knowledge.find(publisher, name)
        if isinstance(found, RepoEntry):
            return found
        if found.damage is not None:
            raise found.damage
    return None


def _unchanged(
    services: Services,
    before: RepoEntry | None,
    files: tuple[FileEntry, ...],
    request: PublishRequest,
) -> tuple[bytes, Release] | None:
    """The release that `main` names, if it has these very files and kind."""
    found = _release_of_main(services, before)
    if found is None:
        return None
    same = found[1].files == files and found[1].kind == request.kind
    return found if same else None


def _release_of_main(services: Services, before: RepoEntry | None) -> tuple[bytes, Release] | None:
    if before is None or "main" not in before.refs:
        return None
    digest = before.refs["main"].release
    accepted = services.knowledge.document(digest, Release)
    if accepted is None or not isinstance(accepted.document, Release):
        return None
    return digest, accepted.document


def _moves_anything(before: RepoEntry | None, moves: dict[str, bytes]) -> bool:
    refs = before.refs if before else {}
    return any(name not in refs or refs[name].release != to for name, to in moves.items())


def _moved(
    before: RepoEntry | None, release: Release, moves: dict[str, bytes], seq: int, tag: str | None
) -> RepoEntry:
    refs = dict(before.refs) if before else {}
    for name, digest in moves.items():
        if name not in refs or refs[name].release != digest:
            refs[name] = Ref(release=digest, seq=seq, tag=name == tag)
    return RepoEntry(
        name=release.name,
        kind=release.kind,
        refs=refs,
        card=release.card,
        size=release.total_size,
        created=release.created,
    )
