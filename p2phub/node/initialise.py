"""Make a publisher and a node where there was nothing: keys, first documents, node.toml, backup.

A publisher is a root key, a committed next key and a release key. The root key signs two documents
here (the root itself and the delegation that names the release key) and is then needed only to
change them. The next key, which a rotation will reveal, exists in the backup file alone: whoever
steals this machine cannot rotate the identity, whoever keeps the backup can.

Running it again changes nothing and says so. A crash in between is safe: the backup is written
first, the keys next, the row that says "this is our publisher" last."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from p2phub import config as settings
from p2phub.config import Config
from p2phub.errors import RefusedError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.store.keyring import Backup, Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust import envelope
from p2phub.trust.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` made, or found."""

    publisher_id: str
    peer_id: str
    alias: str | None
    backup: Path | None
    """Where the backup was written; None when there was a publisher already."""
    created: bool


def initialise(
    config: Config, home: Path, alias: str | None, backup: Path | None, now: int
) -> Initialised:
    """Make the identity of this machine, or tell the one that is there.

    Raises `RefusedError` when the backup file exists already, `UsageError` for a bad alias,
    `StoreLockedError` while a node runs on a store that has no publisher yet."""
    if alias is not None:
        check_alias(alias)
    layout = Layout.of(home, str(config.store.path or "store"))
    keyring = Keyring(layout)
    with Store.open(layout) as store:
        _write_settings(home)
        peer_id = peer_id_of_seed(node_seed(keyring))
        own = store.documents.own_publisher()
        if own is not None:
            return Initialised(str(own), peer_id, _pin(store, alias, own, now), None, False)
        backup = (backup or home / "p2phub-backup.json").absolute()
        own = _make_publisher(store, keyring, backup)
        return Initialised(str(own), peer_id, _pin(store, alias, own, now), backup, True)


def node_seed(keyring: Keyring) -> bytes:
    """The seed of this node's own key, made on first use; it names the node and no publisher."""
    seed = keyring.load("node")
    if seed is None:
        seed = secrets.token_bytes(32)
        keyring.save("node", seed)
    return seed


def _write_settings(home: Path) -> None:
    path = home / "node.toml"
    if not path.exists():
        path.write_text(settings.example())


def _make_publisher(store: Store, keyring: Keyring, backup: Path) -> PublisherId:
    if keyring.load("root") is not None:
        raise RefusedError(
            f"{keyring.path('root')} exists, but this store knows no publisher",
            remedy="it is an earlier publisher's: move the keys away, or restore the store",
        )
    root_key, next_key, release_key = (SigningKey(secrets.token_bytes(32)) for _ in range(3))
    root = Root(
        v=1,
        previous=b"",
        keys=KeySet((root_key.public,), 1),
        next=KeySet((next_key.public,), 1).digest,
        recovery=None,
    )
    publisher = PublisherId(root.digest)
    delegation = Delegation(
        publisher=root.digest,
        version=1,
        keys=(ReleaseKey(key=release_key.public, repos=(), not_after=0),),
        threshold=1,
    )
    keyring.write_backup(
        backup,
        Backup(
            publisher=publisher,
            root=root_key.seed,
            next=(next_key.seed,),
            release=release_key.seed,
        ),
    )
    keyring.save("root", root_key.seed)
    keyring.save("release", release_key.seed)
    for document in (root, delegation):
        signed = envelope.sign(document, [root_key])
        store.documents.put(signed.digest, document.TYPE, signed.pack())
    store.documents.set_own_publisher(publisher, roots=(root.digest,), delegation=delegation.digest)
    return publisher


def _pin(store: Store, alias: str | None, own: PublisherId, now: int) -> str | None:
    aliases = store.documents.aliases()
    if alias is not None:
        pinned = aliases.pin(alias, own)
        store.documents.save_alias(alias, own, now)
        aliases = pinned
    return aliases.alias_of(own)
