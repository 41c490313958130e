"""The backup file that a person keeps elsewhere: with the recovery phrase it is the publisher.

Version 2 is JSON: the publisher's id and its public documents in plain, its release keys sealed
with a key that only the master secret makes. So the file alone is worth nothing to a thief, the
phrase alone still yields every root key, and both together put the publisher on a new machine.
The seal covers the public part too: whoever changes a byte of it is found out.

Version 1, which an older p2phub wrote, has the seeds themselves in plain and needs no phrase.

Rules it keeps: a backup overwrites nothing; what comes out is checked for form and not for truth
(whether the documents make a publisher is for `trust.identity`). Writing it is left to
`private_file`, making one to `node.backups`.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from p2phub.errors import (
    MalformedError,
    NewerVersionError,
    NotFoundError,
    P2PHubError,
    UsageError,
)
from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.ids import PublisherId
from p2phub.store.disk import disk_errors
from p2phub.store.keyring import SEED, read_seed
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import NONCE_SIZE, seal, unseal
from p2phub.trust.secrets import Master, RootSecret

MAX_BACKUP: Final = 640 << 10
"""Bytes of a backup file that we are ready to read: room for the longest chain of roots."""
MAX_BACKUP_KEYS: Final = 64
"""Keys in a backup."""
_MAX_SEALED: Final = 16 << 10
_WHAT_THIS_IS: Final = (
    "The backup of a p2phub publisher. Its keys are sealed: they come back with the recovery phrase"
    " only. Keep this file and the phrase in two safe places away from the machine. `p2phub init"
    " --restore FILE` puts the publisher on another machine."
)


@dataclass(frozen=True, slots=True)
class Backup:
    """Everything needed to be this publisher on another machine."""

    publisher: PublisherId
    root: RootSecret = field(repr=False)
    release: Mapping[str, bytes] = field(repr=False)
    """Seeds of release keys, by the name of the key."""
    roots: tuple[bytes, ...] = field(default=(), repr=False)
    """Packed envelopes of the roots, oldest first; none in version 1."""
    delegation: bytes = field(default=b"", repr=False)
    """Packed envelope of the delegation; empty in version 1."""
    created: int = 0
    """Unix seconds."""


def backup_text(backup: Backup, nonce: bytes) -> bytes:
    """The file of a backup, version 2. `nonce` is random, 12 bytes.

    Raises `UsageError` for a publisher that has no master secret, or for too many keys.
    """
    master = backup.root.master
    if master is None:
        raise UsageError(
            "this publisher was made by an older p2phub and has no recovery phrase yet",
            remedy="keep the backup file that `p2phub init` wrote; it makes one with"
            " `p2phub key rotate --old-backup FILE`",
        )
    if len(backup.release) > MAX_BACKUP_KEYS:
        raise UsageError(
            f"{len(backup.release)} keys do not go into one backup: at most {MAX_BACKUP_KEYS}",
            remedy="move old keys away from the folder keys/",
        )
    public: dict[str, Value] = {
        "version": 2,
        "publisher_id": str(backup.publisher),
        "created": backup.created,
        "roots": [b64encode(root).decode() for root in backup.roots],
        "delegation": b64encode(backup.delegation).decode(),
    }
    sealed = seal(master.backup_key(), nonce, _secrets(backup), encode(public))
    fields = {
        "what_this_is": _WHAT_THIS_IS,
        **public,
        "nonce": nonce.hex(),
        "sealed": b64encode(sealed).decode(),
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class SealedBackup:
    """A backup of version 2 before the phrase was given."""

    publisher: PublisherId
    roots: tuple[bytes, ...]
    delegation: bytes
    created: int
    nonce: bytes
    sealed: bytes
    public: bytes
    """What the seal covers."""

    def open(self, master: Master) -> Backup:
        """The whole backup. Raises `MalformedError` for another master, or a changed file."""
        opened = unseal(master.backup_key(), self.nonce, self.sealed, self.public)
        if opened is None:
            raise MalformedError(
                "this recovery phrase does not open this backup, or the file was changed",
                remedy="give the phrase of this very publisher, or another copy of the file",
            )
        keys = _opened(opened)
        if keys is None:
            raise NewerVersionError("a newer p2phub wrote this", remedy="install a newer p2phub")
        release, lone = keys
        root = RootSecret(master, lone.lone)
        return Backup(self.publisher, root, release, self.roots, self.delegation, self.created)


def read_backup(path: Path, ask: Callable[[], str]) -> Backup:
    """The backup in `path`; `ask` is called for the recovery phrase if it needs one.

    Raises `NotFoundError`, `UsageError` if it is no backup of ours or the phrase is none,
    `MalformedError` if phrase and file do not belong together or the file was changed.
    """
    with disk_errors(path):
        try:
            with path.open("rb") as file:
                text = SecretBytes(file.read(MAX_BACKUP + 1))
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no backup file {path}", remedy="give the file that you put away"
            ) from None
    try:
        found = parse_backup(text)
    except P2PHubError as error:
        raise type(error)(f"{path}: {error}", remedy=error.remedy) from None
    if isinstance(found, Backup):
        return found
    master = Master.from_phrase(ask())
    try:
        return found.open(master)
    except P2PHubError as error:
        raise type(error)(f"{path}: {error}", remedy=error.remedy) from None


def parse_backup(text: bytes) -> Backup | SealedBackup:
    """The backup that these bytes are. Raises `UsageError` for anything else."""
    try:
        found = json.loads(text) if len(text) <= MAX_BACKUP else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "version" not in found:
        raise UsageError("this is not a backup that p2phub wrote", remedy="give the right file")
    made: Backup | SealedBackup | None
    match found["version"]:
        case 1:
            made = _first_version(found)
        case 2:
            made = _second_version(found)
        case other:
            raise UsageError(
                f"this is a backup of version {other!r}; this p2phub reads versions 1 and 2",
                remedy="install a newer p2phub",
            )
    if made is None:
        raise UsageError(
            "this is not a backup that p2phub wrote, or it was damaged", remedy="give another copy"
        )
    return made


def _first_version(found: Mapping[str, Any]) -> Backup | None:
    root, release = read_seed(str(found.get("root"))), read_seed(str(found.get("release")))
    later = found.get("next")
    if not isinstance(later, list) or len(later) > 1:
        return None
    seeds = [root, *(read_seed(str(each)) for each in later)]
    lone = tuple((v, seed) for v, seed in enumerate(seeds, 1) if seed is not None)
    if release is None or len(lone) < len(seeds):
        return None
    publisher = PublisherId.parse(str(found.get("publisher_id")))
    return Backup(publisher, RootSecret(lone=lone), {"release": release})


def _second_version(found: Mapping[str, Any]) -> SealedBackup | None:
    public = {name: found.get(name) for name in ("publisher_id", "created", "roots", "delegation")}
    roots, created = public["roots"], found.get("created")
    nonce, sealed = _hex(found.get("nonce")), _bytes(found.get("sealed"), _MAX_SEALED)
    if not isinstance(roots, list) or not 1 <= len(roots) <= limits.MAX_ROOT_CHAIN:
        return None
    most = limits.MAX_DELEGATION + limits.MAX_ENVELOPE_OVERHEAD
    packed = [_bytes(each, most) for each in (*roots, public["delegation"])]
    if len(nonce) != NONCE_SIZE or not sealed or not all(packed) or type(created) is not int:
        return None
    if not 0 <= created <= limits.MAX_TIME:
        return None
    publisher = PublisherId.parse(str(public["publisher_id"]))
    covered = encode({"version": 2, **public})
    return SealedBackup(publisher, tuple(packed[:-1]), packed[-1], created, nonce, sealed, covered)


def _secrets(backup: Backup) -> SecretBytes:
    lone: Value = [{"root": v, "seed": bytes(seed)} for v, seed in backup.root.lone]
    release: Value = {name: bytes(seed) for name, seed in backup.release.items()}
    return SecretBytes(encode({"release": release, "lone": lone}))


def _opened(data: SecretBytes) -> tuple[dict[str, SecretBytes], RootSecret] | None:
    """The release keys by name, and the lone seeds; None for what only a newer p2phub knows."""
    try:
        fields: Any = decode(data, limit=_MAX_SEALED)
        release = {str(name): SecretBytes(seed) for name, seed in fields["release"].items()}
        lone = tuple((int(each["root"]), SecretBytes(each["seed"])) for each in fields["lone"])
        root = RootSecret(lone=lone)
    except (MalformedError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return (release, root) if all(len(seed) == SEED for seed in release.values()) else None


def _hex(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _bytes(value: object, most: int) -> bytes:
    """The bytes that base64 spells, at most `most`; none for anything else."""
    try:
        made = b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        return b""
    return made if len(made) <= most else b""
