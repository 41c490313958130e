"""The secret keys of this machine.

A key is a file of its own, `keys/<name>.key`, 0600: the 32-byte seed of an Ed25519 key in hex, or a
secret locked with a passphrase (`trust.sealing`). `release` signs what a publisher publishes, `oms`
signs models as OpenSSF Model Signing does (a key of P-256, from such a seed), `node` is this
machine's own and can be replaced. `root` names the publisher; it is here only if its owner gave a
passphrase, and holds a `RootSecret`. What an older p2phub made is a plain seed: that of the key of
root 1.

Rules it keeps:
 * a key is whole or absent: written aside, fsynced, then given its name;
 * no key is overwritten; only the lock around one can be replaced;
 * a key file that others can read, or whose folder others can write to, is not used.

Making keys, and what they sign, is left to `node.initialise` and `trust`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from p2phub.errors import MalformedError, NotFoundError, P2PHubError, RefusedError, UsageError
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.layout import Layout
from p2phub.store.private_file import read_key_file, write_again, write_new
from p2phub.trust.hidden import SecretBytes, SecretText
from p2phub.trust.keys import NONCE_SIZE, SEED_SIZE
from p2phub.trust.sealing import MAX_LOCKED, SALT_SIZE, is_lock, lock, unlock
from p2phub.trust.secrets import RootSecret

SEED: Final = SEED_SIZE
"""Bytes of an Ed25519 seed."""
ROOT: Final = "root"
OMS: Final = "oms"
"""What the key of model signatures (`trust.model_keys`) is made from."""
_ENDING: Final = ".key"


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
        return self._folder / f"{name}{_ENDING}"

    def names(self) -> tuple[str, ...]:
        """The keys that are here, locked ones too, in the order of their names."""
        with disk_errors(self._folder):
            found = [each.name for each in self._folder.glob(f"*{_ENDING}")]
        return tuple(sorted(name.removesuffix(_ENDING) for name in found if name[0] != "."))

    def is_locked(self, name: str) -> bool:
        """Whether the key `name` is here and needs a passphrase."""
        text = self._read(name)
        return text is not None and is_lock(text)

    def load(self, name: str) -> SecretBytes | None:
        """The seed of key `name`; None if there is none.

        Raises `RefusedError` if others can read it, or if it is locked.
        """
        text = self._read(name)
        if text is None:
            return None
        if is_lock(text):
            raise RefusedError(
                f"the key {self.path(name)} is locked with a passphrase",
                remedy="use a command that asks for it, or give it with --passphrase-file",
            )
        seed = read_seed(text)
        if seed is None:
            raise _damaged(self.path(name))
        return seed

    def save(self, name: str, seed: bytes) -> None:
        """Keep a new key. Raises `RefusedError` if there is one of that name."""
        seed = SecretBytes(seed)
        if len(seed) != SEED:
            raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
        self._write_new(name, seed.hex().encode() + b"\n")

    def load_locked(self, name: str, passphrase: str) -> SecretBytes:
        """The secret that was locked.

        Raises `NotFoundError` if there is none, `RefusedError` for a wrong passphrase or a file
        that others can read, `MalformedError` for a damaged one.
        """
        text, passphrase = self._read(name), SecretText(passphrase)
        if text is None:
            raise NotFoundError(f"there is no key {self.path(name)}")
        try:
            return unlock(text, passphrase)
        except MalformedError as error:
            raise type(error)(f"{self.path(name)}: {error}", remedy=error.remedy) from None

    def save_locked(self, name: str, secret: bytes, passphrase: str) -> None:
        """Keep a new secret, locked with `passphrase`.

        Raises `UsageError` for a passphrase that is too short or too long, `RefusedError` if there
        is a key of that name.
        """
        self._write_new(name, _locked(SecretBytes(secret), SecretText(passphrase)))

    def root(self, ask: Callable[[], str]) -> RootSecret | None:
        """What makes the root keys; None if that is not on this machine.

        `ask` is called for the passphrase where one is needed. Raises as `load` and `load_locked`.
        """
        if not self.is_locked(ROOT):
            seed = self.load(ROOT)
            return None if seed is None else RootSecret(lone=((1, seed),))
        return RootSecret.unpack(self.load_locked(ROOT, ask()))

    def keep_root(self, secret: RootSecret, passphrase: str) -> None:
        """Keep a root secret here, locked. Raises as `save_locked`."""
        self.save_locked(ROOT, secret.pack(), passphrase)

    def keep_root_instead(self, secret: RootSecret, passphrase: str) -> None:
        """Put this locked root in place of the one that is here: what it holds is the caller's
        care. For a new passphrase, a plain root of an older p2phub, and after a rotation."""
        self._disk.make_private_folder(self._folder)
        data = _locked(secret.pack(), SecretText(passphrase))
        write_again(self._disk, self.path(ROOT), data)

    def _read(self, name: str) -> SecretBytes | None:
        return read_key_file(self.path(name), MAX_LOCKED)

    def _write_new(self, name: str, data: bytes) -> None:
        path, data = self.path(name), SecretBytes(data)
        self._disk.make_private_folder(self._folder)
        write_new(self._disk, path, data, "use another name, or move it away")


def read_seed(text: bytes | str) -> SecretBytes | None:
    """The seed that is written in hex; None if that is none."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    try:
        seed = SecretBytes(bytes.fromhex(text.strip()))
    except ValueError:
        return None
    return seed if len(seed) == SEED else None


def _locked(secret: SecretBytes, passphrase: SecretText) -> SecretBytes:
    salt, nonce = os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)
    return SecretBytes(lock(secret, passphrase, salt=salt, nonce=nonce))


def _damaged(where: Path) -> P2PHubError:
    return P2PHubError(
        f"{where} does not hold a key of {SEED} bytes in hex",
        remedy="restore it from the backup that `p2phub init` wrote",
    )
