"""A fresh backup of this machine's publisher: its documents of today and its release keys.

It goes into the backup what is needed to go on publishing elsewhere: every plain key but this
machine's own and those that can recover this very publisher. A recovery key in the backup would lie
where the root does.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.publisher import Root
from p2phub.store.backup import Backup, backup_text
from p2phub.store.disk import Disk
from p2phub.store.keyring import ROOT, Keyring
from p2phub.store.private_file import write_new
from p2phub.store.store import Store
from p2phub.trust.envelope import unpack
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import NONCE_SIZE, SigningKey
from p2phub.trust.secrets import RootSecret

OF_THIS_MACHINE: Final = frozenset({ROOT, "node"})
"""Keys that no backup carries as they are."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What `key backup` wrote."""

    publisher_id: str
    backup: Path
    keys: tuple[str, ...] = field(default=())
    """Names of the release keys in it."""


def back_up(
    store: Store, keyring: Keyring, root: RootSecret, path: Path, now: int, disk: Disk | None = None
) -> BackedUp:
    """Write a new backup file.

    Raises `NotFoundError` on a machine without a publisher, `UntrustedError` if `root` makes none
    of its keys, `UsageError` for a publisher that has no master secret, `RefusedError` if the file
    exists.
    """
    own, documents = store.documents.own_publisher(), store.documents.own_documents()
    if own is None or documents is None:
        raise NotFoundError(
            "this machine has no publisher identity", remedy="run `p2phub init` first"
        )
    roots, delegation = documents
    kept = store.documents.many([*roots, delegation])
    newest = Root.from_payload(unpack(kept[roots[-1]]).payload)
    if root.root_key(newest.v).public not in newest.keys.keys:
        raise UntrustedError(
            f"this is not the recovery phrase of publisher {own}: it does not make root {newest.v}",
            remedy="give the phrase that was made last for this publisher",
        )
    release = _release_keys(keyring, newest)
    made = Backup(own, root, release, tuple(kept[each] for each in roots), kept[delegation], now)
    text = backup_text(made, os.urandom(NONCE_SIZE))
    write_new(disk or Disk(), path, text, "give another file name with --file")
    return BackedUp(str(own), path, tuple(release))


def _release_keys(keyring: Keyring, root: Root) -> dict[str, SecretBytes]:
    recovery = root.recovery.keys if root.recovery else ()
    found = {}
    for name in keyring.names():
        if name in OF_THIS_MACHINE or keyring.is_locked(name):
            continue
        seed = keyring.load(name)
        if seed is not None and SigningKey(seed).public not in recovery:
            found[name] = seed
    return found
