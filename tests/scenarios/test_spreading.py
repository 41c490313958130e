"""News spread over real nodes: in a row, where only the one in the middle knows both others.

The two at the ends tell the world an address at which nobody listens, so that nothing but the one
in the middle can bring them together.
"""

import random
import time
from contextlib import asynccontextmanager

import trio

from p2phub.errors import RefusedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_TOLD, MAX_TOLD_DOCUMENT
from p2phub.formats.notices import Withdrawal
from p2phub.formats.publisher import RepoEntry
from p2phub.network.control_client import ControlClient
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.values import SearchQuery
from p2phub.testing.strangers import Stranger
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey
from tests.network.loopback import until
from tests.scenarios.nodes import consumer, machine, model, new_publisher, node, publish, pull

NOWHERE = {"NETWORK_ANNOUNCE": "/ip4/127.0.0.1/tcp/1"}
IN_TIME = 20
"""Seconds in which news reach everybody; the budget is a minute."""


@asynccontextmanager
async def row(tmp_path):
    """The publisher, the one in the middle, and one at the other end."""
    lab = new_publisher(tmp_path / "publisher")
    async with (
        consumer(tmp_path / "middle", None, lab) as middle,
        node(tmp_path / "publisher", middle, **NOWHERE) as first,
        consumer(tmp_path / "end", middle, lab, **NOWHERE) as last,
    ):
        await until(lambda: len(met(middle)) == 2)
        yield first, middle, last
        assert met(first) == {middle.identity.peer_id} == met(last)


def met(running) -> set[str]:
    return {peer.peer_id for peer in running._services.network.peers()}


def lab_of(running) -> PublisherId:
    return running._services.store.documents.aliases().pins["lab"]


def entry_of(running):
    """What is known here of lab/x, without asking anybody."""
    services = running._services
    if services.store.documents.head(lab_of(running)) is None:
        return None
    found = services.knowledge.find(lab_of(running), "x")
    return found if isinstance(found, RepoEntry) else None


def notices_of(running) -> tuple[bytes, ...]:
    return running._services.knowledge.notices(lab_of(running))


async def withdraw(running, release: bytes) -> bytes:
    """The publisher takes its release back, as its own command does."""
    services = running._services
    own = services.store.documents.own_publisher()
    key = SigningKey(services.keyring.load("release"))
    notice = Withdrawal(own.digest, release, int(time.time()), "it was a mistake")
    data = sign(notice, [key]).pack()
    services.knowledge.learn_notice(data)
    services.announcer.publisher(own, changed=True)
    return data


async def test_a_new_release_is_found_two_nodes_away_after_its_publisher_left(tmp_path):
    lab = new_publisher(tmp_path / "publisher")
    async with (
        consumer(tmp_path / "middle", None, lab) as middle,
        consumer(tmp_path / "end", middle, lab, **NOWHERE) as last,
    ):
        async with node(tmp_path / "publisher", middle, **NOWHERE) as first:
            await until(lambda: len(met(middle)) == 2)
            published = await publish(first, model(tmp_path / "model"))
            await until(lambda: entry_of(last) is not None, IN_TIME)
            assert met(last) == {middle.identity.peer_id}
        for each in (middle, last):
            found = entry_of(each)
            assert found.refs["main"].release.hex() == published.digest
            assert [hit.ref for hit in await each.search(SearchQuery(""))] == ["lab/x@main"]


async def test_what_is_taken_back_reaches_who_has_it_two_nodes_away(tmp_path):
    async with row(tmp_path) as (first, middle, last):
        published = await publish(first, model(tmp_path / "model"))
        await pull(middle)
        await pull(last)
        told = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(last.watch, told.append)
            notice = await withdraw(first, bytes.fromhex(published.digest))
            began = trio.current_time()
            await until(lambda: told, IN_TIME)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 60
        assert [(each.verdict, each.commit) for each in told] == [("withdrawn", published.commit)]
        assert notices_of(last) == notices_of(middle) == (notice,)


async def test_a_node_that_was_away_hears_of_it_when_it_comes_back(tmp_path):
    lab = new_publisher(tmp_path / "publisher")
    async with (
        machine(tmp_path / "end") as machine_of_last,
        consumer(tmp_path / "middle", None, lab) as middle,
    ):
        async with node(tmp_path / "publisher", middle, **NOWHERE) as first:
            last = await machine_of_last.on(middle, **NOWHERE)
            last._services.store.documents.save_alias("lab", PublisherId.parse(lab), 1)
            published = await publish(first, model(tmp_path / "model"))
            await pull(middle)
            await until(lambda: entry_of(last) is not None, IN_TIME)
            await machine_of_last.off()
            notice = await withdraw(first, bytes.fromhex(published.digest))
            await until(lambda: notices_of(middle) == (notice,), IN_TIME)
        last = await machine_of_last.on(middle, **NOWHERE)
        await until(lambda: notices_of(last) == (notice,), IN_TIME)


async def test_a_stranger_that_tells_garbage_without_end_is_refused_and_keeps_nobody_from_the_truth(
    tmp_path,
):
    lab = new_publisher(tmp_path / "publisher")
    noise = random.Random(1)
    async with (
        consumer(tmp_path / "middle", None, lab) as middle,
        node(tmp_path / "publisher", middle, **NOWHERE) as first,
        Stranger(bytes(32), bootstrap=middle.identity.addresses).running() as stranger,
    ):
        await until(lambda: {peer_id_of_seed(bytes(32))} <= met(middle))
        mallory = ControlClient(stranger.network, agent="mallory")
        victim = middle.identity.peer_id
        largest = [noise.randbytes(MAX_TOLD_DOCUMENT) for _ in range(12)]
        await mallory.tell(victim, largest)
        refused = 0
        for _ in range(40):
            try:
                await mallory.tell(victim, [noise.randbytes(200) for _ in range(MAX_TOLD)])
            except RefusedError:
                refused += 1
        assert refused > 20
        await publish(first, model(tmp_path / "model"))
        await until(lambda: entry_of(middle) is not None, IN_TIME)
        assert (await middle.status()).host_restarts == 0
