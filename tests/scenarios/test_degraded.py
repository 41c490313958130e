"""What still works when something is in the way."""

import pytest

from p2phub.network.data_server import DataServer
from p2phub.node import planes
from p2phub.node.values import PullRequest
from p2phub.testing.files import random_bytes
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    flip,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    refused,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def data_servers(monkeypatch):
    """The data server of every node that starts, in order."""
    made = []

    class Noted(DataServer):
        def start(self):
            made.append(self)
            super().start()

    monkeypatch.setattr(planes, "DataServer", Noted)
    return made


async def test_a_blocked_data_port_is_told_and_the_bytes_come_over_a_stream(tmp_path, data_servers):
    folder, publisher = model(tmp_path / "model"), new_publisher(tmp_path / "a")
    (folder / "large.bin.safetensors").write_bytes(random_bytes("large", 20 * MIB))
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)
        data_servers[0].stop()
        async with consumer(tmp_path / "b", serving, publisher) as pulling:
            events = []
            done = await pulling.pull(PullRequest("lab/x"), events.append)
            assert contents(done.path) == contents(folder)
            assert done.bytes_fetched == done.bytes_total
            (warning,) = [each for each in events if each.event == "warning"]
            assert serving.identity.peer_id in warning.message
            assert "stream" in warning.message
            assert [peer.direct for peer in await pulling.peers()] == [False]
            (found,) = await pulling.verify("lab/x", quiet)
            assert found.ok


async def test_what_comes_over_a_stream_is_verified_too(tmp_path, data_servers):
    folder, publisher = model(tmp_path / "model"), new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)
        data_servers[0].stop()
        config = next(row for row in await serving.ls("x") if row.path == "config.json").content
        store = tmp_path / "a" / "store"
        flip(store / "blobs" / config.partition("-")[2][:2] / config, keep_times=True)
        async with consumer(tmp_path / "b", serving, publisher) as pulling:
            error = await refused(4, pulling)
            assert "config.json" in error.message


async def test_a_data_port_that_closes_in_the_middle_of_a_pull(tmp_path, data_servers):
    folder, publisher = model(tmp_path / "model"), new_publisher(tmp_path / "a")
    (folder / "large.safetensors").write_bytes(random_bytes("large", 40 * MIB))
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)

        def close_early(event):
            if event.event == "file":
                data_servers[0].stop()

        async with consumer(tmp_path / "b", serving, publisher) as pulling:
            done = await pulling.pull(PullRequest("lab/x"), close_early)
            assert contents(done.path) == contents(folder)
            assert done.bytes_fetched == done.bytes_total
