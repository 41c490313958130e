"""The secret keys of this machine, and the backup a person keeps elsewhere.

A key is a file of its own, `keys/<name>.key`: the 32-byte Ed25519 seed in hex, 0600. `root` names
the publisher, `release` signs what it publishes, `node` is this machine's own and can be replaced.

Rules it keeps:
 * a key is whole or absent: written aside, fsynced, then given its name;
 * nothing is overwritten, neither a key nor a backup;
 * a key file that others can read is not used.

Making keys, and what they sign, is left to `node.initialise` and `trust`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NotFoundError, P2PHubError, RefusedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.store.disk import PRIVATE, Disk, disk_errors
from p2phub.store.layout import Layout

SEED = 32
"""Bytes of an Ed25519 seed."""
MAX_BACKUP = 64 << 10
"""Bytes of a backup file that we are ready to read."""
WHAT_THIS_IS = (
    "The secret keys of a p2phub publisher. Whoever has this file can publish in its name, and "
    "without it nobody can: lost keys cannot be replaced. Move it off this machine, to a place "
    "that is safe and dry, and leave no copy here. 'next' is the key that root rotates to."
)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a person keeps elsewhere: everything needed to stay this publisher."""

    publisher: PublisherId
    root: bytes
    """Seed of the root key."""
    next: tuple[bytes, ...]
    """Seeds of the keys that the root has committed to rotate to. On no disk but the backup's."""
    release: bytes
    """Seed of the release key."""


class Keyring:
    """The key files of one home folder."""

    def __init__(self, layout: Layout, disk: Disk | None = None) -> None:
        self._folder, self._disk = layout.keys, disk or Disk()

    def path(self, name: str) -> Path:
        """Where the key `name` is kept."""
        if not name.isascii() or not name.replace("-", "").isalnum():
            raise UsageError(
                f"{name!r} is not the name of a key: letters, digits and - only",
                remedy="the key that `p2phub init` makes for publishing is called release",
            )
        return self._folder / f"{name}.key"

    def load(self, name: str) -> bytes | None:
        """The seed of key `name`; None if there is none.

        Raises `RefusedError` if others can read it.
        """
        path = self.path(name)
        if not path.exists():
            return None
        with disk_errors(path):
            if path.stat().st_mode & 0o077:
                raise RefusedError(
                    f"the key {path} can be read by other users of this machine",
                    remedy=f"run `chmod 600 {path}`; if others were here, make a new key",
                )
            text = path.read_bytes()[: 4 * SEED]
        try:
            return _seed(text.decode("ascii").strip(), str(path))
        except UnicodeDecodeError:
            raise _damaged(str(path)) from None

    def save(self, name: str, seed: bytes) -> None:
        """Keep a new key. Raises `RefusedError` if there is one of that name."""
        _check_seed(seed)
        path = self.path(name)
        self._disk.make_private_folder(self._folder)
        self._write_new(path, seed.hex().encode() + b"\n", "use another name, or move it away")

    def write_backup(self, path: Path, backup: Backup) -> None:
        """Write a new file that only its owner can read. Raises `RefusedError` if it exists."""
        for seed in (backup.root, backup.release, *backup.next):
            _check_seed(seed)
        text = json.dumps(
            {
                "what_this_is": WHAT_THIS_IS,
                "version": 1,
                "publisher_id": str(backup.publisher),
                "root": backup.root.hex(),
                "next": [seed.hex() for seed in backup.next],
                "release": backup.release.hex(),
            },
            indent=2,
        )
        self._write_new(path, text.encode() + b"\n", "give another file name for the backup")

    def _write_new(self, path: Path, data: bytes, remedy: str) -> None:
        aside = path.with_name(f".{path.name}.{os.getpid()}.new")
        self._disk.remove(aside)
        fd = self._disk.create(aside, PRIVATE)
        try:
            self._disk.write(fd, data, 0, aside)
            self._disk.sync(fd, aside)
            made = self._disk.rename_new(aside, path)
        finally:
            os.close(fd)
            self._disk.remove(aside)
        if not made:
            raise RefusedError(f"{path} exists and is never overwritten", remedy=remedy)
        self._disk.sync_path(path.parent)


def read_backup(path: Path) -> Backup:
    """The backup in `path`. Raises `NotFoundError`, or `UsageError` if it is no backup of ours."""
    if not path.exists():
        raise NotFoundError(f"there is no backup file {path}")
    with disk_errors(path), path.open("rb") as file:
        text = file.read(MAX_BACKUP + 1)
    try:
        found = json.loads(text) if len(text) <= MAX_BACKUP else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("next"), list):
        raise UsageError(f"{path} is not a backup that p2phub wrote")
    if found.get("version") != 1:
        raise UsageError(
            f"{path} is a backup of version {found.get('version')!r}; this p2phub reads version 1",
            remedy="install a newer p2phub",
        )
    return Backup(
        publisher=PublisherId.parse(str(found.get("publisher_id"))),
        root=_seed(found.get("root"), str(path)),
        next=tuple(_seed(seed, str(path)) for seed in found["next"]),
        release=_seed(found.get("release"), str(path)),
    )


def _seed(text: object, where: str) -> bytes:
    try:
        seed = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        seed = b""
    if len(seed) != SEED:
        raise _damaged(where)
    return seed


def _damaged(where: str) -> P2PHubError:
    return P2PHubError(
        f"{where} does not hold a key of {SEED} bytes in hex",
        remedy="restore it from the backup that `p2phub init` wrote",
    )


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED:
        raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
