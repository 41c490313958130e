"""Use a store without a node: look at it, verify it, pin an alias. No network, no daemon.

`open_offline` takes no lock and changes nothing, so it works beside a running node, on a read-only
disk and on a machine that was never initialised. `edit_trust` takes the store's lock for a moment.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2phub.config import Config
from p2phub.errors import NotFoundError
from p2phub.formats.ids import Reference
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.claims import own_profile
from p2phub.node.inspect import Inspector
from p2phub.node.knowledge import Knowledge
from p2phub.node.rules import default_rule, rule_of
from p2phub.node.trust_editor import TrustEditor
from p2phub.node.trust_view import export_list, trust_list
from p2phub.node.values import Identity, Report, Verification
from p2phub.node.verify_oms import ModelCheck, ModelVerifier
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.age import Identity as AgeIdentity
from p2phub.trust.age import recipient_text
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.policy import Rule
from p2phub.trust_results import Profile, RuleSet, Trusted, TrustList


class Offline(Inspector):
    """What can be asked of a store that no node runs on."""

    def __init__(
        self, store: Store, knowledge: Knowledge, keyring: Keyring, everybody: Rule
    ) -> None:
        super().__init__(store, knowledge)
        self._keyring, self._everybody = keyring, everybody

    def trust_list(self) -> tuple[Trusted, ...]:
        """Every pinned alias, and everybody who has a rule of their own."""
        return trust_list(self._store, self._knowledge, self._everybody, int(time.time()))

    def export_list(self) -> TrustList:
        """Every alias and every rule, for another machine."""
        return export_list(self._store)

    def rule_of(self, who: str) -> RuleSet:
        """The rule for an alias or an id. Raises `NotFoundError`, `UsageError`."""
        return TrustEditor(self._store, self._everybody).set_policy(who, None, None)

    def profile(self) -> Profile:
        """What our own publisher says of itself. Raises `UsageError` without one."""
        return own_profile(self._store, self._knowledge)

    @property
    def identity(self) -> Identity:
        """Who this machine is. An empty peer id before the first `init` or `node`."""
        seed = self._keyring.load("node")
        publisher, alias = self.own()
        peer_id = peer_id_of_seed(seed) if seed else ""
        claims = self.own_claims()
        recipient = recipient_text(AgeIdentity.of_node(seed).recipient) if seed else None
        return Identity(peer_id, publisher, alias, (), claims.name, claims.domain, recipient)

    @property
    def age_identities(self) -> tuple[AgeIdentity, ...]:
        """What opens that which is sealed to this machine: none before `init` or `node`."""
        seed = self._keyring.load("node")
        return (AgeIdentity.of_node(seed),) if seed else ()

    def verify_model(self, asked: ModelCheck, report: Report = lambda event: None) -> Verification:
        """Check a folder, or a release on this disk, against its model signature.

        What is wrong is in the answer. Raises `NotFoundError` for what is neither, `UsageError` for
        a key that is none.
        """
        verifier = ModelVerifier(self._store, self._knowledge, int(time.time()))
        if Path(asked.target).is_dir():
            return verifier.check_folder(asked, report)
        if asked.target.startswith(("/", ".", "~")):
            raise NotFoundError(f"there is no folder {asked.target}", remedy="check the path")
        repo, digest, called = self._held(Reference.parse(asked.target))
        return verifier.check_release(repo.publisher, digest, called, asked, report)


@contextmanager
def open_offline(config: Config, home: Path) -> Iterator[Offline]:
    """Look at the store of `home`, which may be missing (then it is empty).

    Raises `RefusedError` if a newer p2phub wrote it, `P2PHubError` if its index is damaged.
    """
    layout = layout_of(config, home)
    store = Store.open(layout, read_only=True)
    try:
        yield Offline(store, knowledge_of(store, config), Keyring(layout), default_rule(config))
    finally:
        store.close()


@contextmanager
def edit_trust(config: Config, home: Path) -> Iterator[TrustEditor]:
    """Hold the store, to change whom it trusts. Raises `StoreLockedError` while a node runs."""
    with Store.open(layout_of(config, home)) as store:
        yield TrustEditor(store, default_rule(config))


def layout_of(config: Config, home: Path) -> Layout:
    """Where things lie for this configuration."""
    return Layout.of(home, str(config.store.path or "store"))


def knowledge_of(store: Store, config: Config) -> Knowledge:
    """A fresh gate over the documents of a store."""
    return Knowledge(store, TrustedCatalog(rule_of(store, config)), lambda: int(time.time()))
