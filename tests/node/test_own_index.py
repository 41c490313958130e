"""Signing after the newest index, while other nodes of ours go on publishing."""

from types import SimpleNamespace

import pytest

from p2phub.errors import NoSourceError, NotFoundError, RolledBackError
from p2phub.formats.limits import MAX_PARENTS
from p2phub.node import own_index
from p2phub.node.own_index import HEARD_MEANWHILE, JOINED_AT_ONCE, on_newest
from p2phub.store.tips import MAX_TIPS

OWN = object()


class Network:
    """Our newest head as it is heard of, and whether its index is here."""

    def __init__(self):
        self.newest, self.here, self.fetched = 1, 1, []
        self.knowledge = SimpleNamespace(state=lambda own: self.newest, lacking=self.lacking)

    def lacking(self, own):
        return None if self.here == self.newest else self.newest

    async def on_disk(self, work, *args):
        return work(*args)

    def hears(self):
        self.newest += 1


@pytest.fixture
def network(monkeypatch):
    made = Network()

    async def bring_index(services, own):
        made.fetched.append(made.newest)
        made.here = made.newest

    monkeypatch.setattr(own_index, "bring_index", bring_index)
    return made


@pytest.mark.parametrize("said", [NotFoundError, RolledBackError])
async def test_a_head_that_is_heard_of_meanwhile_is_followed(network, said):
    heard = []

    def sign():
        if len(heard) < HEARD_MEANWHILE:
            heard.append(network.hears())
            raise said("the index is not on this disk")
        return network.here

    assert await on_newest(network, OWN, sign) == 1 + HEARD_MEANWHILE
    assert network.fetched == [2, 3, 4, 5]


async def test_more_heads_than_so_many_end_it(network):
    def sign():
        network.hears()
        raise NotFoundError("the index is not on this disk")

    with pytest.raises(NotFoundError):
        await on_newest(network, OWN, sign)
    assert len(network.fetched) == HEARD_MEANWHILE


async def test_what_fails_for_another_reason_is_not_tried_again(network):
    def sign():
        raise NotFoundError("there is no such key")

    with pytest.raises(NotFoundError, match="key"):
        await on_newest(network, OWN, sign)
    assert network.fetched == []


async def test_an_index_that_nobody_has_is_said(network, monkeypatch):
    async def bring_index(services, own):
        raise NoSourceError("nobody has it")

    monkeypatch.setattr(own_index, "bring_index", bring_index)

    def sign():
        network.hears()
        raise NotFoundError("the index is not on this disk")

    with pytest.raises(NoSourceError):
        await on_newest(network, OWN, sign)


@pytest.mark.parametrize("over", [0, 1])
def test_so_many_indexes_are_signed_to_join_a_history_and_no_more(monkeypatch, over):
    """However the ends of it lie: each index that is signed may leave some of them over."""
    left, signed = [JOINED_AT_ONCE + over], []

    def sign_index(services, author, base):
        signed.append(base)
        left[0] -= 1

    monkeypatch.setattr(own_index, "sign_index", sign_index)
    monkeypatch.setattr(
        own_index, "base_of", lambda *_: SimpleNamespace(joins=left[0] > 0, parents=(b"x",))
    )
    for name in ("adopt_identity", "author_of", "require_may_write", "own_delegation"):
        monkeypatch.setattr(own_index, name, lambda *_: SimpleNamespace(key=None))
    assert own_index._join(SimpleNamespace(now=lambda: 0), OWN)
    assert (len(signed), left) == (JOINED_AT_ONCE, [over])


def test_so_many_indexes_are_enough_for_every_end_that_is_kept():
    joined = MAX_PARENTS + (JOINED_AT_ONCE - 1) * (MAX_PARENTS - 1)
    assert joined >= MAX_TIPS + 1  # the newest one, too
