"""Several nodes of one publisher write at the same time, offline and online: nothing is lost,
nobody sees a fork, and all end with one index.
"""

from contextlib import AsyncExitStack

import pytest
import trio

from p2phub.errors import NoSourceError
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey
from p2phub.formats.publisher import Index
from p2phub.node import housekeeping
from p2phub.node.own_index import join_writers, merge_if_behind
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import envelope
from tests.scenarios.nodes import consumer, node, publish, pull
from tests.scenarios.writers import (
    adopt,
    become,
    document,
    folder_of,
    head_of,
    hear,
    index_of,
    obey,
    services_of,
    settle,
    tips,
)

pytestmark = pytest.mark.slow
WRITERS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def by_hand(request, monkeypatch):
    """What housekeeping does by itself is done by the test, unless that is what it is about."""
    if "by_itself" not in request.node.name:

        async def nothing(services):
            await trio.sleep_forever()

        monkeypatch.setattr(housekeeping, "follow_other_writers", nothing)
        if "told" not in request.node.name:
            monkeypatch.setattr(housekeeping, "join_what_is_told", nothing)


@pytest.fixture
def lab():
    return FakePublisher(7, writers=WRITERS)


@pytest.fixture
def homes(tmp_path, lab):
    return {writer: become(tmp_path / writer, lab, writer) for writer in WRITERS}


async def until(done):
    for _ in range(1000):
        if done():
            break
        await trio.sleep(0.05)


def has_manifest(running, lab, commit):
    return bool(services_of(running).store.repos.find_commit(lab.publisher, "x", commit))


async def test_two_nodes_publish_at_the_same_time_and_nothing_is_lost(tmp_path, lab, homes):
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        offline = [await publish(one, a, "x"), await publish(two, b, "y")]
        await two.connect(one.identity.addresses[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, one, b, "z")
            nursery.start_soon(publish, two, a, "w")
        await settle([one, two], lab)
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            await reader.connect(two.identity.addresses[0])
            assert (await pull(reader, "lab/x")).commit == offline[0].commit
            assert (await pull(reader, "lab/y")).commit == offline[1].commit
            for name in ("z", "w"):
                assert (await pull(reader, f"lab/{name}")).verdict == "verified"
            index_of(reader, lab)


async def test_the_loser_joins_and_the_winner_waits(tmp_path, lab, homes):
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        await publish(one, a, "x")
        await publish(two, b, "y")
        first, second = index_of(one, lab), index_of(two, lab)
        winner, loser = (one, two) if first > second else (two, one)
        await two.connect(one.identity.addresses[0])
        assert not await obey(winner, lab)
        assert index_of(winner, lab) == max(first, second)
        assert await obey(loser, lab)
        joined = index_of(loser, lab)
        assert set(document(loser, joined, Index).parents) == {first, second}
        assert not await obey(winner, lab)
        assert index_of(winner, lab) == joined
        assert list(tips(winner)) == list(tips(loser)) == [joined]


@pytest.mark.slow
@pytest.mark.parametrize("how", [hear, obey])
async def test_three_writers_end_with_one_index(tmp_path, lab, homes, how):
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(home)) for home in homes.values()]
        for number, each in enumerate(nodes):
            await publish(each, folder_of(tmp_path, str(number)), f"x{number}")
        for each in nodes[1:]:
            await each.connect(nodes[0].identity.addresses[0])
        await nodes[2].connect(nodes[1].identity.addresses[0])
        await settle(nodes, lab, how)
        index = index_of(nodes[0], lab)
        entries = services_of(nodes[0]).knowledge.entries(lab.publisher)
        assert [entry.name for entry in entries] == ["x0", "x1", "x2"]
        assert document(nodes[0], index, Index).seq <= 1 + len(nodes)


async def test_a_node_that_meets_another_joins_what_that_wrote_by_itself(
    tmp_path, lab, homes, monkeypatch
):
    monkeypatch.setattr(housekeeping, "REMEMBER_EVERY", 0.05)
    monkeypatch.setattr(housekeeping, "JOIN_EVERY", 0.2)
    monkeypatch.setattr(housekeeping, "TRY_AGAIN", 0.2)
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        await publish(one, folder_of(tmp_path, "a"), "x")
        await publish(two, folder_of(tmp_path, "b"), "y")
        await two.connect(one.identity.addresses[0])
        with trio.fail_after(30):
            await until(lambda: all(tips(each) == [index_of(one, lab)] for each in (one, two)))
        for each in (one, two):
            names = [entry.name for entry in services_of(each).knowledge.entries(lab.publisher)]
            assert names == ["x", "y"]


@pytest.mark.slow
async def test_nodes_that_are_told_of_each_others_heads_join_them_at_once(tmp_path, lab, homes):
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(home)) for home in homes.values()]
        for each in nodes[1:]:
            await each.connect(nodes[0].identity.addresses[0])
        async with trio.open_nursery() as nursery:
            for number, each in enumerate(nodes):
                nursery.start_soon(publish, each, folder_of(tmp_path, str(number)), f"x{number}")

        def joined():
            ends = {tuple(tips(each)) for each in nodes}
            return ends == {(index_of(nodes[0], lab),)}

        with trio.fail_after(60):
            await until(joined)
        for each in nodes:
            entries = services_of(each).knowledge.entries(lab.publisher)
            assert [entry.name for entry in entries] == ["x0", "x1", "x2"]


async def test_what_lost_main_is_followed_by_the_next_release(tmp_path, lab, homes):
    a, b, c = (folder_of(tmp_path, seed) for seed in "abc")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        commits = {(await publish(one, a)).commit, (await publish(two, b)).commit}
        await two.connect(one.identity.addresses[0])
        await settle([one, two], lab)
        (entry,) = services_of(one).knowledge.entries(lab.publisher)
        won = commit_id(entry.refs["main"].release)
        (lost,) = commits - {won}
        loser = one if has_manifest(one, lab, lost) else two
        assert (await loser.info(f"x@{lost}")).commit == lost
        third = await publish(loser, c)
        release = document(loser, bytes.fromhex(third.digest), Release)
        assert {commit_id(parent) for parent in release.parents} == {won, lost}
        fourth = await publish(loser, a)
        release = document(loser, bytes.fromhex(fourth.digest), Release)
        assert [commit_id(parent) for parent in release.parents] == [third.commit]
        async with consumer(tmp_path / "reader", loser, lab.publisher) as reader:
            assert (await pull(reader, f"lab/x@{lost}")).commit == lost


async def test_a_key_for_some_repos_joins_what_it_may_not_write(tmp_path, homes):
    from p2phub.formats.publisher import ReleaseKey

    lab = FakePublisher(7, writers=WRITERS)
    limited = ReleaseKey(lab.key("two").public, repos=("y",))
    lab.delegate("one", limited)
    one_home = become(tmp_path / "first", lab, "one")
    two_home = become(tmp_path / "second", lab, "two")
    async with node(one_home) as one, node(two_home) as two:
        await publish(one, folder_of(tmp_path, "a"), "x")
        await publish(one, folder_of(tmp_path, "b"), "x")
        await publish(two, folder_of(tmp_path, "b"), "y")
        await two.connect(one.identity.addresses[0])
        assert await hear(two, lab)
        assert not await hear(one, lab)
        assert index_of(one, lab) == index_of(two, lab)
        names = [each.name for each in services_of(one).knowledge.entries(lab.publisher)]
        assert names == ["x", "y"]


@pytest.mark.slow
async def test_more_ends_than_an_index_has_parents_are_joined_by_several(tmp_path):
    writers = [f"writer{n}" for n in range(10)]
    lab = FakePublisher(7, writers=writers)
    folder = folder_of(tmp_path, "a")
    ends = []
    for writer in writers[:-1]:
        async with node(become(tmp_path / writer, lab, writer)) as running:
            await publish(running, folder, writer)
            ends.append(
                [
                    (digest, kind, data)
                    for kind in ("index", "page")
                    for digest in services_of(running).store.documents.of_type(kind)
                    if (data := services_of(running).store.documents.get(digest))
                ]
            )
    async with node(become(tmp_path / "last", lab, writers[-1])) as running:
        services = services_of(running)
        await publish(running, folder, "last")
        for documents in ends:
            services.store.documents.put_many(documents)
        indexes = services.store.documents.of_type("index")
        services.store.tips.replace(indexes)
        assert await join_writers(services)
        names = [each.name for each in services.knowledge.entries(lab.publisher)]
        assert names == sorted(["last", *writers[:-1]])
        assert list(tips(running)) == [index_of(running, lab)]
        assert not await join_writers(services)


async def test_what_cannot_be_fetched_is_logged_and_joined_later(tmp_path, lab, homes, caplog):
    async with node(homes["one"]) as one:
        await publish(one, folder_of(tmp_path, "a"), "x")
        await publish(one, folder_of(tmp_path, "b"), "x")
        head = head_of(one, lab)
        async with node(homes["two"]) as two:
            await publish(two, folder_of(tmp_path, "b"), "y")
            services_of(two).knowledge.learn_head(lab.publisher, head)
            assert not await merge_if_behind(services_of(two))
            assert "not joined" in caplog.text
            with pytest.raises(NoSourceError, match="another machine") as caught:
                await publish(two, folder_of(tmp_path, "a"), "z")
            assert "key revoke" in caught.value.remedy
            await two.connect(one.identity.addresses[0])
            assert await merge_if_behind(services_of(two))
            names = [each.name for each in services_of(two).knowledge.entries(lab.publisher)]
            assert names == ["x", "y"]


# ---------------------------------------------------------------- keys that were stolen


async def test_what_a_revoked_key_wrote_is_no_base_of_the_next_index(tmp_path, lab, homes):
    """The key of `two` was stolen after its second index: the third is the thief's."""
    a, b, c = (folder_of(tmp_path, seed) for seed in "abc")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        await two.connect(one.identity.addresses[0])
        good = await publish(one, a, "x")
        await publish(two, b, "y")
        last = index_of(two, lab)
        seq = document(two, last, Index).seq
        await publish(two, c, "x")
        await publish(two, c, "stolen")
        await hear(one, lab)
        assert index_of(one, lab) == index_of(two, lab)
        revoked = RevokedKey(lab.key("two").public, seq, last)
        notice = Revocation(lab.publisher.digest, 1, revoked, 1_700_000_000, "stolen")
        packed = envelope.sign(notice, lab.root_signers(1)).pack()
        lab.delegate("one", "three")
        adopt(services_of(one).store, lab)
        services_of(one).knowledge.learn_notice(packed)
        await publish(one, c, "z")
        entries = services_of(one).knowledge.entries(lab.publisher)
        assert [entry.name for entry in entries] == ["x", "y", "z"]
        assert commit_id(entries[0].refs["main"].release) == good.commit
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            assert (await pull(reader, "lab/x")).commit == good.commit
            assert (await pull(reader, "lab/z")).verdict == "verified"


def profile_of(running, lab):
    return dict(document(running, index_of(running, lab), Index).profile)


async def test_what_one_node_says_of_the_publisher_outlives_what_others_write(tmp_path, lab, homes):
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        await publish(one, a, "x")
        await two.connect(one.identity.addresses[0])
        await settle([one, two], lab)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.trust.set_profile, "The Lab", None)
            nursery.start_soon(two.trust.set_profile, None, "lab.example")
        await settle([one, two], lab)
        said = {"name": "The Lab", "domain": "lab.example"}
        assert profile_of(one, lab) == profile_of(two, lab) == said
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, one, b, "y")
            nursery.start_soon(publish, two, b, "z")
        await settle([one, two], lab)
        assert profile_of(one, lab) == profile_of(two, lab) == said


async def test_what_one_node_takes_back_of_the_profile_comes_back_by_no_other(tmp_path, lab, homes):
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    async with node(homes["one"]) as one, node(homes["two"]) as two:
        await publish(one, a, "x")
        await two.connect(one.identity.addresses[0])
        await one.trust.set_profile("The Lab", "lab.example")
        await settle([one, two], lab)
        await one.trust.set_profile(None, "")
        await publish(one, b, "y")
        await settle([one, two], lab)
        await publish(two, b, "z")
        await settle([one, two], lab)
        assert profile_of(one, lab) == profile_of(two, lab) == {"name": "The Lab"}
