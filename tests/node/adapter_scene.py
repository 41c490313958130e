"""A node with a model of one publisher on its disk, and adapters for it of another."""

from functools import partial
from types import SimpleNamespace

import trio

from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Card, Lineage, Release
from p2phub.node.infer import Inference
from p2phub.node.knowledge import Knowledge
from p2phub.node.pressure import Pressure
from p2phub.node.rules import rule_of
from p2phub.node.withdrawals import Withdrawals
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.model_pools import FakePool
from p2phub.testing.notices import revoke_release
from p2phub.testing.publishers import FakePublisher, Publication
from p2phub.trust.catalog import TrustedCatalog
from tests.node.adapter_folders import adapter_files, model_files
from tests.scenarios.nodes import settings, stock
from tests.scenarios.policy_scene import NOW


class AdapterScene:
    """`lab` has signed the model x and y, `poet` the adapters sonnet and haiku for x.

    `more`: releases of `poet` beside them, from the digest of x: files and what they say of it.
    `beside`: more files of x.
    """

    def __init__(self, tmp_path, more=lambda base: {}, beside=None) -> None:
        self.home = tmp_path / "home"
        self.lab, self.poet = FakePublisher(1), FakePublisher(2)
        self.made = {"x": self.lab.publish("x", model_files(1) | (beside or {}))}
        self.made["y"] = self.lab.publish("y", model_files(2))
        card = Card(base=("org/base-on-the-card",))
        named = {
            "sonnet": (adapter_files(1), (Lineage("adapter", self.digest_of("x")),)),
            "haiku": (adapter_files(2), (Lineage("adapter", self.digest_of("x")),)),
            **more(self.digest_of("x")),
        }
        for name, (files, lineage) in named.items():
            self.made[name] = self.poet.publish(name, files, lineage=lineage, card=card)
        for publisher in (self.lab, self.poet):
            stock(self.home, publisher)
        self.store = Store.open(Layout.of(self.home, "store"))
        self.store.documents.save_alias("lab", self.lab.publisher, 0)
        self.store.documents.save_alias("poet", self.poet.publisher, 0)
        for name, made in self.made.items():
            self.record(self.poet if name in named else self.lab, name, made)
        self.knowledge = Knowledge(
            self.store, TrustedCatalog(rule_of(self.store, settings())), lambda: NOW
        )
        self.withdrawals = Withdrawals(self.store, self.knowledge, lambda digest: None)
        self.services = SimpleNamespace(
            store=self.store,
            knowledge=self.knowledge,
            config=settings(),
            on_disk=lambda work, *more, **named: trio.to_thread.run_sync(
                partial(work, *more, **named)
            ),
            pressure=Pressure(trio.current_time),
            withdrawals=self.withdrawals,
        )
        self.pool = FakePool()
        self.inference = Inference(self.services, self.pool)

    def digest_of(self, name: str) -> bytes:
        return self.made[name].release.digest

    def hex_of(self, name: str) -> str:
        return self.digest_of(name).hex()

    def record(self, publisher: FakePublisher, name: str, made: Publication) -> None:
        digest = made.release.digest
        self.store.repos.record_release(digest, Release.from_payload(made.release.payload))
        self.store.repos.record_many(publisher.publisher, publisher.entries.values())
        self.store.repos.pulled(
            publisher.publisher, name, commit_id(digest), digest=digest, ref="main", now=NOW
        )

    def place(self, repo: str, name: str):
        """Where a file of a release lies, and its content."""
        files = Release.from_payload(self.made[repo].release.payload).files
        (file,) = [each for each in files if each.path == (name,)]
        return self.store.blobs.path(file.content), file.content

    async def revoke(self, name: str) -> None:
        publisher = self.lab if name in ("x", "y") else self.poet
        notice = revoke_release(publisher, self.digest_of(name))
        self.knowledge.learn_notice(notice.pack())
        await self.withdrawals.check(publisher.publisher)

    def close(self) -> None:
        self.store.close()
