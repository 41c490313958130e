"""Looks at domains in the background: none ends the node, and none is made twice for nothing."""

import pytest
import trio

from p2phub.errors import NoSpaceError, RemoteError
from p2phub.formats.ids import PublisherId
from p2phub.node import domains as module
from p2phub.node.claims import Claims
from p2phub.node.domains import FRESH, MOST_DUE, SOON, Domains
from p2phub.trust.domains import DomainCheck

LAB = PublisherId(bytes(32))
NOW = 1_800_000_000


class Aliases:
    def alias_of(self, publisher):
        return "lab"


class Kept:
    """The part of a store that is used here."""

    def __init__(self):
        self.documents = self.domains = self
        self.looks = {}
        self.full = False

    def aliases(self):
        return Aliases()

    def last(self, publisher):
        return self.looks.get(publisher)

    def keep(self, publisher, check):
        if self.full:
            raise NoSpaceError("the disk is full")
        self.looks[publisher] = check


class Door:
    """Both ways to ask."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    async def named(self, domain):
        self.asked.append(domain)
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def of(self, name):
        raise RemoteError("no name server")


@pytest.fixture
def store():
    return Kept()


@pytest.fixture
def looking(store, monkeypatch):
    """Domains of which every publisher claims `lab.example`; gives them and what was asked."""

    def claims_of(store, knowledge, publisher):
        return Claims.of({"domain": "lab.example"}, store.last(publisher))

    monkeypatch.setattr(module, "claims_of", claims_of)

    def make(answer=frozenset({LAB}), **more):
        door = Door(answer)
        return Domains(store, None, lambda: NOW, well_known=door, text_records=door, **more), door

    return make


async def run_until_idle(domains):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(domains.run)
        with trio.fail_after(5):
            while domains._due:  # noqa: ASYNC110 - the threads of the look have no event
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_full_disk_is_logged_and_the_next_is_looked_at(store, looking, caplog):
    domains, door = looking()
    store.full = True
    domains.pulled(LAB)
    domains.pulled(PublisherId(b"x" * 32))
    await run_until_idle(domains)
    assert len(door.asked) == 2
    assert caplog.text.count("the disk is full") == 2


@pytest.mark.parametrize(
    ("result", "age", "asked"),
    [
        ("https", FRESH - 1, 0),
        ("https", FRESH, 1),
        ("contradicted", FRESH - 1, 0),
        ("unreachable", SOON - 1, 0),
        ("unreachable", SOON, 1),
        ("https", -1, 1),  # the clock went back: nobody knows how old it is
    ],
)
async def test_a_look_is_made_again_when_it_is_due(store, looking, result, age, asked):
    store.looks[LAB] = DomainCheck("lab.example", result, NOW - age)
    domains, door = looking()
    domains.pulled(LAB)
    await run_until_idle(domains)
    assert len(door.asked) == asked


async def test_another_domain_than_the_last_is_looked_at_at_once(store, looking):
    store.looks[LAB] = DomainCheck("former.example", "https", NOW, NOW)
    domains, door = looking(frozenset())
    domains.pulled(LAB)
    await run_until_idle(domains)
    assert door.asked == ["lab.example"]
    assert store.looks[LAB] == DomainCheck("lab.example", "unreachable", NOW, None)


async def test_nobody_is_asked_where_it_is_switched_off_but_for_who_asks(store, looking):
    domains, door = looking(enabled=False)
    domains.pulled(LAB)
    await run_until_idle(domains)
    assert door.asked == []
    assert (await domains.look(LAB)).domain_result == "https"


@pytest.mark.parametrize("count", [MOST_DUE, MOST_DUE + 1])
async def test_the_queue_has_an_end(looking, count):
    domains, _ = looking()
    for number in range(count):
        domains.pulled(PublisherId(number.to_bytes(32, "big")))
    assert len(domains._due) == MOST_DUE
