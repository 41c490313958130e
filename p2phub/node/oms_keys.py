"""The keys of model signatures: certified by the root, and shown to whoever wants to check.

A publisher made by `init` has one, certified from its first delegation on. Here an older publisher
gets one, another machine's key is certified too, and one that was stolen gives way: a delegation
without it is enough, since only the current one counts.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats.parcel import Parcel
from p2phub.node.changing import delegated, root_signers
from p2phub.node.desk import Desk, require_own_papers
from p2phub.node.publics import papers_of
from p2phub.store.disk import disk_errors
from p2phub.store.keyring import OMS, Keyring
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import SEED_SIZE
from p2phub.trust.model_keys import ModelKey, hint, to_pem
from p2phub.trust.model_signatures import certified
from p2phub.trust.secrets import RootSecret


@dataclass(frozen=True, slots=True)
class Exported:
    """A key to show, and what it is worth."""

    publisher_id: str
    key: bytes
    """A compressed point."""
    certified: bool
    """Whether the newest delegation known here names it."""


def certify(
    desk: Desk, secret: RootSecret | None, key: bytes | None = None, *, alone: bool
) -> Parcel:
    """Let the root certify `key`, or the one of this machine, which is made if there is none.

    `alone`: in the place of the others. Raises `UsageError` if it is certified already or `secret`
    does not make the root, `RefusedError` if there is no room for it or the publisher has forked.
    """
    papers = require_own_papers(desk.store.documents)
    signers = root_signers(papers, secret)
    state = desk.knowledge.state(papers.publisher)
    if state is not None and state.forked:
        raise RefusedError(
            f"this publisher has forked: {state.forked}",
            remedy="settle that first: see `p2phub key remove --help`",
        )
    new = key or held(desk.keyring, make=True).public
    made = certified(papers.identity.delegation, new, alone=alone)
    return delegated(desk, papers, made, signers)


def held(keyring: Keyring, *, make: bool = False) -> ModelKey:
    """The key of this machine. Raises `NotFoundError` if there is none and none is to be made."""
    seed = keyring.load(OMS)
    if seed is None and not make:
        raise NotFoundError(
            "this machine has no key of model signatures",
            remedy="`p2phub key certify-oms` makes one and lets the root certify it",
        )
    if seed is None:
        seed = SecretBytes(secrets.token_bytes(SEED_SIZE))
        keyring.save(OMS, seed)
    return ModelKey(seed)


def export(desk: Desk, who: str | None, which: str | None, *, make: bool = False) -> Exported:
    """The public key of a publisher: of the one that is named, or of this machine's own.

    `which`: how the hint of the key begins, where there are several. Raises `NotFoundError` for a
    publisher or a key that is not known, `UsageError` if several fit.
    """
    papers = papers_of(desk, who)
    known = papers.identity.delegation.oms_keys
    if who is None and which is None:
        key = held(desk.keyring, make=make).public
        return Exported(str(papers.publisher), key, key in known)
    key = _one_of(known, which or "")
    return Exported(str(papers.publisher), key, True)


def write_pem(path: Path, key: bytes) -> None:
    """A new file with a public key, for everybody to read. Raises `RefusedError` if it exists."""
    with disk_errors(path):
        try:
            with path.open("xb") as file:
                file.write(to_pem(key))
        except FileExistsError:
            raise RefusedError(
                f"{path} exists and is never overwritten", remedy="give another file name"
            ) from None


def _one_of(keys: Sequence[bytes], which: str) -> bytes:
    found = [key for key in keys if hint(key).startswith(which.lower())]
    if not found:
        raise NotFoundError(
            "the root of this publisher has certified no such key of model signatures"
            if which
            else "the root of this publisher has certified no key of model signatures"
        )
    if len(found) > 1:
        raise UsageError(
            f"several keys fit: {', '.join(hint(key)[:16] for key in found)}",
            remedy="name one of them with --key",
        )
    return found[0]
