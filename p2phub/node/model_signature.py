"""`publish --oms`: a `model.sig` as one file of the release, about all the others.

No byte is read again: the statement is made from the SHA-256 values that the release has. The key
is the publisher's own of P-256, and one that the root has not certified would sign for nothing, so
that is said first.

A signature that says the same already is kept as it is: the one of the last release, or the one
that lies in the folder. So publishing the same files again makes no new release. Any other
`model.sig` in the folder gives way to the new one.
"""

from collections.abc import Iterable
from dataclasses import replace

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.oms import FILE_NAME, Statement, about
from p2phub.formats.publisher import Delegation
from p2phub.formats.sigstore import Bundle
from p2phub.node.author import own_delegation
from p2phub.node.events import Report, Warned
from p2phub.node.services import Services
from p2phub.store.blobs import Blobs
from p2phub.store.digests import read_small
from p2phub.store.keyring import OMS
from p2phub.store.made_files import keep_made
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.model_signatures import check, sign_statement

_PATH = (FILE_NAME,)


def with_model_signature(
    services: Services,
    publisher: PublisherId,
    name: str,
    files: Iterable[FileEntry],
    last: Release | None,
    report: Report,
) -> tuple[FileEntry, ...]:
    """`files` with the model signature of this publisher among them; `last`: the last release.

    Raises `NotFoundError` without a key of model signatures, `UntrustedError` if the root has not
    certified it, `UsageError` for too many files, `MalformedError` for names that are too long.
    """
    delegation = own_delegation(services)
    key = _certified_key(services, delegation)
    lying = {file.path: file for file in files}
    found = lying.pop(_PATH, None)
    before = next((file for file in last.files if file.path == _PATH), None) if last else None
    wanted = about(
        name, [(each.path, each.sha256) for each in lying.values()], publisher, delegation.digest
    )
    for known in (before, found):
        said = _said(services.store.blobs, known, delegation)
        if known is not None and said is not None and _is_the_same(said, wanted):
            return _in_order(lying.values(), replace(known, seeds=()))
    if found is not None and _said(services.store.blobs, found, delegation) is None:
        report(
            Warned(
                f"the {FILE_NAME} in the folder is not ours, and gives way to a new one",
                remedy="publish without --oms to publish it as it is",
            )
        )
    return _in_order(lying.values(), _made(services, sign_statement(wanted, key)))


def _certified_key(services: Services, delegation: Delegation) -> ModelKey:
    seed = services.keyring.load(OMS)
    if seed is None:
        raise NotFoundError(
            "this machine has no key of model signatures",
            remedy="`p2phub key certify-oms`, where the root of this publisher is, makes one",
        )
    key = ModelKey(seed)
    if key.public not in delegation.oms_keys:
        raise UntrustedError(
            "the root has not certified the key of model signatures of this machine",
            remedy="run `p2phub key certify-oms`, where the root of this publisher is",
        )
    return key


def _said(blobs: Blobs, file: FileEntry | None, delegation: Delegation) -> Statement | None:
    """What a signature says that is here and counts now; None for anything else."""
    if file is None:
        return None
    try:
        with blobs.opened(file.content) as fd:
            data = read_small(fd, limits.MAX_OMS, blobs.path(file.content))
        return check(Bundle.unpack(data or b""), delegation.oms_keys).statement
    except (NotFoundError, UntrustedError):
        return None


def _is_the_same(said: Statement, wanted: Statement) -> bool:
    """Whether it says what is wanted; it may name the delegation of the day it was made."""
    return replace(said, delegation=wanted.delegation) == wanted


def _made(services: Services, data: bytes) -> FileEntry:
    store = services.store
    found = keep_made(data, store.layout, store.disk, store.blobs)
    content = found.content
    return FileEntry(_PATH, content.size, found.sha256, content, found.git_sha1)


def _in_order(files: Iterable[FileEntry], signature: FileEntry) -> tuple[FileEntry, ...]:
    return tuple(sorted((*files, signature), key=lambda file: file.path))
