"""A pulled release in an OCI image layout, or in the folder of models that Ollama keeps.

Both name files by their SHA-256, which is the signer's word until the bytes were hashed here: that
is done first, once. Blobs go there before the manifest, and what names the manifest goes last.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from p2phub.errors import UsageError
from p2phub.formats import gguf, gguf_metadata
from p2phub.formats.ids import Reference, is_commit_id
from p2phub.formats.images import (
    MAX_INDEX,
    OCI_LAYOUT,
    oci_image,
    oci_index,
    ollama_files,
    ollama_image,
    ollama_name,
)
from p2phub.formats.limits import MAX_HEADER
from p2phub.formats.manifest import FileEntry
from p2phub.formats.tensors import More
from p2phub.node.caching import hash_all
from p2phub.node.events import Report
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease, called
from p2phub.node.services import Services
from p2phub.node.values import PullRequest
from p2phub.store.excerpt import read_excerpt
from p2phub.store.images import ImageFolder, image_folder
from p2phub.store.store import Store

FIRST: Final = 1 << 20
"""Bytes of a GGUF file that are read at first."""
LAYOUTS: Final = ("oci", "ollama")


def check_image(request: PullRequest) -> None:
    """Raise `UsageError`, before anything is fetched, where nothing can be put."""
    if request.to is None:
        raise UsageError(
            f"the layout {request.layout} needs a folder",
            remedy="say which with --to; Ollama looks in ~/.ollama/models or $OLLAMA_MODELS",
        )


def files_of_image(files: Sequence[FileEntry], layout: str) -> tuple[FileEntry, ...]:
    """Those of the files that go there. Raises `UsageError` if there is no model among them."""
    if layout != "ollama":
        return tuple(files)
    kinds = ollama_files(files)
    return tuple(file for file in files if file.path in kinds)


async def put_into_images(
    services: Services,
    resolved: ResolvedRelease,
    request: PullRequest,
    files: Sequence[FileEntry],
    report: Report,
) -> Path:
    """Put these files, all of which are here, into the folder `request.to`; what names them there.

    Raises `WrongBytesError` for a file that is not what its signer called it, and what
    `ImageFolder` raises.
    """
    assert request.to is not None
    await hash_all(services, resolved, files, report)
    put = _put_oci if request.layout == "oci" else _put_ollama
    return await services.on_disk(put, services, resolved, request, files, request.to)


def _put_oci(
    services: Services,
    resolved: ResolvedRelease,
    request: PullRequest,
    files: Sequence[FileEntry],
    to: Path,
) -> Path:
    publisher, name, revision = _called(services, resolved, request)
    image = oci_image(resolved.release, resolved.commit, f"{publisher}/{name}", files)
    with image_folder(to, services.store.blobs, services.store.disk) as folder:
        before = folder.read(("index.json",), MAX_INDEX)
        index = oci_index(before, image, f"{publisher}/{name}:{revision}")
        for file in files:
            folder.put_file(("blobs", "sha256", file.sha256.hex()), file, links=False)
        for digest, data in zip(image.digests, (image.manifest, image.config), strict=True):
            folder.put_bytes(("blobs", "sha256", digest.hex()), data)
        folder.put_bytes(("oci-layout",), OCI_LAYOUT)
        folder.put_bytes(("index.json",), index)
    return to.absolute()


def _put_ollama(
    services: Services,
    resolved: ResolvedRelease,
    request: PullRequest,
    files: Sequence[FileEntry],
    to: Path,
) -> Path:
    where = ollama_name(*_called(services, resolved, request))
    kinds = ollama_files(files)
    model = next(path for path, kind in kinds.items() if kind == "model")
    metadata, parameters = _described(
        services.store, next(file for file in files if file.path == model)
    )
    image = ollama_image(kinds, files, metadata, parameters)
    with image_folder(to, services.store.blobs, services.store.disk) as folder:
        for file in files:
            folder.put_file(("blobs", f"sha256-{file.sha256.hex()}"), file, links=folder.is_own)
        _put_made(folder, image.digests[1], image.config)
        folder.put_bytes(where, image.manifest)
    return to.absolute().joinpath(*where)


def _described(store: Store, file: FileEntry) -> tuple[Mapping[str, Any], int]:
    """What a GGUF file that is here says of itself, and how many numbers are in it.

    Raises `MalformedError`.
    """
    data, wanted = b"", min(FIRST, file.size)
    while True:
        data = read_excerpt(store.blobs, store.partials, file.content, ((0, wanted),))
        found = gguf.parse(data, file.size)
        if not isinstance(found, More):
            break
        wanted = min(found.total, file.size, MAX_HEADER)
    metadata = gguf_metadata.read(data, MAX_HEADER)
    count = sum(math.prod(each.shape) for each in found.tensors)
    return {} if isinstance(metadata, More) else metadata, count


def _put_made(folder: ImageFolder, digest: bytes, data: bytes) -> None:
    folder.put_bytes(("blobs", f"sha256-{digest.hex()}"), data)


def _called(
    services: Services, resolved: ResolvedRelease, request: PullRequest
) -> tuple[str, str, str]:
    """As it was asked for: publisher, name, and a ref or the beginning of the commit."""
    reference = Reference.parse(request.reference)
    publisher = reference.publisher or called(services.store, resolved.repo.publisher)
    revision = reference.revision or DEFAULT_REVISION
    tag = resolved.commit[:12] if is_commit_id(revision) else revision
    return str(publisher), resolved.repo.name, tag
