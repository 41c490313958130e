"""Make a publisher and a node where there was nothing: keys, first documents, node.toml, backup.

A publisher is a master secret, from which its root keys come, a release key, and a key of model
signatures. The first root key signs two documents here (the root itself and the delegation that
names the other keys) and is then needed only to change them. The master goes to its owner as a
recovery phrase; on this machine it stays only if the owner gave a passphrase to lock it with. So a
thief of this machine can publish until the owner takes the release key back, and can never take the
identity.

Running it again changes nothing and says so. A crash in between is safe: phrase and backup are
written first, the keys next, the row that says "this is our publisher" last; `node.restore` goes on
from phrase and backup."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2phub import config as settings
from p2phub.config import Config
from p2phub.errors import RefusedError, UsageError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.backups import write_phrase
from p2phub.store.backup import Backup, backup_text
from p2phub.store.disk import Disk
from p2phub.store.keyring import OMS, ROOT, Keyring
from p2phub.store.layout import Layout
from p2phub.store.private_file import write_new
from p2phub.store.store import Store
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.hidden import SecretBytes, SecretText
from p2phub.trust.keys import NONCE_SIZE, SEED_SIZE, SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.sealing import check_passphrase
from p2phub.trust.secrets import Master, RootSecret

RELEASE: Final = "release"
BACKUP_NAME: Final = "p2phub-backup.json"
PHRASE_ENDING: Final = ".phrase"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the owner of a new publisher wants."""

    recovery: KeySet | None = None
    """Keys that can replace a lost or stolen root; part of the first root."""
    phrase_file: Path | None = None
    """Where the recovery phrase goes; None: beside the backup."""
    passphrase: str | None = field(default=None, repr=False)
    """Locks the master on this machine; None: it is not kept here."""
    tell: Callable[[SecretText], SecretText | None] | None = None
    """Shows the phrase to a person, instead of a file, and gives the passphrase back. What it
    raises leaves everything as it was."""


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` made, or found."""

    publisher_id: str
    peer_id: str
    alias: str | None
    backup: Path | None
    """Where the backup was written; None when there was a publisher already."""
    created: bool
    phrase_file: Path | None = None
    """Where the recovery phrase was written."""
    root_kept: bool = False
    """Whether what makes the root keys is on this machine."""


@dataclass(frozen=True, slots=True)
class _Places:
    backup: Path
    phrase: Path | None


def initialise(
    config: Config,
    home: Path,
    alias: str | None,
    backup: Path | None,
    now: int,
    wishes: Wishes | None = None,
    disk: Disk | None = None,
) -> Initialised:
    """Make the identity of this machine, or tell the one that is there.

    Raises `RefusedError` when the backup or the phrase file exists already, `UsageError` for a bad
    alias or passphrase, `StoreLockedError` while a node runs on a store that has no publisher yet.
    """
    if alias is not None:
        check_alias(alias)
    layout, wishes = Layout.of(home, str(config.store.path or "store")), wishes or Wishes()
    keyring, disk = Keyring(layout, disk), disk or Disk()
    with Store.open(layout, disk=disk) as store:
        write_settings(home)
        peer_id = peer_id_of_seed(node_seed(keyring))
        own, places = store.documents.own_publisher(), None
        if own is None:
            places = _places(home, backup, wishes)
            own = _make_publisher(store, keyring, disk, places, wishes, now)
        return Initialised(
            str(own),
            peer_id,
            pin_own(store, alias, own, now),
            places.backup if places else None,
            places is not None,
            places.phrase if places else None,
            ROOT in keyring.names(),
        )


def node_seed(keyring: Keyring) -> bytes:
    """The seed of this node's own key, made on first use; it names the node and no publisher."""
    seed = keyring.load("node")
    if seed is None:
        seed = SecretBytes(secrets.token_bytes(SEED_SIZE))
        keyring.save("node", seed)
    return seed


def write_settings(home: Path) -> None:
    """The file of settings with what holds without it, unless there is one."""
    path = home / "node.toml"
    if not path.exists():
        path.write_text(settings.example())


def pin_own(store: Store, alias: str | None, own: PublisherId, now: int) -> str | None:
    """The alias of our own publisher, after `alias` was given to it if there is one."""
    aliases = store.documents.aliases()
    if alias is not None:
        pinned = aliases.pin(alias, own)
        store.documents.save_alias(alias, own, now)
        aliases = pinned
    return aliases.alias_of(own)


def first_documents(
    root_key: SigningKey,
    next_key: bytes,
    release_key: bytes,
    recovery: KeySet | None = None,
    oms_keys: tuple[bytes, ...] = (),
) -> tuple[Envelope, Envelope]:
    """Root 1, which commits to `next_key`, and delegation 1, both signed.

    The same keys make the same bytes, every time.
    """
    root = Root(
        v=1,
        previous=b"",
        keys=KeySet((root_key.public,), 1),
        next=KeySet((next_key,), 1).digest,
        recovery=recovery,
    )
    delegation = Delegation(
        publisher=root.digest,
        version=1,
        keys=(ReleaseKey(key=release_key, repos=(), not_after=0),),
        threshold=1,
        oms_keys=oms_keys,
    )
    return sign(root, [root_key]), sign(delegation, [root_key])


def _places(home: Path, backup: Path | None, wishes: Wishes) -> _Places:
    backup = (backup or home / BACKUP_NAME).absolute()
    phrase = wishes.phrase_file or backup.with_name(backup.name + PHRASE_ENDING)
    places = _Places(backup, None if wishes.tell else phrase.absolute())
    if places.backup == places.phrase:
        raise UsageError(
            "the phrase opens the backup: they do not go into one file",
            remedy="give another name with --phrase-file",
        )
    for path in (places.backup, places.phrase):
        if path is not None and path.exists():
            raise RefusedError(
                f"{path} exists and is never overwritten",
                remedy="give another name with --backup; if an earlier `p2phub init` was"
                f" interrupted, go on with `p2phub init --restore {places.backup}`",
            )
    return places


def _make_publisher(
    store: Store, keyring: Keyring, disk: Disk, places: _Places, wishes: Wishes, now: int
) -> PublisherId:
    for name in (ROOT, RELEASE, OMS):
        if name in keyring.names():
            raise RefusedError(
                f"{keyring.path(name)} exists, but this store knows no publisher",
                remedy="it is an earlier publisher's, or an interrupted init's: move the keys away,"
                f" or go on with `p2phub init --restore {places.backup}`",
            )
    master = Master(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    release_key = SigningKey(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    model_key = ModelKey(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    signed = first_documents(
        master.root_key(1),
        master.root_key(2).public,
        release_key.public,
        wishes.recovery,
        (model_key.public,),
    )
    root, delegation = signed
    publisher, secret = PublisherId(root.digest), RootSecret(master)
    seeds = {RELEASE: release_key.seed, OMS: model_key.seed}
    made = Backup(publisher, secret, seeds, (root.pack(),), delegation.pack(), now)
    passphrase = _hand_over(master, disk, places, wishes)
    text = backup_text(made, os.urandom(NONCE_SIZE))
    write_new(disk, places.backup, text, "give another file name for the backup")
    if passphrase is not None:
        keyring.keep_root(secret, passphrase)
    for name, seed in seeds.items():
        keyring.save(name, seed)
    store.documents.put_many([(each.digest, each.type, each.pack()) for each in signed])
    store.documents.set_own_publisher(publisher, roots=(root.digest,), delegation=delegation.digest)
    return publisher


def _hand_over(master: Master, disk: Disk, places: _Places, wishes: Wishes) -> SecretText | None:
    """Give the owner the phrase; the passphrase that locks the master here."""
    phrase, passphrase = SecretText(master.phrase()), wishes.passphrase
    if wishes.tell is not None:
        passphrase = wishes.tell(phrase)
    if passphrase is not None:
        check_passphrase(passphrase)
    if places.phrase is not None:
        write_phrase(disk, places.phrase, phrase)
    return None if passphrase is None else SecretText(passphrase)
