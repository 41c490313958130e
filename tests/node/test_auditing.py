"""How the gate is set is noted when it changes, and a full disk keeps no node from starting."""

from itertools import count

import pytest
import trio

from p2phub.airgap_settings import AirgapSettings
from p2phub.node.auditing import audit_of, begin_audit
from p2phub.store.audit_log import read_lines
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import FullDisk

OPEN = AirgapSettings()
SHUT = AirgapSettings(quarantine=True, licenses=("mit",))


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path / "home")) as store:
        yield store


def audit(store):
    return audit_of(store, b"n" * 32, count(1).__next__, trio.to_thread.run_sync)


def noted(store):
    return [(each.event, dict(each.fields)) for each in read_lines(store.layout.audit)]


async def test_settings_are_noted_when_they_change_and_not_at_every_start(store):
    await begin_audit(audit(store), OPEN)
    assert not store.layout.audit.exists()
    for settings in (SHUT, SHUT, OPEN, OPEN, SHUT):
        await begin_audit(audit(store), settings)
    assert [fields["quarantine"] for _, fields in noted(store)] == [True, False, True]
    assert noted(store)[0][1]["licenses"] == ("mit",)


async def test_a_line_that_a_power_cut_tore_is_mended_at_the_start(store):
    await begin_audit(audit(store), SHUT)
    with store.index.write() as statements:
        statements._connection.execute("UPDATE audit_head SET written = 0")
    whole = store.layout.audit.read_bytes()
    store.layout.audit.write_bytes(whole[:50])
    await begin_audit(audit(store), SHUT)
    assert store.layout.audit.read_bytes().startswith(whole)
    assert [event for event, _ in noted(store)] == ["gate.settings", "audit.mended"]


async def test_a_full_disk_keeps_no_node_from_starting(store):
    full = FullDisk(0)
    log = audit(store)
    log.log._disk = full
    await begin_audit(log, SHUT)
    assert noted(store) == []
