"""Several nodes as processes that fetch one model at once: how long it takes, and who uploads what.

Everybody is on this machine, so lines are narrowed to well below what it can do. The bounds are
those that a busy machine keeps; `scripts/bench` measures without them.
"""

import threading
from pathlib import Path

import pytest

from p2phub.testing.files import random_bytes
from tests.scenarios.processes import Daemon, Home, Machines, Told, ended, machines

MIB = 1 << 20
SIZE = 96 * MIB
MEETING = 2.0
"""Seconds that five nodes may need, on a busy machine, until they have found one another."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def one_big_file(folder: Path) -> Path:
    folder.mkdir()
    (folder / "weights.dat").write_bytes(random_bytes("swarm", SIZE))
    return folder


def joined(made: Machines, name: str, address: str, publisher_id: str) -> tuple[Home, Daemon]:
    """A home whose daemon runs, which has met `address` and calls the publisher lab."""
    home = made.home(name)
    daemon = home.daemon(address)
    home.done("trust", "add", "lab", publisher_id)
    return home, daemon


def pull_at_once(homes: list[Home]) -> list[Told]:
    """What they say; all must end well."""
    told: dict[int, Told] = {}
    processes = [home.start("pull", "lab/x") for home in homes]

    def wait(number: int) -> None:
        told[number] = ended(processes[number], "pull", seconds=90)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(len(homes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [told[number].code for number in range(len(homes))] == [0] * len(homes), told
    return [told[number] for number in range(len(homes))]


def brought_by(peer_id: str, told: list[Told]) -> int:
    """The bytes that a peer gave to all of them, as far as they could use them."""
    shares = [share for each in told for share in each.last["shares"]]
    return sum(share["bytes"] for share in shares if share["name"] == peer_id)


@pytest.mark.budget(200)
def test_the_narrow_line_of_a_publisher_carries_a_model_for_four_about_once(tmp_path, capsys):
    cap = 3 * MIB
    with machines(tmp_path) as made:
        publisher = made.publisher(SWARM_UP=str(cap))
        serving = publisher.daemon()
        publisher.done("publish", one_big_file(tmp_path / "model"), "x")
        nodes = [
            joined(made, f"node{number}", serving.address, serving.publisher_id)
            for number in range(4)
        ]
        told = pull_at_once([home for home, _ in nodes])
        seconds = max(each.last["seconds"] for each in told)
        uploaded = brought_by(serving.peer_id, told)
        figures = f"{seconds * cap / SIZE:.3f} x size/cap, {uploaded / SIZE:.3f} x size uploaded"
        with capsys.disabled():
            print(f"\nfour nodes from one publisher: {figures}")
        assert uploaded <= 1.1 * SIZE, figures
        assert seconds <= 1.15 * SIZE / cap + MEETING, figures


@pytest.mark.budget(200)
def test_four_sources_with_narrow_lines_add_up(tmp_path, capsys):
    cap = 1 * MIB
    with machines(tmp_path) as made:
        publisher = made.publisher()
        serving = publisher.daemon()
        publisher.done("publish", one_big_file(tmp_path / "model"), "x")
        seeders = [
            joined(made, f"seeder{number}", serving.address, serving.publisher_id)
            for number in range(3)
        ]
        pull_at_once([home for home, _ in seeders])
        publisher.settings["P2PHUB_SWARM_UP"] = str(cap)
        serving.stop()
        serving = publisher.daemon()
        for home, daemon in seeders:
            daemon.stop()
            home.settings["P2PHUB_SWARM_UP"] = str(cap)
            home.daemon(serving.address)
        last, _ = joined(made, "last", serving.address, serving.publisher_id)
        (told,) = pull_at_once([last])
        seconds, sum_of_lines = told.last["seconds"], 4 * cap
        figures = f"{SIZE / seconds / sum_of_lines:.3f} x the sum of their lines"
        with capsys.disabled():
            print(f"\none node from four sources: {figures}")
        assert told.last["sources"] == 4, told
        assert seconds <= SIZE / sum_of_lines / 0.95 + MEETING, figures
