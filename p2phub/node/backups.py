"""What the owner of this machine's publisher does with its secrets: back them up, lock the root.

A backup has what is needed to go on publishing elsewhere: the documents of today, and every plain
key but this machine's own and those that can recover this very publisher. A recovery key in the
backup would lie where the root does.

Both need the `RootSecret`, and check that it makes a key of the newest root before anything is
written. Nothing takes the store's lock: a node may run meanwhile.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.config import Config
from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Root
from p2phub.store.backup import Backup, backup_text
from p2phub.store.disk import Disk
from p2phub.store.keyring import ROOT, Keyring
from p2phub.store.layout import Layout
from p2phub.store.private_file import write_new
from p2phub.store.store import Store
from p2phub.trust.envelope import unpack
from p2phub.trust.hidden import SecretBytes, SecretText
from p2phub.trust.keys import NONCE_SIZE, SigningKey
from p2phub.trust.secrets import RootSecret

OF_THIS_MACHINE: Final = frozenset({ROOT, "node"})
"""Keys that no backup carries as they are."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What `key backup` wrote."""

    publisher_id: str
    backup: Path
    keys: tuple[str, ...]
    """Names of the keys in it."""


class OwnSecrets:
    """The secrets of the publisher that this machine is."""

    def __init__(self, store: Store, keyring: Keyring, disk: Disk | None = None) -> None:
        self.keyring = keyring
        self._store, self._disk = store, disk or Disk()

    def back_up(self, root: RootSecret, path: Path, now: int) -> BackedUp:
        """Write a new backup file.

        Raises `UsageError` for a publisher that has no master secret, `RefusedError` if the file
        exists, and as `require_own`.
        """
        publisher, roots, delegation = self._documents()
        newest = self.require_own(root)
        release = self._release_keys(newest)
        made = Backup(publisher, root, release, roots, delegation, now)
        text = backup_text(made, os.urandom(NONCE_SIZE))
        write_new(self._disk, path, text, "give another file name with --file")
        return BackedUp(str(publisher), path, tuple(release))

    def write_phrase(self, root: RootSecret, path: Path) -> None:
        """Write a new file with the recovery phrase. Raises `RefusedError` if it exists."""
        if root.master is not None:
            write_phrase(self._disk, path, SecretText(root.master.phrase()))

    def lock(self, root: RootSecret, passphrase: str) -> PublisherId:
        """Keep the root here, locked with this passphrase from now on. Raises as `require_own`."""
        self.require_own(root)
        self.keyring.keep_root_instead(root, passphrase)
        return self._documents()[0]

    def newest_root(self) -> Root:
        """Who may change this publisher. Raises `NotFoundError` on a machine without one."""
        _, roots, _ = self._documents()
        return Root.from_payload(unpack(roots[-1]).payload)

    def root_is_kept(self) -> bool:
        """Whether what makes the root keys is on this machine."""
        return ROOT in self.keyring.names()

    def require_own(self, root: RootSecret) -> Root:
        """The newest root, one of whose keys `root` makes.

        Raises `NotFoundError` on a machine without a publisher, `UntrustedError` for the secret of
        another one.
        """
        newest = self.newest_root()
        if not root.makes(newest.v, newest.keys.keys):
            publisher, _, _ = self._documents()
            raise UntrustedError(
                f"this is not the secret of publisher {publisher}: it does not make the key of"
                f" root {newest.v}",
                remedy="give the recovery phrase that was made last for this publisher",
            )
        return newest

    def _documents(self) -> tuple[PublisherId, tuple[bytes, ...], bytes]:
        documents = self._store.documents
        publisher, own = documents.own_publisher(), documents.own_documents()
        if publisher is None or own is None:
            raise NotFoundError(
                "this machine has no publisher identity", remedy="run `p2phub init` first"
            )
        roots, delegation = own
        kept = documents.many([*roots, delegation])
        return publisher, tuple(kept[digest] for digest in roots), kept[delegation]

    def _release_keys(self, root: Root) -> dict[str, SecretBytes]:
        recovery = root.recovery.keys if root.recovery else ()
        found = {}
        for name in self.keyring.names():
            if name in OF_THIS_MACHINE or self.keyring.is_locked(name):
                continue
            seed = self.keyring.load(name)
            if seed is not None and SigningKey(seed).public not in recovery:
                found[name] = seed
        return found


@contextmanager
def own_secrets(config: Config, home: Path) -> Iterator[OwnSecrets]:
    """The secrets of `home`, whose store may be in use."""
    layout = Layout.of(home, str(config.store.path or "store"))
    store = Store.open(layout, read_only=True)
    try:
        yield OwnSecrets(store, Keyring(layout))
    finally:
        store.close()


def new_backup_path(home: Path, now: int) -> Path:
    """A name in the home folder that nothing has: that of a backup of this second."""
    day = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    path, again = home / f"p2phub-backup-{day}.json", 1
    while path.exists():
        again += 1
        path = home / f"p2phub-backup-{day}-{again}.json"
    return path.absolute()


def write_phrase(disk: Disk, path: Path, phrase: SecretText) -> None:
    """A new file with the recovery phrase. Raises `RefusedError` if there is a file."""
    data = SecretBytes(phrase.encode() + b"\n")
    write_new(disk, path, data, "give another file name with --phrase-file")
