"""What domains said of publishers: the last look survives a restart."""

import sqlite3

import pytest

from p2phub.errors import P2PHubError
from p2phub.formats.ids import PublisherId
from p2phub.trust.domains import DomainCheck

LAB, OTHER = PublisherId(bytes(32)), PublisherId(b"x" * 32)


def test_nothing_was_looked_at_at_first(store):
    assert store.domains.last(LAB) is None


def test_the_last_look_survives_a_restart(store, reopen):
    store.domains.keep(LAB, DomainCheck("example.org", "https", 100, 100))
    store.domains.keep(LAB, DomainCheck("example.org", "unreachable", 200, 100))
    again = reopen()
    assert again.domains.last(LAB) == DomainCheck("example.org", "unreachable", 200, 100)
    assert again.domains.last(OTHER) is None


def test_a_rotten_result_is_damage_and_no_proof(store, layout):
    store.domains.keep(LAB, DomainCheck("example.org", "contradicted", 100))
    database = sqlite3.connect(layout.index, isolation_level=None)
    try:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("UPDATE domains SET result = 'proved'")
    finally:
        database.close()
    with pytest.raises(P2PHubError, match="damaged"):
        store.domains.last(LAB)
