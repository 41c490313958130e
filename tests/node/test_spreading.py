"""News spread: by telling, by gossip and by asking; and what peers can do who mean it badly."""

import random
from contextlib import nullcontext, suppress
from itertools import pairwise

import pytest
import trio
import trio.testing

from p2phub.errors import GarbageError, P2PHubError, RefusedError
from p2phub.formats.limits import MAX_GOSSIP, MAX_TOLD, MAX_TOLD_DOCUMENT
from p2phub.formats.messages import (
    CatalogReply,
    TellReply,
    TellRequest,
    decode_request,
    encode_message,
)
from p2phub.formats.news import CatalogRequest, KnownPublisher
from p2phub.network.control import CONTROL, framed
from p2phub.network.framing import read_message
from p2phub.node import catalog_exchange, spreading
from p2phub.node.catalog_exchange import KNOWN_FOR, PARTS
from p2phub.node.spreading import GOSSIPED
from p2phub.testing.networks import MemoryWorld
from p2phub.testing.notices import fork_proof, revoke_release, withdraw
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import merge, sign_payload
from p2phub.trust.keys import SigningKey
from tests.network.loopback import until
from tests.node.spreaders import House, living

LAB, OTHER = FakePublisher(1), FakePublisher(2)
FIRST = LAB.publish("demo", {"README.md": b"first"})
SECOND = LAB.publish("demo", {"README.md": b"second"})
THIRD = LAB.publish("demo", {"README.md": b"third"})
STRANGE = OTHER.publish("demo", {"README.md": b"strange"})
REVOKED = revoke_release(LAB, FIRST.release.digest)
WITHDRAWN = withdraw(LAB, SECOND.release.digest)


@pytest.fixture
def clock():
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def house(tmp_path):
    """Builds houses that know the publisher, each with a name; their stores are closed."""
    world, built = MemoryWorld(), []

    def build(name: str, *, pins: bool = True, deaf: bool = False) -> House:
        made = House(world, tmp_path / name, name, deaf=deaf)
        built.append(made)
        if pins:
            made.pin(LAB)
        return made

    yield build
    for made in built:
        made.store.close()


def many_publishers(count: int) -> tuple[KnownPublisher, ...]:
    return tuple(KnownPublisher(number.to_bytes(32, "big")) for number in range(count))


async def acquainted(*houses) -> None:
    """Until they have greeted each other and asked what they have."""
    await trio.sleep(3)
    assert all(each.spreading._peers for each in houses)


class TestTelling:
    async def test_a_new_head_reaches_everybody_in_a_row(self, house, clock):
        a, b, c = house("a"), house("b"), house("c")
        async with living(a, b, c):
            await a.meet(b)
            await b.meet(c)
            await acquainted(a, b, c)
            await a.publish(LAB, FIRST)
            await until(lambda: c.knows(LAB, FIRST.head), seconds=2)
            assert b.knows(LAB, FIRST.head)

    async def test_a_notice_does_so_too_and_whoever_serves_is_told(self, house, clock):
        a, b, c = house("a"), house("b"), house("c")
        for each in (a, b, c):
            each.keep(LAB, FIRST)
        async with living(a, b, c):
            await a.meet(b)
            await b.meet(c)
            await acquainted(a, b, c)
            await a.take_back(REVOKED)
            await until(lambda: c.noticed(LAB) == {REVOKED.pack()}, seconds=2)
            await until(lambda: b.watchman.checked == c.watchman.checked == [LAB.publisher], 2)

    async def test_without_gossip_it_is_told_all_the_same(self, house, clock):
        a, b, c = house("a"), house("b"), house("c")
        for each in (a, b, c):
            each.network.gossip.judge = None
        async with living(a, b, c):
            await a.meet(b)
            await b.meet(c)
            await acquainted(a, b, c)
            await a.publish(LAB, FIRST)
            await until(lambda: c.knows(LAB, FIRST.head), seconds=2)

    async def test_a_fork_proof_is_too_large_for_gossip_and_is_told(self, house, clock):
        a, b = house("a"), house("b")
        for each in (a, b):
            each.keep(LAB, FIRST)
        proof = fork_proof(LAB, *forked_indexes())
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            await a.take_back(proof)
            await until(lambda: b.noticed(LAB) == {proof.pack()}, seconds=2)

    async def test_news_come_once_to_each_and_nobody_is_told_what_it_said(self, house, clock):
        houses = [house(name) for name in "abcdef"]
        async with living(*houses):
            for one in houses:
                for two in houses:
                    if one.id < two.id:
                        await one.meet(two)
            await acquainted(*houses)
            await houses[0].publish(LAB, FIRST)
            await until(lambda: all(each.knows(LAB, FIRST.head) for each in houses), seconds=2)
            await trio.sleep(60)
            told = sum(len(each.heard) for each in houses)
            assert told <= len(houses) * (len(houses) - 1)
            assert all(each.network.gossip.begun <= 1 for each in houses)
            assert houses[0].heard == []

    async def test_what_is_old_is_not_handed_on(self, house, clock):
        a, b, c = house("a"), house("b"), house("c")
        async with living(a, b, c):
            await a.meet(b)
            await b.meet(c)
            await acquainted(a, b, c)
            await a.publish(LAB, SECOND)
            await until(lambda: c.knows(LAB, SECOND.head), seconds=2)
            c.heard.clear()
            for _ in range(100):
                with suppress(RefusedError):
                    await a.control.tell(b.id, [FIRST.head.pack(), SECOND.head.pack()])
            await trio.sleep(60)
            assert c.heard == []
            assert c.knows(LAB, SECOND.head)
            assert b.knows(LAB, SECOND.head)

    async def test_a_peer_that_cannot_is_not_asked(self, house, clock):
        a, old = house("a"), house("old", deaf=True)
        asked = []
        answer = old.server._reply

        async def listening(peer, data):
            asked.append(type(decode_request(data)).__name__)
            return await answer(peer, data)

        old.server._reply = listening
        async with living(a, old):
            await a.meet(old)
            await acquainted(a)
            await a.publish(LAB, FIRST)
            await trio.sleep(600)
            assert set(asked) == {"HelloRequest"}

    async def test_what_a_new_head_leads_to_is_fetched(self, house, clock):
        a, b = house("a"), house("b")
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            await a.publish(LAB, FIRST)
            await until(lambda: b.knowledge.lacking(LAB.publisher) is None and b.head(LAB), 5)
        assert [each.name for each in b.knowledge.entries(LAB.publisher)] == ["demo"]

    async def test_what_nobody_has_yet_is_fetched_a_little_later(self, house, clock):
        a, b = house("a"), house("b")
        a.pin(LAB, "own")
        a.knowledge.learn_head(LAB.publisher, FIRST.head.pack())
        async with living(a, b):
            await a.meet(b)
            await until(lambda: b.knows(LAB, FIRST.head), seconds=5)
            await trio.sleep(2)
            assert b.knowledge.lacking(LAB.publisher) is not None
            a.keep(LAB, FIRST)
            await until(lambda: b.knowledge.lacking(LAB.publisher) is None, seconds=60)


class TestAsking:
    async def test_who_was_away_hears_of_everything_when_it_comes_back(self, house, clock):
        a, b = house("a"), house("b")
        b.keep(LAB, FIRST)
        async with living(a, b):
            await a.publish(LAB, SECOND)
            await a.take_back(REVOKED)
            await a.take_back(WITHDRAWN)
            assert not b.knows(LAB, SECOND.head)
            await b.meet(a)
            await until(lambda: b.noticed(LAB) == {REVOKED.pack(), WITHDRAWN.pack()}, seconds=5)
            assert b.knows(LAB, SECOND.head)
            assert b.watchman.checked

    @pytest.mark.slow
    async def test_what_was_lost_comes_within_minutes(self, house, clock):
        a, b = house("a"), house("b")
        async with living(a, b):
            await b.meet(a)
            await acquainted(a, b)
            a.pin(LAB, "own")
            a.keep(LAB, FIRST)  # and nobody is told
            await until(lambda: b.knows(LAB, FIRST.head), seconds=400)

    async def test_both_sides_learn(self, house, clock):
        a, b = house("a"), house("b")
        a.keep(LAB, SECOND)
        b.keep(LAB, FIRST)
        b.knowledge.learn_notice(REVOKED.pack())
        async with living(a, b):
            await b.meet(a)
            await until(lambda: a.noticed(LAB) == {REVOKED.pack()}, seconds=5)
            await until(lambda: b.knows(LAB, SECOND.head), seconds=5)

    async def test_a_head_that_was_signed_again_is_found(self, house, clock):
        lab = FakePublisher(7)
        lab.publish("demo", {"README.md": b"x"})
        old = lab.head
        lab.not_after = lab.created + 10**6
        renewed = lab.sign_head()
        assert renewed.digest != old.digest
        a, b = house("a"), house("b")
        for each in (a, b):
            each.pin(lab, "seven")
        a.knowledge.learn_head(lab.publisher, renewed.pack())
        b.knowledge.learn_head(lab.publisher, old.pack())
        async with living(a, b):
            await b.meet(a)
            await acquainted(a, b)
            assert a.head(lab) == b.head(lab)

    async def test_the_same_is_not_sent_twice(self, house, clock):
        a, b = house("a"), house("b")
        for each in (a, b):
            each.keep(LAB, SECOND)
            each.knowledge.learn_notice(REVOKED.pack())
        known = await a.spreading._exchange._all_known()
        assert await b.spreading.newer("a", CatalogRequest(known)) == CatalogReply()

    async def test_a_long_answer_comes_in_parts(self, house, clock, monkeypatch):
        monkeypatch.setattr(catalog_exchange, "MAX_CATALOG", 8)
        monkeypatch.setattr(catalog_exchange, "_ROOM", 4000)  # a few heads
        labs = [FakePublisher(100 + number) for number in range(20)]
        a, b = house("a"), house("b")
        for number, lab in enumerate(labs):
            lab.publish("demo", {"README.md": b"x"})
            a.pin(lab, f"lab-{number}")
            b.pin(lab, f"lab-{number}")
            a.knowledge.learn_head(lab.publisher, lab.head.pack())
        async with living(a, b):
            await b.meet(a)
            await until(lambda: all(b.head(lab) for lab in labs), seconds=30)
        assert a.asked > 2 * 3  # three lists of publishers, each with an answer in parts

    async def test_a_peer_that_says_more_for_ever_is_heard_for_a_while(self, house, clock):
        a, b = house("a"), house("b")
        asked = []

        async def more(peer, request):
            asked.append(request.skip)
            return CatalogReply((FIRST.head.pack(),) * 3, more=True)

        b.newer = more
        async with living(a, b):
            await a.meet(b)
            await trio.sleep(30)
            assert asked == [3 * number for number in range(PARTS)]
            await a.control.hello(b.id)

    async def test_a_peer_that_says_more_and_gives_nothing_is_heard_once(self, house, clock):
        a, b = house("a"), house("b")
        asked = []

        async def more(peer, request):
            asked.append(request.skip)
            return CatalogReply((), more=True)

        b.newer = more
        async with living(a, b):
            await a.meet(b)
            await trio.sleep(30)
            assert asked == [0]

    async def test_a_peer_that_answers_with_garbage_is_not_asked_for_more(self, house, clock):
        a, b = house("a"), house("b")
        asked = []

        async def garbage(peer, request):
            asked.append(request.skip)
            words = random.Random(len(asked))
            return CatalogReply(tuple(words.randbytes(100) for _ in range(50)), more=True)

        b.newer = garbage
        async with living(a, b):
            await a.meet(b)
            await trio.sleep(30)
            assert asked == [0]

    async def test_a_peer_that_asks_without_end_is_refused(self, house, clock):
        a = house("a")
        known = tuple(KnownPublisher(n.to_bytes(32, "big")) for n in range(256))
        answered = 0
        with suppress(RefusedError):
            for _ in range(100):
                await a.spreading.newer("mallory", CatalogRequest(known, skip=1000))
                answered += 1
        assert 0 < answered < 30
        await a.spreading.newer("alice", CatalogRequest(known))


class TestStrangers:
    async def test_of_publishers_nobody_knows_nothing_is_kept_or_handed_on(self, house, clock):
        a, b, c = house("a"), house("b", pins=False), house("c")
        for each in (a, c):
            each.pin(OTHER, "other")
        async with living(a, b, c):
            await a.meet(b)
            await b.meet(c)
            await acquainted(a, b, c)
            await a.publish(OTHER, STRANGE)
            await trio.sleep(30)
            assert b.head(OTHER) is None
            assert not b.spreading._hearsay._taken
            assert not b.spreading._hearsay._refused
            assert not c.knows(OTHER, STRANGE.head)

    @pytest.mark.slow
    async def test_who_pins_one_later_hears_of_it(self, house, clock):
        a, b = house("a"), house("b", pins=False)
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            await a.publish(LAB, FIRST)
            await trio.sleep(1)
            b.pin(LAB)
            await until(lambda: b.knows(LAB, FIRST.head), seconds=500)


GARBAGE = {
    "noise": lambda at: random.Random(at).randbytes(200),
    "a release": lambda at: FIRST.release.pack(),
    "an index": lambda at: FIRST.index.pack(),
    "a page": lambda at: FIRST.pages[0],
    "half a head": lambda at: FIRST.head.pack()[: 100 + at % 100],
    "a head with a changed byte": lambda at: changed(FIRST.head.pack(), at),
    "a notice with a changed byte": lambda at: changed(REVOKED.pack(), at),
    "the largest there can be": lambda at: at.to_bytes(4, "big") + bytes(MAX_TOLD_DOCUMENT - 4),
}


def changed(data: bytes, at: int) -> bytes:
    wrong = bytearray(data)
    wrong[at % len(data)] ^= 1 + at // len(data)
    return bytes(wrong)


def forked_indexes():
    """Two indexes of one writer with one number."""
    one, two = FakePublisher(1), FakePublisher(1)
    first = one.publish("demo", {"README.md": b"first"})
    second = two.publish("demo", {"README.md": b"another"})
    return first.index, second.index


class TestEnemies:
    @pytest.mark.parametrize("make", GARBAGE.values(), ids=GARBAGE.keys())
    async def test_ten_thousand_pieces_of_garbage_are_refused_soon(self, house, clock, make):
        a = house("a")
        a.keep(LAB, SECOND)
        offered = []
        offer = a.spreading._hearsay._offer
        a.spreading._hearsay._offer = lambda data: offered.append(data) or offer(data)
        refused = 0
        for start in range(0, 10_000, 8):
            documents = [make(at) for at in range(start, start + 8)]
            try:
                await a.spreading.told("mallory", documents)
            except RefusedError:
                refused += 1
        assert refused > 1200
        assert len(offered) <= 100
        assert a.knows(LAB, SECOND.head)
        assert a.noticed(LAB) == set()
        await a.spreading.told("alice", [THIRD.head.pack()])
        assert a.knows(LAB, THIRD.head)

    async def test_one_that_repeats_an_old_head_for_ever_costs_a_look_each(self, house, clock):
        a = house("a")
        a.keep(LAB, SECOND)
        offered = []
        offer = a.spreading._hearsay._offer
        a.spreading._hearsay._offer = lambda data: offered.append(data) or offer(data)
        heard = 0
        for _ in range(2000):
            try:
                await a.spreading.told("mallory", [FIRST.head.pack()])
                heard += 1
            except RefusedError:
                await trio.sleep(0.5)
        assert offered == [FIRST.head.pack()]
        assert heard < 200 + 1000
        assert a.knows(LAB, SECOND.head)

    async def test_one_that_says_what_is_known_in_ever_other_bytes_is_refused(self, house, clock):
        a = house("a")
        a.keep(LAB, FIRST)
        refused = 0
        for number in range(300):
            stranger = sign_payload(
                "head", FIRST.head.payload, [SigningKey(number.to_bytes(32, "big"))]
            )
            try:
                await a.spreading.told("mallory", [merge(FIRST.head, stranger).pack()])
            except RefusedError:
                refused += 1
        assert refused > 200

    async def test_a_slow_peer_holds_up_nobody(self, house, clock):
        a, b, slow = house("a"), house("b"), house("slow")

        async def sleep(peer, documents):
            await trio.sleep_forever()

        slow.told = sleep
        async with living(a, b, slow):
            await a.meet(b)
            await a.meet(slow)
            await acquainted(a, b, slow)
            for publication in (FIRST, SECOND, THIRD):
                with trio.fail_after(0.5):
                    await a.publish(LAB, publication)
                await until(lambda: b.knows(LAB, publication.head), seconds=1)  # noqa: B023
                await trio.sleep(5)

    async def test_a_peer_that_fails_for_a_while_hears_it_within_a_minute(self, house, clock):
        a, b = house("a"), house("b")
        for each in (a, b):
            each.network.gossip.judge = None
        hear, failures = b.spreading.told, []

        async def fail(peer, documents):
            if len(failures) < 3:
                failures.append(trio.current_time())
                raise GarbageError("not now")
            await hear(peer, documents)

        b.told = fail
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            await a.publish(LAB, FIRST)
            await until(lambda: b.knows(LAB, FIRST.head), seconds=60)
            assert len(failures) == 3

    async def test_a_peer_that_refuses_to_hear_is_left_in_peace_for_a_while(self, house, clock):
        a, b = house("a"), house("b")
        times = []

        async def refuse(peer, documents):
            times.append(trio.current_time())
            raise RefusedError("not now")

        b.told = refuse
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            await a.publish(LAB, FIRST)
            await trio.sleep(600)
        pauses = [two - one for one, two in pairwise(times)]
        assert len(times) == spreading.TRIES
        assert min(pauses) >= spreading.REST

    @pytest.mark.parametrize("over", [0, 1])
    async def test_so_much_waits_for_a_peer_and_one_more_pushes_out_the_oldest(self, over):
        peer = spreading._Peer("slow")
        waiting = [b"%d" % number for number in range(spreading.QUEUE + over)]
        peer.put(waiting)
        assert peer.queue == waiting[over:]

    async def test_what_waits_for_a_peer_is_bounded(self, house, clock):
        peer = spreading._Peer("slow")
        for number in range(3 * spreading.QUEUE):
            peer.put([b"%d" % number])
        assert len(peer.queue) == spreading.QUEUE
        assert peer.queue[-1] == b"%d" % (3 * spreading.QUEUE - 1)

    @pytest.mark.parametrize(("less", "taken"), [(0, 2), (1, 1)])
    async def test_a_message_holds_so_many_bytes_and_no_more(self, monkeypatch, less, taken):
        peer = spreading._Peer("bob")
        peer.put([b"one", b"another"])
        monkeypatch.setattr(spreading, "_ROOM", len(b"one" + b"another") - less)
        assert len(peer.take()) == taken

    async def test_a_message_holds_as_much_as_it_may(self, house, clock):
        peer = spreading._Peer("bob")
        peer.put([number.to_bytes(2, "big") for number in range(MAX_TOLD + 1)])
        assert len(peer.take()) == MAX_TOLD
        assert len(peer.take()) == 1
        peer.put([number.to_bytes(2, "big") + bytes(MAX_TOLD_DOCUMENT - 2) for number in range(20)])
        taken = 0
        while documents := peer.take():
            decode_request(encode_message(TellRequest(tuple(documents))))
            taken += len(documents)
        assert taken == 20

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"\xc1" * 50,
            encode_message(TellReply()),
            encode_message(CatalogRequest((KnownPublisher(bytes(32)),))),
            encode_message(TellRequest((b"garbage",))),
            encode_message(TellRequest((b"x" * (MAX_GOSSIP - 40),))),
            encode_message(TellRequest((FIRST.release.pack(),))),
            encode_message(TellRequest((FIRST.head.pack(),))),
            encode_message(TellRequest((STRANGE.head.pack(),))),
            encode_message(TellRequest((THIRD.head.pack(), b"garbage"))),
        ],
    )
    async def test_gossip_that_is_not_all_right_and_new_goes_no_further(
        self, house, clock, message
    ):
        a = house("a")
        a.keep(LAB, SECOND)
        assert not await a.spreading.judge("mallory", message)

    async def test_gossip_that_is_new_goes_further_once(self, house, clock):
        a = house("a")
        message = encode_message(TellRequest((FIRST.head.pack(),)))
        assert await a.spreading.judge("alice", message)
        assert not await a.spreading.judge("bob", message)

    async def test_a_storm_of_gossip_is_not_handed_on(self, house, clock):
        a = house("a")
        offered = []
        offer = a.spreading._hearsay._offer
        a.spreading._hearsay._offer = lambda data: offered.append(data) or offer(data)
        for number in range(5000):
            noise = encode_message(TellRequest((random.Random(number).randbytes(500),)))
            assert not await a.spreading.judge("mallory", noise)
        assert len(offered) < 100
        assert await a.spreading.judge("bob", encode_message(TellRequest((FIRST.head.pack(),))))

    async def test_a_notice_before_the_head_it_needs_is_heard_after_it(self, house, clock):
        lab = FakePublisher(9)
        first = lab.publish("demo", {"README.md": b"x"})
        a = house("a")
        a.pin(lab, "nine")
        a.knowledge.learn_head(lab.publisher, first.head.pack())
        lab.rotate()
        lab.delegate("release")
        second = lab.publish("demo", {"README.md": b"y"})
        notice = revoke_release(lab, first.release.digest)
        with pytest.raises(P2PHubError):
            a.knowledge.learn_notice(notice.pack())
        await a.spreading.told("bob", [notice.pack()])
        assert a.noticed(lab) == set()
        await a.spreading.told("bob", [second.head.pack(), notice.pack()])
        await a.spreading.told("bob", [notice.pack()])
        assert a.noticed(lab) == {notice.pack()}

    async def test_a_fork_that_comes_to_light_is_told_to_everybody(self, house, clock):
        a, b = house("a"), house("b")
        for each in (a, b):
            each.keep(LAB, FIRST)
        async with living(a, b):
            await a.meet(b)
            await acquainted(a, b)
            a.knowledge._proofs.append(fork_proof(LAB, *forked_indexes()).pack())
            await until(lambda: len(b.noticed(LAB)) == 1, seconds=10)
            assert a.watchman.checked

    async def test_answers_that_are_no_answers_end_nothing(self, house, clock):
        a, bad = house("a"), house("bad")

        async def noise(peer, stream):
            await read_message(stream, peer)
            await stream.write(framed(random.Random(0).randbytes(50)))

        async with living(a, bad):
            bad.network.handle(CONTROL, noise)
            await a.meet(bad)
            await trio.sleep(700)
            await a.publish(LAB, FIRST)
            await trio.sleep(700)
            assert a.knows(LAB, FIRST.head)


class TestLimits:
    @pytest.mark.parametrize(("count", "begun"), [(GOSSIPED, GOSSIPED), (GOSSIPED + 1, 0)])
    async def test_of_so_many_at_once_each_is_gossiped_and_of_more_none(
        self, house, clock, count, begun
    ):
        a = house("a")
        async with living(a):
            await a.spreading.publish([b"document %d" % number for number in range(count)])
            assert a.network.gossip.begun == begun

    @pytest.mark.parametrize(("size", "begun"), [(MAX_GOSSIP, 1), (MAX_GOSSIP + 1, 0)])
    async def test_what_fits_into_gossip_is_gossiped(self, house, clock, size, begun):
        a = house("a")
        frame = len(encode_message(TellRequest((bytes(1000),)))) - 1000
        async with living(a):
            await a.spreading.publish([bytes(size - frame)])
            assert a.network.gossip.begun == begun

    async def test_so_many_documents_may_be_told_at_once_and_no_more(self, house, clock):
        a = house("a")
        strange = [STRANGE.head.pack()] * MAX_TOLD
        for _ in range(int(spreading.DOCUMENTS_AT_ONCE) // MAX_TOLD):
            await a.spreading.told("bob", strange)
        with pytest.raises(RefusedError):
            await a.spreading.told("bob", strange[:1])
        await trio.sleep(0.9 / spreading.DOCUMENTS_A_SECOND)
        with pytest.raises(RefusedError):
            await a.spreading.told("bob", strange[:1])
        await trio.sleep(0.11 / spreading.DOCUMENTS_A_SECOND)
        await a.spreading.told("bob", strange[:1])

    @pytest.mark.parametrize(
        ("documents", "cost"),
        [
            ([b"garbage"], 1 + spreading.COST_OF_GARBAGE),
            ([b"garbage", b"more of it"], 2 + 2 * spreading.COST_OF_GARBAGE),
            ([FIRST.head.pack()], 1 + spreading.COST_OF_GARBAGE),
            ([SECOND.head.pack()], 1 + spreading.COST_OF_OLD),
            ([THIRD.head.pack()], 1),
            ([STRANGE.head.pack()], 1),
        ],
        ids=["garbage", "twice", "rolled back", "known", "news", "strange"],
    )
    @pytest.mark.parametrize("over", [0, 1])
    async def test_what_is_told_costs_so_much_and_no_more(
        self, house, clock, documents, cost, over
    ):
        a = house("a")
        a.keep(LAB, SECOND)
        await a.spreading.told("bob", documents)
        more = [STRANGE.head.pack()] * (int(spreading.DOCUMENTS_AT_ONCE - cost) + over)
        with pytest.raises(RefusedError) if over else nullcontext():
            await a.spreading.told("bob", more)

    @pytest.mark.parametrize("over", [0, 1])
    async def test_a_message_of_gossip_that_is_none_costs_so_much_and_no_more(
        self, house, clock, over
    ):
        a = house("a")
        assert not await a.spreading.judge("bob", b"garbage")
        left = int(spreading.DOCUMENTS_AT_ONCE - spreading.COST_OF_GARBAGE)
        with pytest.raises(RefusedError) if over else nullcontext():
            await a.spreading.told("bob", [STRANGE.head.pack()] * (left + over))

    async def test_so_many_questions_may_be_asked_at_once_and_no_more(self, house, clock):
        a = house("a")
        question = CatalogRequest(many_publishers(112))
        for _ in range(int(spreading.QUESTIONS_AT_ONCE) // 8):  # 112 / 16, and one for asking
            await a.spreading.newer("bob", question)
        with pytest.raises(RefusedError):
            await a.spreading.newer("bob", question)
        await trio.sleep(7.9 / spreading.QUESTIONS_A_SECOND)
        with pytest.raises(RefusedError):
            await a.spreading.newer("bob", question)
        await trio.sleep(0.11 / spreading.QUESTIONS_A_SECOND)
        await a.spreading.newer("bob", question)

    @pytest.mark.parametrize("over", [0, 1])
    async def test_a_question_costs_more_the_more_it_names_and_skips(self, house, clock, over):
        a = house("a")
        question = CatalogRequest(many_publishers(16), skip=64)  # 1, and 16 / 16, and 64 / 64
        for _ in range(int(spreading.QUESTIONS_AT_ONCE) // 3):
            await a.spreading.newer("bob", question)
        assert spreading.QUESTIONS_AT_ONCE % 3 == 2
        last = CatalogRequest(many_publishers(16 + over))
        with pytest.raises(RefusedError) if over else nullcontext():
            await a.spreading.newer("bob", last)

    @pytest.mark.parametrize(("after", "looks"), [(KNOWN_FOR - 0.5, 1), (KNOWN_FOR, 2)])
    async def test_the_list_of_all_publishers_is_good_for_so_long(self, house, clock, after, looks):
        exchange, made = house("a").spreading._exchange, []
        look = exchange._look
        exchange._look = lambda: made.append(trio.current_time()) or look()
        await exchange._all_known()
        await trio.sleep(after)
        await exchange._all_known()
        assert len(made) == looks

    @pytest.mark.parametrize(("count", "asked"), [(5, 5), (6, 5)])
    async def test_so_many_publishers_are_asked_for_and_of_more_some(
        self, house, clock, monkeypatch, count, asked
    ):
        monkeypatch.setattr(catalog_exchange, "MOST", 5)
        a = house("a", pins=False)
        for number in range(count):
            a.pin(FakePublisher(100 + number), f"lab-{number}")
        known = await a.spreading._exchange._all_known()
        assert len({each.publisher for each in known}) == len(known) == asked

    @pytest.mark.parametrize(("most", "more"), [(2, False), (1, True)])
    async def test_an_answer_holds_so_many_documents_and_says_that_there_are_more(
        self, house, clock, monkeypatch, most, more
    ):
        monkeypatch.setattr(catalog_exchange, "MAX_CATALOG_DOCUMENTS", most)
        a = house("a")
        a.keep(LAB, SECOND)
        a.knowledge.learn_notice(REVOKED.pack())
        question = CatalogRequest((KnownPublisher(LAB.publisher.digest),))
        reply = await a.spreading.newer("bob", question)
        assert (len(reply.documents), reply.more) == (most, more)

    @pytest.mark.parametrize(("less", "documents", "more"), [(0, 2, False), (1, 1, True)])
    async def test_an_answer_holds_so_many_bytes_and_says_that_there_are_more(
        self, house, clock, monkeypatch, less, documents, more
    ):
        a = house("a")
        a.keep(LAB, SECOND)
        a.knowledge.learn_notice(REVOKED.pack())
        size = len(SECOND.head.pack()) + len(REVOKED.pack()) + 2 * catalog_exchange._FRAME
        monkeypatch.setattr(catalog_exchange, "_ROOM", size - less)
        question = CatalogRequest((KnownPublisher(LAB.publisher.digest),))
        reply = await a.spreading.newer("bob", question)
        assert (len(reply.documents), reply.more) == (documents, more)
