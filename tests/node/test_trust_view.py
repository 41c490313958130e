"""What `trust ls` tells: what is pinned, what is known of it, and who has forked, pinned or not."""

import sqlite3

import pytest

from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index, Page
from p2phub.node.knowledge import Knowledge
from p2phub.node.trust_editor import TrustEditor
from p2phub.node.trust_view import trust_list
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.notices import fork_proof
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.policy import Rule

NOW = 1_800_000_000


class Desk:
    def __init__(self, home):
        self._layout = Layout.of(home)
        self.open()

    def open(self):
        self.store = Store.open(self._layout)
        self.knowledge = Knowledge(self.store, TrustedCatalog(), lambda: NOW)

    def learn(self, lab, made):
        self.knowledge.learn_head(lab.publisher, made.head.pack())
        self.knowledge.learn(made.index.pack(), made.index.digest, Index)
        for page in made.pages:
            self.knowledge.learn(page, sha256(page), Page)
        self.knowledge.learn(made.release.pack(), made.release.digest, Release)

    def fork(self, lab):
        one, _ = lab.sign_index(writer_seq=7, parents=(), seq=1)
        two, _ = lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)
        self.knowledge.learn_notice(fork_proof(lab, one, two).pack())
        return {one.digest.hex(), two.digest.hex()}

    def pin(self, alias, lab):
        TrustEditor(self.store).add(alias, str(lab.publisher))

    def rows(self, everybody=None):
        return trust_list(self.store, self.knowledge, everybody or Rule(), NOW)


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path / "home")
    yield made
    made.store.close()


def test_a_pinned_publisher_that_nothing_is_known_of(desk):
    lab = FakePublisher(1)
    desk.pin("lab", lab)
    (row,) = desk.rows(Rule("warn", "refuse"))
    assert (row.alias, row.publisher_id) == ("lab", str(lab.publisher))
    assert (row.policy, row.stale, row.own_rule) == ("warn", "refuse", False)
    assert (row.root_v, row.delegation_version, row.seq, row.seen) == (0, 0, 0, None)


def test_the_newest_that_was_seen_and_since_when_it_is_stale(desk):
    lab = FakePublisher(1, not_after=NOW - 1)
    lab.rotate()
    desk.pin("lab", lab)
    desk.learn(lab, lab.publish("x", {"a": b"1"}))
    (row,) = desk.rows()
    assert (row.root_v, row.delegation_version, row.seq) == (2, 1, 1)
    assert (row.seen, row.stale_since) == (NOW, NOW - 1)


@pytest.mark.parametrize("age", [0, 1])
def test_what_is_fresh_to_the_last_second_is_not_stale(desk, age):
    lab = FakePublisher(1, not_after=NOW + age)
    desk.pin("lab", lab)
    desk.learn(lab, lab.publish("x", {"a": b"1"}))
    assert desk.rows()[0].stale_since is None


def test_aliases_come_by_name_and_a_rule_without_one_after_them(desk):
    labs = [FakePublisher(seed) for seed in (1, 2, 3)]
    desk.pin("b", labs[0])
    desk.pin("a", labs[1])
    desk.pin("c", labs[0])
    desk.store.rules.set_rule(labs[2].publisher, Rule("off"))
    desk.store.rules.set_rule(labs[0].publisher, Rule("warn"))
    assert [(row.alias, row.policy) for row in desk.rows()] == [
        ("a", "enforce"),
        ("b", "warn"),
        ("c", "warn"),
        ("", "off"),
    ]


class TestAFork:
    def test_is_told_with_both_digests_also_after_a_restart(self, desk):
        lab = FakePublisher(1)
        desk.pin("lab", lab)
        desk.learn(lab, lab.publish("x", {"a": b"1"}))
        digests = desk.fork(lab)
        for _ in range(2):
            (row,) = desk.rows()
            assert row.forked
            assert set(row.fork) == digests
            desk.store.close()
            desk.open()

    def test_of_somebody_without_an_alias_is_told_too(self, desk):
        lab = FakePublisher(1)
        desk.learn(lab, lab.publish("x", {"a": b"1"}))
        assert desk.rows() == ()
        digests = desk.fork(lab)
        (row,) = desk.rows()
        assert (row.alias, row.publisher_id, set(row.fork)) == ("", str(lab.publisher), digests)

    def test_that_was_settled_is_told_of_nobody_without_an_alias(self, desk):
        lab = FakePublisher(1)
        desk.learn(lab, lab.publish("x", {"a": b"1"}))
        desk.fork(lab)
        lab.sign_index()
        lab.delegate("other")
        lab.sign_index(writer="other")
        desk.knowledge.learn_head(lab.publisher, lab.sign_head(signers=("other",)).pack())
        assert desk.rows() == ()


def test_a_head_that_rotted_is_told_as_damage(desk, tmp_path):
    lab = FakePublisher(1)
    desk.pin("lab", lab)
    desk.learn(lab, lab.publish("x", {"a": b"1"}))
    desk.store.close()
    database = sqlite3.connect(tmp_path / "home" / "store" / "index.db", isolation_level=None)
    try:
        database.execute("UPDATE documents SET data = x'00' WHERE type = 'head'")
    finally:
        database.close()
    desk.open()
    (row,) = desk.rows()
    assert "damaged" in row.damage
    assert row.alias == "lab"
