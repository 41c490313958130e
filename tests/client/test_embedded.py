"""A hub that runs a node of its own: a real child process, around a fake node."""

import sys
import threading
from pathlib import Path

import pytest

from p2phub import AsyncHub, Hub
from p2phub.client import embedded
from p2phub.client.running import find_running
from p2phub.errors import RefusedError, StoreLockedError
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.lock import StoreLock

PROGRAM = Path(__file__).parent.parent / "cli" / "fake_p2phub.py"


@pytest.fixture
def home(tmp_path, monkeypatch):
    def command(home, *options):
        return [sys.executable, str(PROGRAM), "--home", str(home), "--json", "node", *options]

    monkeypatch.setattr(embedded, "command", command)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path / "home"


def test_nothing_is_started_before_the_first_call(home):
    Hub(home).close()
    assert not home.exists()


def test_a_hub_starts_a_node_and_stops_it(home):
    with Hub(home) as hub:
        assert hub.pull("lab/minilm") == home / "snapshot"
        assert find_running(home) is not None
        process = hub._lease._own.process
    assert process.returncode == 0
    assert find_running(home) is None


def test_a_closed_hub_may_be_used_again(home):
    hub = Hub(home)
    hub.status()
    hub.close()
    assert hub.status().peers == 1
    hub.close()


def test_a_hub_follows_its_node_when_that_is_replaced(home):
    with Hub(home) as hub:
        hub.status()
        first = hub._lease._own.process
        first.kill()
        first.wait()
        assert hub.status().peers == 1
        assert hub._lease._own.process is not first


def test_two_hubs_at_once_share_one_node(home):
    found, errors = [], []

    def use():
        try:
            with Hub(home) as hub:
                found.append(hub.id().peer_id)
                together.wait(60)
        except BaseException as error:
            errors.append(error)
            together.abort()

    together = threading.Barrier(3)
    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found) == 3


async def test_an_async_hub_starts_a_node_and_stops_it(home):
    async with AsyncHub(home) as hub:
        assert (await hub.status()).peers == 1
    assert find_running(home) is None


def test_a_node_that_will_not_start_says_why(home, monkeypatch):
    monkeypatch.setenv("P2PHUB_TEST", "fail")
    with Hub(home) as hub, pytest.raises(RefusedError, match="does not want to") as caught:
        hub.status()
    assert caught.value.remedy == "ask nicely"


def test_a_store_that_somebody_keeps_is_an_error_after_a_while(home, monkeypatch):
    monkeypatch.setattr(embedded, "LOCK_PATIENCE", 0.1)
    layout = Layout.of(home)
    layout.make(Disk())
    lock = StoreLock.acquire(layout, Disk())
    with Hub(home) as hub, pytest.raises(StoreLockedError):
        hub.status()
    lock.release()


def test_a_hub_that_is_forgotten_stops_its_node(home):
    hub = Hub(home)
    hub.status()
    process = hub._lease._own.process
    del hub
    assert process.wait(60) == 0
