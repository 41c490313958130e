"""Where a path of the policy table goes: a disk that let everything in, and nodes around a case."""

from contextlib import asynccontextmanager

from p2phub.airgap.writer import BundleWriter
from p2phub.errors import UntrustedError
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.node.knowledge import Knowledge
from p2phub.store.disk import Disk as RealDisk
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.publishers import CREATED
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.refusals import verdict_of
from tests.scenarios.nodes import consumer, node, snapshots, stock
from tests.scenarios.policy_table import Case, Outcome

NOW = CREATED + 1000
ONLY_HASHING = "only who hashes the whole file can tell that the SHA-256 is wrong"
NOTHING_OLDER = "what lies on this disk passed the gate already, and is never replaced by older"


def outcome(error: UntrustedError) -> Outcome:
    return Outcome(verdict_of(error).value, refused=True, decision="refuse")


class Disk:
    """A store that let everything in, read by a node that was started afresh."""

    def __init__(self, tmp_path, case: Case, rule) -> None:
        stock(tmp_path / "home", case.lab, case.hidden)
        self.store = Store.open(Layout.of(tmp_path / "home", "store"))
        digest, publisher = case.made.release.digest, case.lab.publisher
        release = Release.from_payload(case.made.release.payload)
        self.store.repos.record_release(digest, release)
        self.store.repos.record_many(publisher, case.lab.entries.values())
        self.store.repos.pulled(
            publisher, "x", commit_id(digest), digest=digest, ref="main", now=NOW
        )
        lenient = Knowledge(self.store, TrustedCatalog(), lambda: NOW)
        for notice in case.notices:
            lenient.learn_notice(notice.pack())
        self.knowledge = Knowledge(self.store, TrustedCatalog(lambda _: rule), lambda: NOW)

    def close(self) -> None:
        self.store.close()


def write_bundle(stick, case: Case) -> None:
    """A stick with all that a publisher has said, by somebody who checked nothing."""
    lab = case.lab
    stick.mkdir()
    release = Meant(lab.publisher.digest, "x", "model", case.made.release.digest, 1)
    notices = tuple(notice.pack() for notice in case.notices)
    with BundleWriter(stick, RealDisk()) as into:
        for digest, data in {**lab.documents, **(case.hidden or {})}.items():
            into.put("documents", digest, data)
        for content, table in lab.tables.items():
            into.put("documents", content.digest, table)
        for content, data in lab.contents.items():
            assert not content.has_table
            into.put("pieces", content.digest, data)
        into.finish(Contents(NOW, (lab.head.pack(),), notices, (release,)))


@asynccontextmanager
async def pulling(tmp_path, case: Case, rule, **more):
    """A node that pulls from one that let everything in; it knows what was taken back.

    `more`: its settings, as for `settings`.
    """
    stock(tmp_path / "there", case.lab, case.hidden)
    async with (
        node(tmp_path / "there") as serving,
        consumer(tmp_path / "here", serving, case.lab.publisher, **more) as running,
    ):
        await running.trust.set_policy("lab", rule.policy, rule.stale)
        knowledge = running._services.knowledge
        head = (case.newer or case.made).head
        knowledge.learn_head(case.lab.publisher, head.pack())
        for notice in case.notices:
            knowledge.learn_notice(notice.pack())
        yield running


async def brought(tmp_path, case: Case, rule, bring, **more) -> Outcome:
    async with pulling(tmp_path, case, rule, **more) as running:
        try:
            verdict = await bring(running)
        except UntrustedError as error:
            assert not list(snapshots(tmp_path / "here"))
            return outcome(error)
        return Outcome(verdict, refused=False)


WORDS = {
    "unsigned": "signed? No: 0 signatures",
    "untrusted key": "signed by release keys in force? No",
    "revoked": "not revoked? No",
    "withdrawn": "not withdrawn? No",
    "forked": "forked? No",
    "verified, stale since": "fresh enough? No",
}
"""Which step of the gate the message of an error names."""


def named_in(message: str) -> str:
    """The verdict that the message of an error stands for."""
    return next(each for each in WORDS if WORDS[each] in message)
