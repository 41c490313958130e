"""The keys of this machine and of our publisher: one list of both, and new ones.

Nothing secret leaves this module but into a key file: what it tells has public halves only, and for
a key that is locked not even that.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from p2phub.config import Config
from p2phub.errors import UsageError
from p2phub.key_results import KeyList, KeyRow, NewKey
from p2phub.node.desk import Desk, notices_of, own_papers
from p2phub.node.offline import layout_of
from p2phub.store.keyring import OMS, ROOT, Keyring
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.identity import Identity
from p2phub.trust.keys import SEED_SIZE, SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.notices import Notices
from p2phub.trust.secrets import Master
from p2phub.trust.verdict import moment

NODE: Final = "node"
SOON: Final = 14 * 24 * 3600
"""Seconds before a key expires from which on people are warned."""


def new_key(config: Config, home: Path, name: str, passphrase: str | None) -> NewKey:
    """Make the key `name`; with a passphrase it is locked.

    Raises `UsageError` for a name that means something else, `RefusedError` if it is taken.
    """
    if name in (ROOT, NODE, OMS):
        raise UsageError(
            f"the key {name} is made by `p2phub init` and by nothing else",
            remedy="choose another name, such as release or recovery",
        )
    keyring = Keyring(layout_of(config, home))
    seed = SecretBytes(secrets.token_bytes(SEED_SIZE))
    if passphrase is None:
        keyring.save(name, seed)
    else:
        keyring.save_locked(name, seed, passphrase)
    return NewKey(name, SigningKey(seed).public.hex(), passphrase is not None)


@dataclass(frozen=True, slots=True)
class _Here:
    """A key file: its name and, unless it is locked, its public half."""

    name: str
    public: bytes | None
    root: bytes | None = None
    """The key that it makes for the newest root, as the share of a holder."""


def list_keys(desk: Desk) -> KeyList:
    """Who we are and with which keys; before `init`, the keys of this machine alone."""
    papers = own_papers(desk.store.documents)
    here = _keys_here(desk.keyring, papers.identity.root.v if papers is not None else 1)
    if papers is None:
        return KeyList(keys=tuple(_row_of_file(each) for each in here))
    identity, publisher = papers.identity, papers.publisher
    notices = notices_of(desk.knowledge.notices(publisher))
    state = desk.knowledge.state(publisher)
    rows = _rows_of_identity(identity, here, notices)
    named = {row.name for row in rows}
    rows += [_row_of_file(each) for each in here if each.name not in named]
    root = identity.root
    return KeyList(
        publisher_id=str(publisher),
        root_v=root.v,
        delegation_version=identity.delegation.version,
        root_threshold=root.keys.threshold,
        threshold=identity.delegation.threshold,
        recovery_threshold=root.recovery.threshold if root.recovery else None,
        next_committed=any(root.next),
        revocations_from=identity.delegation.revocations_from,
        forked=state.forked if state is not None else "",
        warnings=tuple(_warnings(rows, identity, desk.now())),
        keys=tuple(rows),
    )


def _keys_here(keyring: Keyring, root_v: int) -> list[_Here]:
    found = []
    for name in keyring.names():
        seed = None if keyring.is_locked(name) else keyring.load(name)
        if seed is None:
            found.append(_Here(name, None))
        elif name == OMS:
            found.append(_Here(name, ModelKey(seed).public))
        else:
            root = Master(seed).root_key(root_v)
            found.append(_Here(name, SigningKey(seed).public, root.public))
    return found


def _rows_of_identity(identity: Identity, here: Sequence[_Here], notices: Notices) -> list[KeyRow]:
    """Every key that our papers name, in the order of its role."""
    root, delegation = identity.root, identity.delegation
    names = {each.public: each.name for each in here if each.public is not None}
    shares = {each.root: each.name for each in here if each.root is not None}
    locked_root = any(each.name == ROOT and each.public is None for each in here)
    rows = []
    for key in root.keys.keys:
        row = KeyRow(key.hex(), ("root",), names.get(key) or shares.get(key))
        if locked_root and len(root.keys.keys) == 1:
            row = replace(row, name=ROOT, locked=True)
        rows.append(row)
    for key in root.recovery.keys if root.recovery else ():
        rows.append(KeyRow(key.hex(), ("recovery",), names.get(key)))
    for made in delegation.keys:
        notice = notices.revoked_key(identity, made.key)
        rows.append(
            KeyRow(
                made.key.hex(),
                ("release",),
                names.get(made.key),
                repos=made.repos,
                expires=made.not_after or None,
                revoked=notice.reason if notice is not None else None,
            )
        )
    rows += (KeyRow(key.hex(), ("oms",), names.get(key)) for key in delegation.oms_keys)
    return rows


def _row_of_file(file: _Here) -> KeyRow:
    """A key on this machine that our papers do not name."""
    roles = (file.name,) if file.name in (NODE, ROOT) else ()
    key = file.public.hex() if file.public is not None else ""
    return KeyRow(key, roles, file.name, locked=file.public is None)


def _warnings(rows: Iterable[KeyRow], identity: Identity, now: int) -> Iterable[str]:
    for row in rows:
        called = row.name or row.key[:16]
        if row.roles == ("release",) and row.expires is not None:
            if row.expires < now:
                yield f"release key {called} expired {moment(row.expires)}"
            elif row.expires - now < SOON:
                yield f"release key {called} expires {moment(row.expires)}"
        if row.roles == ("root",) and row.name == ROOT and not row.locked:
            yield "the root key is not locked: run `p2phub key lock`"
        if row.roles == ("recovery",) and row.name is not None:
            yield f"recovery key {called} lies beside what it is to recover: move it away"
    here = [row for row in rows if row.name is not None and row.roles == ("release",)]
    if not any(row.revoked is None for row in here):
        yield "no release key of this publisher is here, so nothing can be published here"
    if identity.root.recovery is None:
        yield "there are no recovery keys: `p2phub key rotate --recovery PUBKEY` names some"
