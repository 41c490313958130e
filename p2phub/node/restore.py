"""Become a publisher again on a new machine, from its backup and its recovery phrase.

What is restored: the release keys, the documents that say who the publisher is, and with a
passphrase the locked master. What was published is not in a backup: it comes back from peers, and
so does what the publisher said last. Until then its owner had better publish nothing.

Rules it keeps:
 * nothing here is overwritten: another publisher, another key of that name, newer documents;
 * the documents are verified before anything is written;
 * it can be run again after it was interrupted: keys first, the row that says who we are last.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from p2phub.config import Config
from p2phub.errors import MalformedError, RefusedError, UntrustedError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.initialise import (
    RELEASE,
    Initialised,
    first_documents,
    node_seed,
    pin_own,
    write_settings,
)
from p2phub.store.backup import Backup, read_backup
from p2phub.store.disk import Disk
from p2phub.store.keyring import ROOT, Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.identity import verify_chain, verify_identity
from p2phub.trust.keys import SigningKey


@dataclass(frozen=True, slots=True)
class _Documents:
    roots: tuple[Envelope, ...]
    delegation: Envelope


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
    """Be the publisher of `backup`; `ask` gives the recovery phrase if the file needs one.

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
        found = read_backup(backup, ask)
        documents = _documents(found, backup)
        own = store.documents.own_publisher()
        if own is not None and own != found.publisher:
            raise RefusedError(
                f"this machine is publisher {own} already; the backup is of {found.publisher}",
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
            _set_own(store, found.publisher, documents)
        pinned = pin_own(store, alias, found.publisher, now)
        made = Initialised(str(found.publisher), peer_id, pinned, None, own is None)
        return replace(made, root_kept=ROOT in keyring.names())


def _set_own(store: Store, publisher: PublisherId, documents: _Documents) -> None:
    roots, delegation = documents.roots, documents.delegation
    store.documents.put_many(
        [(each.digest, each.type, each.pack()) for each in (*roots, delegation)]
    )
    store.documents.set_own_publisher(
        publisher, roots=tuple(each.digest for each in roots), delegation=delegation.digest
    )


def _missing_keys(keyring: Keyring, found: Backup) -> dict[str, bytes]:
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


def _documents(found: Backup, where: Path) -> _Documents:
    """The documents of a backup, verified; those of version 1 are signed anew, byte for byte."""
    try:
        made = _unpacked(found) if found.roots else _signed_anew(found)
        chain = verify_chain(made.roots)
        publisher = verify_identity(chain, made.delegation).publisher
    except (MalformedError, UntrustedError) as error:
        raise type(error)(f"{where}: {error}", remedy="give another copy of the backup") from None
    if publisher != found.publisher:
        raise UntrustedError(
            f"{where}: its documents make publisher {publisher}, and it says {found.publisher}",
            remedy="give another copy of the backup",
        )
    return made


def _unpacked(found: Backup) -> _Documents:
    return _Documents(tuple(map(unpack, found.roots)), unpack(found.delegation))


def _signed_anew(found: Backup) -> _Documents:
    release = SigningKey(found.release[RELEASE]).public
    next_key = found.root.root_key(2).public
    root, delegation = first_documents(found.root.root_key(1), next_key, release)
    return _Documents((root,), delegation)
