"""Bring the files of a folder into the store as blobs, and describe them as a release does.

Files become blobs before anybody knows of them, so a crash here costs nothing but a second run.
What people should hear of (files that run code, a card that cannot be read) is reported.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from p2phub.errors import UsageError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.card import card_from_readme
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Card, FileEntry
from p2phub.formats.paths import is_pickle
from p2phub.node.events import FileDone, Planned, Report, Warned
from p2phub.node.folder import FolderFile
from p2phub.node.parameters import counted
from p2phub.node.progress import reporting
from p2phub.node.services import Services
from p2phub.protocol.seeds import filled
from p2phub.store.ingest import Ingested
from p2phub.store.layout import Layout


def keep_keys_home(folder: Path, layout: Layout) -> None:
    """Raise `UsageError` for a folder in which the keys of this very node lie."""
    chosen, secret = folder.resolve(), [layout.keys.resolve(), layout.run.resolve()]
    if any(chosen == each or chosen in each.parents or each in chosen.parents for each in secret):
        raise UsageError(
            f"{folder} holds the keys of this node, which must stay here",
            remedy="name the folder of the model itself",
        )


def warn_of_pickles(folder: Sequence[FolderFile], report: Report) -> None:
    pickles = ["/".join(file.path) for file in folder if is_pickle(file.path)]
    if pickles:
        report(
            Warned(
                f"files that run code when they are loaded: {', '.join(pickles[:5])}",
                remedy="convert them to safetensors; pulls leave them out unless asked",
            )
        )


async def ingest(
    services: Services,
    folder: Sequence[FolderFile],
    report: Report,
    *,
    in_place: bool = False,
    rehash: bool = False,
) -> tuple[tuple[FileEntry, ...], int]:
    """Every file as a blob of ours, and its entry. The bytes that had to be hashed for it."""
    total = sum(file.size for file in folder)
    report(Planned(files=len(folder), bytes_total=total, bytes_linked=0, bytes_to_fetch=0))
    async with reporting(total, report) as progress:
        found = await services.on_disk(
            services.store.blobs.ingest_many,
            [file.source for file in folder],
            services.pressure.shared(progress.add),
            in_place=in_place,
            rehash=rehash,
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


def with_seeds(
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


def card_of(services: Services, files: Sequence[FileEntry], report: Report) -> Card:
    readme = next((file for file in files if file.path == ("README.md",)), None)
    if readme is None or readme.size > limits.MAX_README:
        report(Warned("there is no README.md", remedy="search finds models by what it says"))
        return counted(services, Card(), files)
    with os.fdopen(services.store.blobs.open_verified(readme.content), "rb") as file:
        card, warning = card_from_readme(file.read().decode("utf-8", errors="replace"))
    if warning:
        report(Warned(f"README.md: {warning}", remedy="mend its YAML front matter"))
    return counted(services, card, files)
