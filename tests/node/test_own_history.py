"""The history of our own publisher, walked back: so far and no further."""

from types import SimpleNamespace

import pytest

from p2phub.node import own_history
from p2phub.node.own_history import base_of, follows
from p2phub.testing.networks import MemoryWorld
from p2phub.testing.notices import revoke_key
from p2phub.testing.publishers import FakePublisher
from tests.node.spreaders import House

RELEASES = 5


@pytest.fixture(scope="module")
def releases():
    """Services of a store in which one release follows another, and their digests in order."""
    lab = FakePublisher(1)
    made = [lab.publish("demo", {"a": b"%d" % n}).release for n in range(RELEASES)]
    documents = {each.digest: each.pack() for each in made}
    return (
        SimpleNamespace(store=SimpleNamespace(documents=SimpleNamespace(get=documents.get))),
        [each.digest for each in made],
    )


@pytest.mark.parametrize(("history", "found"), [(RELEASES, True), (RELEASES - 1, False)])
def test_so_many_releases_are_walked_back_and_no_more(releases, monkeypatch, history, found):
    monkeypatch.setattr(own_history, "HISTORY", history)
    services, (first, second, *_, last) = releases
    assert follows(services, last, second)
    assert follows(services, last, first) == found


@pytest.fixture
def house(tmp_path):
    made = House(MemoryWorld(), tmp_path / "home", "a")
    yield made
    made.store.close()


@pytest.mark.parametrize(("history", "parents"), [(6, 1), (5, 0)])
def test_so_many_indexes_of_a_thief_are_walked_back_and_no_more(
    house, monkeypatch, history, parents
):
    monkeypatch.setattr(own_history, "HISTORY", history)
    lab = FakePublisher(1, writers=("release", "stolen"))
    house.pin(lab, "own")
    good = lab.publish("demo", {"a": b"good"})
    house.keep(lab, good)
    for number in range(3):
        house.keep(lab, lab.publish("demo", {"a": b"%d" % number}, writer="stolen"))
    house.knowledge.learn_notice(revoke_key(lab, "stolen").pack())
    assert base_of(house, lab.publisher).parents == (good.index.digest,) * parents
