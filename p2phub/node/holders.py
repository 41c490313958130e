"""A root that several people hold: their files, the roots made of them, and a publisher that begins
with one.

Nobody has such a root in one place. What changes it is prepared in a file, which the holders sign
one after another, each on a machine of their own (`key sign`), and which any machine of the
publisher adopts in the end (`key adopt`). The file is public.

Rules it keeps:
 * a holder's secret is never kept here but behind a passphrase;
 * a publisher that its holders have not signed yet is nobody: until then this machine has keys, and
   no publisher.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.config import Config
from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.initialise import RELEASE, node_seed, pin_own, write_settings
from p2phub.node.own_keys import NODE
from p2phub.node.parcel_files import require_new, write_parcel_file, write_whole
from p2phub.node.rotating import Step, require_committed
from p2phub.store.disk import disk_errors
from p2phub.store.keyring import OMS, ROOT, Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.envelope import sign
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.holders import MAX_FILE, Holder, key_set, read_holder, recognise, write_holder
from p2phub.trust.keys import SEED_SIZE, SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed
from p2phub.trust.secrets import Master

NAME: Final = "holder"
"""What a holder's secret is called among the keys, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A publisher that its holders are to sign."""

    publisher_id: str
    peer_id: str
    alias: str | None
    file: Path
    needed: int
    """Holders that must sign."""
    holders: tuple[str, ...]
    """Their names, each with its fingerprint."""


# ---------------------------------------------------------------- files of holders


def read_holder_file(path: Path) -> Holder:
    """The holder of a file. Raises `NotFoundError`, `UsageError`."""
    with disk_errors(path):
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no file {path}", remedy="`p2phub key holder FILE` writes one"
            ) from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a folder", remedy="give the file of a holder") from None
    try:
        return read_holder(data.decode("utf-8", "replace"))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", remedy=error.remedy) from None


def write_holder_file(path: Path, holder: Holder) -> None:
    """A new file for everybody to read, whole or not at all. Raises `RefusedError` if it exists."""
    require_new(path)
    write_whole(path, write_holder(holder).encode())


def require_free(keyring: Keyring, name: str) -> None:
    """A holder's secret may have this name. Raises `UsageError`."""
    keyring.path(name)
    if name in (ROOT, NODE, OMS) or name.split("-")[0] == RELEASE:
        raise UsageError(f"a holder's secret cannot be called {name}", remedy="choose another name")


def kept_holder(keyring: Keyring, name: str, ask: Callable[[], str]) -> Master | None:
    """The holder's secret that is kept here; None if there is none. Raises as `load_locked`."""
    require_free(keyring, name)
    if name not in keyring.names():
        return None
    seed = keyring.load_locked(name, ask()) if keyring.is_locked(name) else keyring.load(name)
    assert seed is not None, "it was just listed"
    return Master(seed)


# ---------------------------------------------------------------- roots of holders


def next_steps(
    papers: Papers,
    old: Sequence[Holder],
    new: Sequence[Holder],
    threshold: int | None,
    own: Callable[[], SigningKey] | None,
) -> tuple[list[Step], KeySet]:
    """The roots that make `new` the holders, and the keys that the last of them commits to.

    One root where the same people go on as before, else two: that which was committed to, and that
    of the new holders. `old`: who was committed to; where those files do not tell, `own` gives our
    key that was. Raises `UsageError`.
    """
    root = papers.identity.root
    known, v = recognise(root.next, old, root.v + 1), root.v + 1
    if known is None and own is None:
        raise UsageError(
            f"these are not the holders that root {root.v} committed to",
            remedy="give the file of each of them with --old-holder, and nobody else's",
        )
    if known is not None:
        steps = [Step(known.keys)]
        same = {each.keys for each in known.holders} == {each.keys for each in new}
        if same and threshold in (None, known.keys.threshold):
            return steps, key_set(new, v + 1, known.keys.threshold)
    else:
        assert own is not None, "it was asked for above"
        key = own()
        require_committed(papers, key)
        steps = [Step.of(key)]
    steps.append(Step(key_set(new, v + 1, threshold)))
    return steps, key_set(new, v + 2, threshold)


def begin(
    config: Config,
    home: Path,
    holders: Sequence[Holder],
    threshold: int | None,
    recovery: KeySet | None,
    alias: str | None,
    file: Path,
    now: int,
) -> Begun:
    """Prepare a publisher whose first root these people hold: keys for this machine, and the file
    that the holders are to sign.

    May be run again, with the same keys of this machine. Raises `RefusedError` where there is a
    publisher already or the file exists, `UsageError`.
    """
    if alias is not None:
        check_alias(alias)
    require_new(file)
    first, following = key_set(holders, 1, threshold), key_set(holders, 2, threshold)
    if recovery is not None and {*first.keys, *following.keys} & set(recovery.keys):
        raise UsageError("a key of a holder cannot be a recovery key too")
    layout = Layout.of(home, str(config.store.path or "store"))
    keyring = Keyring(layout)
    with Store.open(layout) as store:
        own = store.documents.own_publisher()
        if own is not None:
            raise RefusedError(
                f"this machine is publisher {own} already",
                remedy="`p2phub key rotate --holder` gives it to several holders; or give another"
                " home folder: --home DIR",
            )
        write_settings(home)
        peer_id = peer_id_of_seed(node_seed(keyring))
        root = Root(1, b"", first, following.digest, recovery)
        delegation = Delegation(
            publisher=root.digest,
            version=1,
            keys=(ReleaseKey(SigningKey(_seed(keyring, RELEASE)).public),),
            threshold=1,
            oms_keys=(ModelKey(_seed(keyring, OMS)).public,),
        )
        write_parcel_file(file, packed([sign(root, ()), sign(delegation, ())]))
        publisher = PublisherId(root.digest)
        pinned = pin_own(store, alias, publisher, now)
    told = tuple(f"{each.name}: {each.fingerprint}" for each in holders)
    return Begun(str(publisher), peer_id, pinned, file, first.threshold, told)


def _seed(keyring: Keyring, name: str) -> SecretBytes:
    """The seed of a key of this machine, which is made if there is none."""
    seed = keyring.load(name)
    if seed is None:
        seed = SecretBytes(secrets.token_bytes(SEED_SIZE))
        keyring.save(name, seed)
    return seed
