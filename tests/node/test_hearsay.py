"""What others say, offered to a real gate: each once, and only what is new is news."""

import pytest
import trio
import trio.testing

from p2phub.errors import NoSpaceError
from p2phub.node import hearsay
from p2phub.node.hearsay import Hearsay
from p2phub.node.knowledge import Knowledge
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.notices import revoke_release, withdraw
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import merge, sign_payload
from tests.node.spreaders import NOW, inline

LAB = FakePublisher(1, writers=("release", "second"))
FIRST = LAB.publish("demo", {"README.md": b"first"})
SECOND = LAB.publish("demo", {"README.md": b"second"})
REVOKED = revoke_release(LAB, FIRST.release.digest)


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield store


@pytest.fixture
def knowledge(store):
    return Knowledge(store, TrustedCatalog(), lambda: NOW)


@pytest.fixture
def heard(store, knowledge):
    store.documents.save_alias("lab", LAB.publisher, NOW)
    return Hearsay(store, knowledge, inline)


async def test_news_come_as_the_gate_took_them(heard):
    taken = await heard.take([FIRST.head.pack(), REVOKED.pack()])
    assert [each.type for each in taken.news] == ["head", "revocation"]
    assert [each.data for each in taken.news] == [FIRST.head.pack(), REVOKED.pack()]
    assert {each.publisher for each in taken.news} == {LAB.publisher}
    assert taken.shaken == {LAB.publisher}


async def test_what_was_news_is_news_once(heard):
    await heard.take([FIRST.head.pack(), REVOKED.pack()])
    taken = await heard.take([FIRST.head.pack(), REVOKED.pack(), FIRST.head.pack()])
    assert (taken.news, taken.refused, taken.unknown) == ((), 0, 0)


async def test_what_was_known_before_a_restart_is_no_news(heard, store):
    await heard.take([FIRST.head.pack(), REVOKED.pack()])
    again = Hearsay(store, Knowledge(store, TrustedCatalog(), lambda: NOW), inline)
    taken = await again.take([FIRST.head.pack(), REVOKED.pack()])
    assert (taken.news, taken.refused, taken.old) == ((), 0, 2)


async def test_the_same_in_other_bytes_is_old(heard):
    await heard.take([FIRST.head.pack()])
    same = merge(FIRST.head, sign_payload("head", FIRST.head.payload, [LAB.key("stranger")]))
    assert same.pack() != FIRST.head.pack()
    taken = await heard.take([same.pack()])
    assert (taken.news, taken.refused, taken.old) == ((), 0, 1)


async def test_a_signature_more_on_a_notice_is_news(heard):
    first = withdraw(LAB, FIRST.release.digest, signers=["release"])
    second = withdraw(LAB, FIRST.release.digest, signers=["second"])
    await heard.take([FIRST.head.pack(), first.pack()])
    (news,) = (await heard.take([second.pack()])).news
    assert news.data == merge(first, second).pack()
    assert (await heard.take([first.pack(), second.pack(), news.data])).news == ()


async def test_another_head_of_the_same_delegation_shakes_nothing(heard):
    await heard.take([FIRST.head.pack()])
    taken = await heard.take([SECOND.head.pack()])
    assert len(taken.news) == 1
    assert taken.shaken == frozenset()


async def test_a_new_delegation_shakes_what_stands_on_the_old_one(heard):
    lab = FakePublisher(1, writers=("release", "second"))
    lab.publish("demo", {"README.md": b"first"})
    lab.delegate("release")
    moved = lab.publish("demo", {"README.md": b"moved"})
    await heard.take([FIRST.head.pack()])
    assert (await heard.take([moved.head.pack()])).shaken == {LAB.publisher}


async def test_a_fork_shakes_everything_and_leaves_a_proof(heard, knowledge):
    one, two = FakePublisher(6), FakePublisher(6)
    first = one.publish("demo", {"README.md": b"x"})
    two.delegation_version = one.delegation_version - 1
    two.delegation = two.delegate("release", "thief")
    other = two.publish("demo", {"README.md": b"y"})
    heard._store.documents.save_alias("six", one.publisher, NOW)
    await heard.take([first.head.pack()])
    taken = await heard.take([other.head.pack()])
    assert taken.refused == 1
    assert taken.shaken == {one.publisher}
    (proof,) = await heard.proofs()
    assert (proof.publisher, proof.type) == (one.publisher, "fork")
    assert await heard.proofs() == ()
    again = merge(other.head, sign_payload("head", other.head.payload, [LAB.key("other")]))
    taken = await heard.take([again.pack()])
    assert (taken.refused, taken.shaken) == (1, frozenset())
    assert (await heard.take([proof.data])).news == ()


async def test_what_is_refused_is_offered_once_until_there_is_news(heard, knowledge):
    offered = []
    learn = knowledge.learn_head
    knowledge.learn_head = lambda who, data: offered.append(data) or learn(who, data)
    await heard.take([SECOND.head.pack()])
    for _ in range(3):
        assert (await heard.take([FIRST.head.pack()])).refused == 1
    assert offered == [SECOND.head.pack(), FIRST.head.pack()]
    await heard.take([REVOKED.pack()])
    assert (await heard.take([FIRST.head.pack()])).refused == 1
    assert len(offered) == 3


async def test_a_full_disk_is_no_fault_of_who_says_it(heard, knowledge, monkeypatch):
    def full(who, data):
        raise NoSpaceError("the disk is full")

    monkeypatch.setattr(knowledge, "learn_head", full)
    taken = await heard.take([FIRST.head.pack()])
    assert (taken.refused, taken.news) == (0, ())
    monkeypatch.undo()
    assert len((await heard.take([FIRST.head.pack()])).news) == 1


async def test_a_disk_that_fails_otherwise_leaves_nothing_behind(store, knowledge):
    async def broken(work, *arguments):
        raise ValueError("a bug")

    heard = Hearsay(store, knowledge, broken)
    with pytest.raises(ValueError, match="a bug"):
        await heard.take([FIRST.head.pack()])
    assert not heard._taken


async def test_two_who_say_the_same_at_once_are_heard_once(store, knowledge):
    clock_steps = []

    async def slow(work, *arguments):
        clock_steps.append(arguments)
        await trio.sleep(0.01)
        return work(*arguments)

    store.documents.save_alias("lab", LAB.publisher, NOW)
    heard, news = Hearsay(store, knowledge, slow), []

    async def take():
        news.extend((await heard.take([FIRST.head.pack()])).news)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(take)
    assert len(news) == len(clock_steps) == 1


@pytest.mark.parametrize(("over", "kept"), [(0, True), (1, False)])
async def test_the_memory_of_what_was_refused_is_bounded(heard, monkeypatch, over, kept):
    monkeypatch.setattr(hearsay, "REFUSED", 10)
    words = [b"noise %d" % number for number in range(10 + over)]
    await heard.take(words)
    assert len(heard._refused) == 10
    assert (hearsay.sha256(words[0]) in heard._refused) == kept


@pytest.mark.parametrize(("over", "kept"), [(0, True), (1, False)])
async def test_the_memory_of_what_was_taken_is_bounded(heard, monkeypatch, over, kept):
    monkeypatch.setattr(hearsay, "TAKEN", 10)
    words = [b"our own %d" % number for number in range(10 + over)]
    for each in words:
        heard.remember(each)
    assert len(heard._taken) == 10
    assert (hearsay.sha256(words[0]) in heard._taken) == kept


async def test_what_was_not_said_since_the_start_is_said_once(heard, knowledge):
    knowledge.learn_head(LAB.publisher, FIRST.head.pack())
    knowledge.learn_notice(REVOKED.pack())
    said = await heard.unsaid(LAB.publisher)
    assert said == (FIRST.head.pack(), REVOKED.pack())
    for data in said:
        heard.remember(data)
    assert await heard.unsaid(LAB.publisher) == ()
    assert await heard.unsaid(FakePublisher(5).publisher) == ()
