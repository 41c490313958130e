"""Homes that were copied, and nodes that went on from an old backup: no fork, nothing is lost, and
numbers are never given twice, whatever the clock says.
"""

import pytest
import trio

from p2phub.formats.digest import sha256
from p2phub.formats.limits import MAX_PARENTS
from p2phub.formats.publisher import Index, Ref, RepoEntry
from p2phub.node import housekeeping, other_writers
from p2phub.node.numbers import NUMBERS_A_SECOND
from p2phub.node.own_index import join_writers
from p2phub.node.values import PublishRequest
from p2phub.testing.publishers import FakePublisher
from tests.scenarios.nodes import consumer, node, publish, pull, quiet
from tests.scenarios.writers import (
    adopt,
    become,
    copy_of,
    document,
    folder_of,
    head_of,
    hear,
    index_of,
    services_of,
    settle,
    tips,
)

pytestmark = pytest.mark.slow
WRITERS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """What housekeeping does by itself is done by the test."""

    async def nothing(services):
        await trio.sleep_forever()

    for name in ("follow_other_writers", "join_what_is_told"):
        monkeypatch.setattr(housekeeping, name, nothing)


@pytest.fixture
def lab():
    return FakePublisher(7, writers=WRITERS)


@pytest.fixture
def homes(tmp_path, lab):
    return {writer: become(tmp_path / writer, lab, writer) for writer in WRITERS}


def at(monkeypatch, running, second):
    """Set the clock of a node."""
    object.__setattr__(services_of(running), "now", lambda: second)


@pytest.mark.slow
@pytest.mark.parametrize("behind", [0, 24 * 3600])
async def test_a_copied_home_that_publishes_in_turn_and_at_once_is_no_fork(
    tmp_path, lab, homes, behind, monkeypatch
):
    a, b, c = (folder_of(tmp_path, seed) for seed in "abc")
    async with node(homes["one"]) as one:
        await publish(one, a, "x")
        await pull_by_reader(tmp_path, lab, one, "x")
        second = services_of(one).now() - behind
    copy = copy_of(homes["one"], tmp_path / "copy")
    async with node(homes["one"]) as one, node(copy) as two:
        for running in (one, two):
            at(monkeypatch, running, second)
        first, other = await publish(one, b, "y"), await publish(two, c, "z")
        await two.connect(one.identity.addresses[0])
        await settle([one, two], lab)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, one, c, "v")
            nursery.start_soon(publish, two, a, "w")
        await settle([one, two], lab)
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            await reader.connect(two.identity.addresses[0])
            assert (await pull(reader, "lab/y")).commit == first.commit
            assert (await pull(reader, "lab/z")).commit == other.commit
            for name in ("v", "w", "x"):
                assert (await pull(reader, f"lab/{name}")).verdict != "forked"
            index_of(reader, lab)


async def pull_by_reader(tmp_path, lab, knows, name):
    async with consumer(tmp_path / "reader", knows, lab.publisher) as reader:
        await pull(reader, f"lab/{name}")


@pytest.mark.parametrize("releases", [1, 2, 3])
async def test_a_restored_backup_that_went_on_offline_joins_what_only_others_have(
    tmp_path, lab, homes, releases
):
    """Whether what it wrote is newer, as new, or older than what its first life wrote last."""
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    async with node(homes["one"]) as one:
        await publish(one, a, "x")
    backup = copy_of(homes["one"], tmp_path / "backup", same_node=True)
    async with node(homes["one"]) as one:
        await publish(one, a, "lost")
        second = await publish(one, b, "x")
        await pull_by_reader(tmp_path, lab, one, "x")
    async with node(backup) as restored:
        published = [
            await publish(restored, folder_of(tmp_path, f"r{n}"), f"y{n}") for n in range(releases)
        ]
        async with consumer(tmp_path / "reader", None, lab.publisher) as reader:
            await restored.connect(reader.identity.addresses[0])
            await hear(restored, lab)
            for n, each in enumerate(published):
                assert (await pull(reader, f"lab/y{n}")).commit == each.commit
            index_of(reader, lab)
            assert (await reader.info("lab/x")).commit == second.commit
            entries = services_of(restored).knowledge.entries(lab.publisher)
            names = [f"y{n}" for n in range(releases)]
            assert [entry.name for entry in entries] == ["lost", "x", *names]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "value", "names"),
    [
        ("MAX_STRAYS", 1, ["lost", "x", "y"]),
        ("MAX_STRAYS", 0, ["x", "y"]),
        ("MAX_PAGES", 1, ["lost", "x", "y"]),
        ("MAX_PAGES", 0, ["x", "y"]),
    ],
)
async def test_so_much_that_only_others_have_is_fetched_at_a_time(
    tmp_path, lab, homes, monkeypatch, limit, value, names
):
    monkeypatch.setattr(other_writers, limit, value)
    folder = folder_of(tmp_path, "a")
    async with node(homes["one"]) as one:
        await publish(one, folder, "x")
    backup = copy_of(homes["one"], tmp_path / "backup")
    async with node(backup) as restored:
        await publish(restored, folder, "y")
        await publish(restored, folder_of(tmp_path, "b"), "y")
        async with node(homes["one"]) as one:
            await publish(one, folder, "lost")
            await restored.connect(one.identity.addresses[0])
            await hear(restored, lab)
            entries = services_of(restored).knowledge.entries(lab.publisher)
            assert [entry.name for entry in entries] == names


@pytest.mark.parametrize(("ends", "indexes"), [(MAX_PARENTS, 1), (MAX_PARENTS + 1, 2)])
async def test_as_many_ends_as_an_index_has_parents_are_joined_by_one(tmp_path, ends, indexes):
    writers = [f"writer{n}" for n in range(ends)]
    lab = FakePublisher(7, writers=writers)
    async with node(become(tmp_path / "home", lab, writers[0])) as running:
        await publish(running, folder_of(tmp_path, "a"), "x")
        services = services_of(running)
        for writer in writers[1:]:
            entry = RepoEntry(writer, "model", {"main": Ref(bytes(32), 1)})
            index, pages = lab.sign_index(writer=writer, parents=(), seq=1, entries=[entry])
            documents = [(index.digest, "index", index.pack())]
            documents += [(sha256(page), "page", page) for page in pages]
            services.store.documents.put_many(documents)
            services.store.tips.replace([*tips(running), index.digest])
        before = len(services.store.documents.of_type("index"))
        assert await join_writers(services)
        assert len(services.store.documents.of_type("index")) == before + indexes
        assert len(services.knowledge.entries(lab.publisher)) == ends


async def test_what_was_signed_under_an_older_delegation_is_not_joined(tmp_path, lab, homes):
    async with node(homes["one"]) as one:
        await publish(one, folder_of(tmp_path, "a"), "x")
        heads = [head_of(one, lab)]
        await publish(one, folder_of(tmp_path, "b"), "x")
        async with node(homes["two"]) as two:
            await publish(two, folder_of(tmp_path, "b"), "y")
            await publish(two, folder_of(tmp_path, "a"), "y")
            services = services_of(two)
            assert len(other_writers._strays(services, lab.publisher, tuple(heads))) == 1
            lab.delegate(*WRITERS)
            adopt(services.store, lab)
            await publish(two, folder_of(tmp_path, "c"), "y")
            assert other_writers._strays(services, lab.publisher, tuple(heads)) == []


@pytest.mark.parametrize("offset", [-86_400, 0, 86_400])
async def test_writer_numbers_grow_whatever_the_clock_says(
    tmp_path, lab, homes, offset, monkeypatch
):
    async with node(homes["one"]) as one:
        numbers = []
        for seed, shift in (("a", 0), ("b", offset), ("c", offset)):
            at(monkeypatch, one, 1_700_000_000 + shift)
            await publish(one, folder_of(tmp_path, seed))
            numbers.append(document(one, index_of(one, lab), Index).writer_seq)
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 1_700_000_000 * NUMBERS_A_SECOND


@pytest.mark.parametrize("second", [0, (1 << 32) - 1, 1 << 32, 250_000_000_000])
async def test_a_number_fits_into_a_document_whatever_the_clock_says(
    tmp_path, lab, homes, second, monkeypatch
):
    async with node(homes["one"]) as one:
        at(monkeypatch, one, second)
        await one.publish(PublishRequest(folder_of(tmp_path, "a"), "x"), quiet)
        number = document(one, index_of(one, lab), Index).writer_seq
        assert min(second, (1 << 32) - 1) * NUMBERS_A_SECOND < number < 1 << 53
