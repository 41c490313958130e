"""The audit log from the command line, which needs no node."""

import pytest

from p2phub.node.initialise import node_seed
from p2phub.store.audit_log import AuditLog
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.keys import SigningKey


@pytest.fixture
def logged(home):
    """A home with three lines."""
    layout = Layout.of(home)
    with Store.open(layout) as store:
        key = SigningKey(node_seed(Keyring(layout)))
        log = AuditLog(layout, store.disk, store.index, key, lambda: 1_764_000_000)
        log.append("bundle.import.started", {"path": "/media/stick"})
        log.append("bundle.import.release", {"ref": "x\x1b[2J", "outcome": "came"})
        log.append("bundle.import.ended", {"exit": 0})
    return layout.audit


def test_a_removed_line_ends_with_4_and_is_named(cli, logged):
    assert cli("audit", "verify").code == 0
    lines = logged.read_bytes().splitlines(keepends=True)
    logged.write_bytes(lines[0] + lines[2])
    result = cli("audit", "verify")
    assert (result.code, "line 2 is missing" in result.out) == (4, True)
    (told,) = cli("--json", "audit", "verify").objects
    assert (told["ok"], told["problems"][0]["line"]) == (False, 2)


def test_what_was_written_down_is_compared(cli, logged):
    head = cli("audit", "head").out.strip()
    assert head.startswith("3:")
    assert cli("audit", "verify", "--head", head).code == 0
    assert cli("audit", "verify", "--head", f"4:{head[2:]}").code == 4
    assert cli("audit", "verify", "--head", f"3:{'0' * 64}").code == 4
    assert cli("audit", "verify", "--head", "nonsense").code == 2


def test_ls_shows_what_happened_and_nothing_that_steers_a_terminal(cli, logged):
    result = cli("audit", "ls")
    assert "path=/media/stick" in result.out
    assert "\x1b" not in result.out
    assert [row["seq"] for row in cli("--json", "audit", "ls").objects] == [1, 2, 3]
    assert cli("audit", "ls", "--since", "2026-01-01").out == ""
    assert cli("audit", "ls", "--since", "yesterday").code == 2


def test_without_a_node_there_is_nothing_to_verify_and_no_folder_is_made(cli, home):
    assert cli("audit", "verify").code == 3
    assert cli("audit", "head").code == 3
    assert not home.exists()
