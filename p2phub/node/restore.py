"""Become a publisher again on a new machine, from its backup and its recovery phrase.

What is restored: the release keys, the documents that say who the publisher is, and with a
passphrase the locked master. What was published is not in a backup: it comes back from peers, and
so does what the publisher said last. Until then its owner had better publish nothing. Where even
the backup is lost, the phrase and the public documents, which every peer has, bring the root back;
it then lets in a new release key.

Rules it keeps:
 * nothing here is overwritten: another publisher, another key of that name, newer documents;
 * the documents are verified before anything is written;
 * it can be run again after it was interrupted: keys first, the row that says who we are last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from p2phub.config import Config
from p2phub.errors import MalformedError, RefusedError, UntrustedError
from p2phub.formats.ids import check_alias
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.initialise import (
    RELEASE,
    Initialised,
    first_documents,
    node_seed,
    pin_own,
    write_settings,
)
from p2phub.node.parcel_files import read_parcel_file
from p2phub.store.backup import Backup, read_backup
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.keyring import ROOT, Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.envelope import unpack
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers, find_papers
from p2phub.trust.parcels import envelopes
from p2phub.trust.secrets import Master, RootSecret


@dataclass(frozen=True, slots=True)
class _Restorable:
    """What a file gives back of a publisher."""

    papers: Papers
    root: RootSecret
    release: Mapping[str, bytes] = field(repr=False)
    """Seeds by the name of the key; none where there was no backup."""


def restore(
    config: Config,
    home: Path,
    backup: Path,
    ask: Callable[[], str],
    passphrase: Callable[[], str | None],
    alias: str | None,
    now: int,
    disk: Disk | None = None,
) -> Initialised:
    """Be the publisher of `backup`; `ask` gives the recovery phrase if the file needs one. Where
    the backup is lost, the public documents of the publisher do as well, without its release keys.

    `passphrase` is called once all is right; if it gives one, the master is kept here, locked with
    it. Raises `NotFoundError`, `UsageError` and
    `MalformedError` as `read_backup`, `UntrustedError` if its documents make no publisher,
    `RefusedError` where another publisher or another key is already.
    """
    if alias is not None:
        check_alias(alias)
    layout, disk = Layout.of(home, str(config.store.path or "store")), disk or Disk()
    keyring = Keyring(layout, disk)
    with Store.open(layout, disk=disk) as store:
        found = _restorable(backup, ask)
        publisher, own = found.papers.publisher, store.documents.own_publisher()
        if own is not None and own != publisher:
            raise RefusedError(
                f"this machine is publisher {own} already; the backup is of {publisher}",
                remedy="give another home folder: --home DIR",
            )
        missing = _missing_keys(keyring, found)
        lock = None if ROOT in keyring.names() else passphrase()
        write_settings(home)
        peer_id = peer_id_of_seed(node_seed(keyring))
        if lock is not None:
            keyring.keep_root(found.root, lock)
        for name, seed in missing.items():
            keyring.save(name, seed)
        if own is None:
            _set_own(store, found.papers)
        pinned = pin_own(store, alias, publisher, now)
        made = Initialised(str(publisher), peer_id, pinned, None, own is None)
        return replace(made, root_kept=ROOT in keyring.names())


def _set_own(store: Store, papers: Papers) -> None:
    store.documents.put_many([(each.digest, each.type, each.pack()) for each in papers.envelopes])
    store.documents.set_own_publisher(
        papers.publisher,
        roots=tuple(each.digest for each in papers.roots),
        delegation=papers.delegation.digest,
    )


def _missing_keys(keyring: Keyring, found: _Restorable) -> dict[str, bytes]:
    """The keys that are not here yet. Raises `RefusedError` if another key has the name of one."""
    missing = {}
    for name, seed in found.release.items():
        here = keyring.load(name)
        if here is not None and here != seed:
            raise RefusedError(
                f"{keyring.path(name)} is another key than the one in the backup",
                remedy="move it away, or give another home folder: --home DIR",
            )
        if here is None:
            missing[name] = seed
    return missing


def _papers_of(found: Backup) -> Papers:
    """The documents of a backup, verified; those of version 1 are signed anew, byte for byte."""
    if found.roots:
        return Papers.of([unpack(root) for root in found.roots], unpack(found.delegation))
    release = SigningKey(found.release[RELEASE]).public
    next_key = found.root.root_key(2).public
    root, delegation = first_documents(found.root.root_key(1), next_key, release)
    return Papers.of([root], delegation)


def _restorable(path: Path, ask: Callable[[], str]) -> _Restorable:
    """What comes back from this file, verified."""
    if _is_parcel(path):
        return _from_papers(path, ask)
    found = read_backup(path, ask)
    try:
        papers = _papers_of(found)
    except (MalformedError, UntrustedError) as error:
        raise type(error)(f"{path}: {error}", remedy="give another copy of the backup") from None
    if papers.publisher != found.publisher:
        raise UntrustedError(
            f"{path}: its documents make publisher {papers.publisher}, and it says"
            f" {found.publisher}",
            remedy="give another copy of the backup",
        )
    return _Restorable(papers, found.root, found.release)


def _from_papers(path: Path, ask: Callable[[], str]) -> _Restorable:
    """A publisher of which there is no backup: anybody who knows it can write its documents."""
    papers = find_papers(envelopes(read_parcel_file(path)), None)
    root, newest = RootSecret(Master.from_phrase(ask())), papers.identity.root
    if not root.makes(newest.v, newest.keys.keys):
        raise UntrustedError(
            f"this is not the recovery phrase of publisher {papers.publisher}: it does not make the"
            f" key of root {newest.v}",
            remedy="give the phrase that was made last for it, and its newest documents",
        )
    return _Restorable(papers, root, {})


def _is_parcel(path: Path) -> bool:
    """Whether this is canonical msgpack; a backup is text, and begins with a brace."""
    with disk_errors(path):
        try:
            with path.open("rb") as file:
                return file.read(1) >= b"\x80"
        except FileNotFoundError:
            return False
