"""The libp2p host of both nodes dies while one pulls from the other.

The bytes have their own sockets, so the pull ends well while both hosts are still dead; when they
are back, everything works again without anybody's help.
"""

import threading

import pytest
import trio

from p2phub.network.libp2p_host import Libp2pNetwork
from p2phub.node.values import PullRequest
from p2phub.store.partial import Partial
from p2phub.testing.files import random_bytes
from tests.network.loopback import kill, until
from tests.scenarios.nodes import MIB, consumer, contents, model, new_publisher, node, publish


class Intermission:
    """Holds the first piece back until it is told to go on."""

    def __init__(self, monkeypatch) -> None:
        self.begun, self.over = threading.Event(), threading.Event()
        accept = Partial.accept

        def wait_and_accept(partial, index, data):
            self.begun.set()
            assert self.over.wait(60)
            accept(partial, index, data)

        monkeypatch.setattr(Partial, "accept", wait_and_accept)


class Limbo:
    """Hosts that died stay dead until they are let out."""

    def __init__(self, monkeypatch) -> None:
        self.is_open = False
        live = Libp2pNetwork._live

        async def wait_and_live(network, on_start):
            if network.restarts:
                await until(lambda: self.is_open, 120)
            await live(network, on_start)

        monkeypatch.setattr(Libp2pNetwork, "_live", wait_and_live)


@pytest.mark.budget(120)
async def test_a_pull_under_way_goes_on_while_both_hosts_are_dead(tmp_path, monkeypatch):
    folder, publisher = model(tmp_path / "model"), new_publisher(tmp_path / "a")
    (folder / "large.safetensors").write_bytes(random_bytes("large", 40 * MIB))
    limbo, events = Limbo(monkeypatch), []
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "b", serving, publisher) as pulling:
            intermission = Intermission(monkeypatch)
            networks = [serving._network, pulling._network]

            async def die_in_the_middle():
                await until(intermission.begun.is_set, 60)
                for network in networks:
                    kill(network)
                await until(lambda: {each.state for each in networks} == {"restarting"})
                intermission.over.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(die_in_the_middle)
                done = await pulling.pull(PullRequest("lab/x"), events.append)
            assert contents(done.path) == contents(folder)
            assert done.bytes_fetched == done.bytes_total
            assert [each.state for each in networks] == ["restarting", "restarting"]
            assert not [each for each in events if each.event == "warning"]  # none came by a stream

            limbo.is_open = True
            await until(lambda: all(each.peers() for each in networks), 60)
            assert (await pulling.status()).host_restarts == 1
            (folder / "config.json").write_text('{"hidden_size": 2}')
            again = await publish(serving, folder)
            done = await pulling.pull(PullRequest("lab/x"), events.append)
            assert done.commit == again.commit
            assert contents(done.path) == contents(folder)
