"""Rules for single publishers: kept over a restart, and never guessed from a rotten row."""

import sqlite3

import pytest

from p2phub.errors import P2PHubError
from p2phub.formats.ids import PublisherId
from p2phub.trust.policy import Rule

LAB, OTHER = PublisherId(bytes(32)), PublisherId(b"x" * 32)


def test_nobody_has_a_rule_at_first(store):
    assert store.rules.rule(LAB) is None
    assert store.rules.all() == {}


def test_a_rule_survives_a_restart_and_is_of_its_publisher_only(store, reopen):
    store.rules.set_rule(LAB, Rule("warn", "refuse"))
    again = reopen()
    assert again.rules.rule(LAB) == Rule("warn", "refuse")
    assert again.rules.rule(OTHER) is None
    assert again.rules.all() == {LAB: Rule("warn", "refuse")}


def test_the_last_rule_holds(store):
    store.rules.set_rule(LAB, Rule("off"))
    store.rules.set_rule(LAB, Rule("enforce"))
    assert store.rules.rule(LAB) == Rule("enforce")


def test_a_dropped_rule_is_gone_and_dropping_none_says_so(store):
    store.rules.set_rule(LAB, Rule("off"))
    assert store.rules.drop_rule(LAB) is True
    assert store.rules.drop_rule(LAB) is False
    assert store.rules.rule(LAB) is None


def test_a_rotten_rule_is_damage_and_no_rule(store, layout):
    store.rules.set_rule(LAB, Rule("enforce"))
    database = sqlite3.connect(layout.index, isolation_level=None)
    try:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("UPDATE rules SET policy = 'anything'")
    finally:
        database.close()
    with pytest.raises(P2PHubError, match="damaged"):
        store.rules.rule(LAB)
