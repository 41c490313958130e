"""The control protocol: questions and answers between honest peers, and what dishonest ones get."""

import pytest
import trio
import trio.testing

from p2phub.errors import (
    DamagedBlobError,
    GarbageError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    RemoteError,
    TooSlowError,
    UntrustedError,
)
from p2phub.formats.codec import encode
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_MESSAGE, MAX_MESSAGE_HEADS, MAX_RANGES, MIB
from p2phub.formats.messages import (
    DocumentsRequest,
    ErrorReply,
    HaveReply,
    HaveRequest,
    HelloRequest,
    decode_reply,
    encode_message,
)
from p2phub.formats.news import CatalogReply, KnownPublisher
from p2phub.network.control import CONTROL, ControlServer, framed
from p2phub.network.control_client import ControlClient
from p2phub.network.following import PUSH_EVERY
from p2phub.network.limits import (
    MAX_FOLLOWED,
    MAX_FOLLOWING,
    MAX_FOLLOWING_PER_PEER,
    MAX_STREAMS_PER_PEER,
)
from p2phub.network.tickets import Tickets
from p2phub.protocol.ports import Holding
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.samples import make_sample
from p2phub.testing.streams import (
    StreamNetwork,
    answers_garbage,
    answers_half,
    answers_noise,
    claims_a_gigabyte,
    never_answers,
    stream_pair,
)

NOW = 1_700_000_000
SAMPLE = make_sample(3 * MIB)
SMALL = make_sample(10)


def digest(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SMALL)
    library.documents.update({digest(1): b"one", digest(2): b"two"})
    return library


@pytest.fixture
def tickets():
    return Tickets()


@pytest.fixture
def server(library, tickets):
    return ControlServer(
        library,
        tickets,
        data_port=4043,
        agent="p2phub/test",
        data_addresses=("192.0.2.1:443",),
        now=lambda: NOW,
    )


@pytest.fixture
def network(nursery, server):
    network = StreamNetwork(nursery)
    server.register(network)
    return network


@pytest.fixture
def client(network):
    return ControlClient(network, agent="p2phub/asker")


class TestHello:
    async def test_says_where_the_data_plane_is(self, client):
        reply = await client.hello("bob")
        assert (reply.agent, reply.data_port) == ("p2phub/test", 4043)
        assert reply.data_addresses == ("192.0.2.1:443",)
        assert set(reply.capabilities) == {"documents", "exchange", "follow", "have"}

    async def test_gives_a_ticket_for_whoever_proved_to_be_asking(self, client, network, tickets):
        network.peer_id = "alice"
        reply = await client.hello("bob")
        assert tickets.peer_of(reply.ticket, NOW + reply.ticket_seconds - 1) == "alice"
        assert tickets.peer_of(reply.ticket, NOW + reply.ticket_seconds) is None


NEWS = KnownPublisher(digest(7), (1, 1, 5), digest(6), digest(8))


class Herald:
    """Notes what peers tell, and answers with one page after another; perhaps refuses."""

    def __init__(self, fails=None):
        self.heard, self.asked, self.fails = [], [], fails

    async def told(self, peer, documents):
        if self.fails:
            raise self.fails
        self.heard.append((peer, documents))

    async def newer(self, peer, request):
        self.asked.append((peer, request.known, request.skip))
        return CatalogReply((b"head", b"notice"), more=True)


@pytest.fixture
def herald(library, tickets, network):
    """A peer that takes what is new of publishers, and has some."""
    herald = Herald()
    ControlServer(library, tickets, data_port=1, agent="p2phub/test", spreading=herald).register(
        network
    )
    return herald


class TestSpreading:
    async def test_is_a_capability_of_those_who_do_it(self, client, herald):
        found = (await client.hello("bob")).capabilities
        assert found == ("catalog", "documents", "exchange", "follow", "have", "tell")

    async def test_hands_on_what_was_told(self, client, herald, network):
        await client.tell("bob", [b"one", b"two"])
        assert herald.heard == [(network.peer_id, (b"one", b"two"))]

    async def test_answers_with_what_is_newer(self, client, herald, network):
        reply = await client.newer("bob", [NEWS], skip=3)
        assert reply == CatalogReply((b"head", b"notice"), more=True)
        assert herald.asked == [(network.peer_id, (NEWS,), 3)]

    async def test_a_refusal_is_heard_by_whoever_said_too_much(self, client, herald):
        herald.fails = RefusedError("you tell too much")
        with pytest.raises(RefusedError, match="too much"):
            await client.tell("bob", [b"x"])

    async def test_is_refused_where_nobody_does_it(self, client):
        with pytest.raises(RefusedError):
            await client.tell("bob", [b"x"])
        with pytest.raises(RefusedError):
            await client.newer("bob", [NEWS])

    @pytest.mark.parametrize("answer", [answers_garbage, answers_half, answers_noise])
    async def test_garbage_in_answer_is_a_remote_error(self, client, network, answer):
        network.handle(CONTROL, answer)
        with pytest.raises(RemoteError):
            await client.newer("bob", [NEWS])
        with pytest.raises(RemoteError):
            await client.tell("bob", [b"x"])

    async def test_another_answer_is_garbage(self, client, network):
        async def answer(peer, stream):
            await stream.read(1000)
            await stream.write(framed(encode_message(CatalogReply())))

        network.handle(CONTROL, answer)
        with pytest.raises(GarbageError, match="another question"):
            await client.tell("bob", [b"x"])


class TestDocuments:
    async def test_that_are_there(self, client):
        reply = await client.documents("bob", [digest(2), digest(9), digest(1), digest(2)])
        assert reply.documents == {digest(1): b"one", digest(2): b"two"}
        assert reply.larger == ()

    async def test_that_do_not_fit_into_a_message_are_named(self, client, library):
        library.documents[digest(3)] = bytes(MAX_MESSAGE)
        reply = await client.documents("bob", [digest(n) for n in range(1, 5)])
        assert set(reply.documents) == {digest(1), digest(2)}
        assert reply.larger == (digest(3),)

    async def test_that_fill_a_message_leave_the_rest_for_later(self, client, library):
        wanted = [digest(n) for n in range(100, 140)]
        library.documents.update(dict.fromkeys(wanted, bytes(50_000)))
        reply = await client.documents("bob", wanted)
        assert len(reply.documents) > 10
        assert set(reply.documents) | set(reply.larger) == set(wanted)
        assert not set(reply.documents) & set(reply.larger)

    async def test_that_are_large_are_not_read_by_the_hundred(self, client, library):
        read = []

        class Counting(MemoryLibrary):
            def document(self, digest, peer):
                read.append(digest)
                return bytes(MAX_MESSAGE)

        library.document = Counting().document
        wanted = [digest(n) for n in range(500)]
        assert set((await client.documents("bob", wanted)).larger) == set(wanted)
        assert len(read) < 20

    async def test_by_the_thousand_take_several_questions(self, client, network, library):
        wanted = [digest(n) for n in range(3000)]
        library.documents.update(dict.fromkeys(wanted, b"x"))
        assert len((await client.documents("bob", wanted)).documents) == 3000
        assert len(network.streams) == 3

    async def test_of_nothing_ask_nothing(self, client, network):
        assert (await client.documents("bob", [])).documents == {}
        assert await client.have("bob", []) == {}
        assert await client.heads("bob", []) == ()
        assert network.streams == []

    async def test_of_heads(self, client, library):
        for number in range(MAX_MESSAGE_HEADS + 10):
            library.heads[digest(number)] = b"head %d" % number
        asked = [digest(n) for n in range(5, MAX_MESSAGE_HEADS + 20)]
        heads = await client.heads("bob", asked)
        assert heads == tuple(b"head %d" % n for n in range(5, MAX_MESSAGE_HEADS + 10))

    async def test_of_the_largest_heads_fit_into_a_message(self, client, library):
        for number in range(MAX_MESSAGE_HEADS):
            library.heads[digest(number)] = bytes(10 * 1024)
        assert len(await client.heads("bob", library.heads)) == MAX_MESSAGE_HEADS


class TestHave:
    async def test_says_all_parts_or_nothing(self, client, library):
        library.add(SAMPLE, ranges=((0, 5), (9, 3 * MIB)))
        unknown = ContentId(5, bytes(32))
        empty = make_sample(0)
        library.add(empty)
        held = await client.have("bob", [SAMPLE.content, SMALL.content, unknown, empty.content])
        assert held == {
            SAMPLE.content: Holding(False, ((0, 5), (9, 3 * MIB))),
            SMALL.content: Holding(True),
            empty.content: Holding(True),
        }

    async def test_shows_private_files_to_friends_only(self, client, library, network):
        secret = make_sample(20)
        library.add(secret, private_to=["friend"])
        assert await client.have("bob", [secret.content]) == {}
        network.peer_id = "friend"
        assert await client.have("bob", [secret.content]) == {secret.content: Holding(True)}

    async def test_merges_ranges_that_touch_and_keeps_the_largest_of_too_many(
        self, client, library
    ):
        ranges = [(10 * n, 10 * n + 5) for n in range(MAX_RANGES + 100)]
        ranges[50:52] = [(500, 508), (508, 515)]
        library.add(SAMPLE, ranges=tuple(ranges))
        found = (await client.have("bob", [SAMPLE.content]))[SAMPLE.content].ranges
        assert len(found) == MAX_RANGES
        assert (500, 515) in found

    async def test_of_thousands_takes_several_questions(self, client, library, network):
        asked = [ContentId(n, bytes(32)) for n in range(1, 2000)]
        assert await client.have("bob", [SMALL.content, *asked]) == {SMALL.content: Holding(True)}
        assert len(network.streams) == 2


SIZE = SAMPLE.content.size
FRIEND = "/ip4/192.0.2.1/tcp/4042/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


class Friends:
    """Acquaintances that note who wants what, and know one peer."""

    def __init__(self):
        self.wanted = []
        self.told = (FRIEND,)

    def wants(self, peer, digest):
        self.wanted.append((peer, digest))

    def others(self, peer, digest):
        return self.told


async def quiet_for(seconds=2 * PUSH_EVERY):
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked(0.02)


class TestFollow:
    """News of a file while somebody waits for it."""

    async def test_tells_of_more_until_the_file_is_complete(self, client, library, server):
        library.add(SAMPLE, ranges=((0, 5),))
        heard = []

        def more(holding):
            heard.append(holding)
            steps = {1: ((0, 5), (9, 20)), 2: ((0, 20),), 3: None}
            library.has_got(SAMPLE.content, steps[len(heard)] if len(heard) < 4 else None)

        with trio.fail_after(10):
            await client.follow("bob", SAMPLE.content, more)
        assert [each.ranges for each in heard] == [
            ((0, 5),),
            ((0, 5), (9, 20)),
            ((0, 20),),
            ((0, 20),),
        ]
        assert [each.complete for each in heard] == [False, False, False, True]
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not server._following

    async def test_of_a_complete_file_is_one_answer(self, client, network):
        heard = []
        await client.follow("bob", SMALL.content, heard.append)
        assert heard == [Holding(True)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert network.streams[0].is_closed
        assert network.errors == []

    async def test_of_a_file_that_is_not_there_yet_begins_with_nothing(
        self, client, library, nursery
    ):
        library.add(SAMPLE, ranges=())
        heard = []
        nursery.start_soon(client.follow, "bob", SAMPLE.content, heard.append)
        await quiet_for()
        assert heard == [Holding(False)]
        library.add(SAMPLE, ranges=((0, 7),))
        await quiet_for()
        assert heard == [Holding(False), Holding(False, ((0, 7),))]
        nursery.cancel_scope.cancel()

    async def test_of_what_is_neither_here_nor_fetched_ends_at_once(self, client, server):
        heard = []
        with trio.fail_after(5):
            await client.follow("bob", SAMPLE.content, heard.append)
        assert heard == [Holding(False)]
        await quiet_for()
        assert not server._following

    async def test_ends_when_the_peer_gives_up_fetching(self, client, library):
        library.add(SAMPLE, ranges=((0, 7),))

        def heard(holding):
            library._files.pop(SAMPLE.content)

        with trio.fail_after(5):
            await client.follow("bob", SAMPLE.content, heard)

    async def test_says_many_small_news_together_and_each_once(
        self, client, library, network, nursery
    ):
        library.add(SAMPLE, ranges=())
        heard = []
        nursery.start_soon(client.follow, "bob", SAMPLE.content, heard.append)
        await quiet_for(0.05)
        began = trio.current_time()
        for stop in range(1, 101):
            library.has_got(SAMPLE.content, ((0, stop * 1000),))
            await trio.sleep(0.01)
        took = trio.current_time() - began
        await quiet_for()
        assert heard[-1] == Holding(False, ((0, 100_000),))
        assert len(heard) <= 3 + took / PUSH_EVERY
        assert network.streams[0].received < 200 * len(heard)
        nursery.cancel_scope.cancel()

    async def test_ends_on_both_sides_when_the_asker_leaves(self, client, library, server):
        library.add(SAMPLE, ranges=((0, 5),))
        with trio.move_on_after(0.5):
            await client.follow("bob", SAMPLE.content, lambda holding: None)
        await quiet_for()
        assert not server._following

    async def test_counts_what_is_followed_apart_from_what_is_asked(
        self, client, library, server, nursery, network
    ):
        library.add(SAMPLE, ranges=((0, 5),))
        for _ in range(MAX_FOLLOWING_PER_PEER):
            nursery.start_soon(client.follow, "bob", SAMPLE.content, lambda holding: None)
            await trio.sleep(0.01)
        await client.hello("bob")
        with pytest.raises(RefusedError, match="you follow more than"):
            await client.follow("bob", SAMPLE.content, lambda holding: None)
        network.peer_id = "another"
        nursery.start_soon(client.follow, "bob", SAMPLE.content, lambda holding: None)
        await quiet_for(0.05)
        assert server._following.total() == MAX_FOLLOWING_PER_PEER + 1
        server._following["crowd"] = MAX_FOLLOWING
        with pytest.raises(RefusedError, match="too many peers follow"):
            await client.follow("bob", SAMPLE.content, lambda holding: None)
        nursery.cancel_scope.cancel()

    async def test_of_a_peer_that_does_not_know_how_is_one_answer(self, client, network):
        async def older(peer, stream):
            reply = HaveReply(partial={SAMPLE.content: ((0, 5),)})
            await stream.write(framed(encode_message(reply)))
            await stream.close()

        network.handle(CONTROL, older)
        heard = []
        await client.follow("bob", SAMPLE.content, heard.append)
        assert heard == [Holding(False, ((0, 5),))]

    async def test_hides_private_files(self, client, library, network, nursery):
        secret = make_sample(20)
        library.add(secret, private_to=["friend"])
        heard = []
        nursery.start_soon(client.follow, "bob", secret.content, heard.append)
        await quiet_for()
        assert heard == [Holding(False)]
        nursery.cancel_scope.cancel()


class TestHostileNews:
    async def follow(self, client, network, handler):
        network.handle(CONTROL, handler)
        heard = []
        with trio.fail_after(30):
            await client.follow("bob", SAMPLE.content, heard.append)
        return heard

    async def test_beyond_the_file_end_it(self, client, network):
        async def boasts(peer, stream):
            await stream.write(framed(encode_message(HaveReply())))
            edges = [0, SIZE + 1]
            await stream.write(
                framed(encode({"op": "have", "partial": {str(SAMPLE.content): edges}}))
            )

        with pytest.raises(GarbageError, match="byte ranges that"):
            await self.follow(client, network, boasts)

    async def test_without_end_take_bounded_memory_and_time(self, client, network, autojump_clock):
        """A peer that says a little more for ever is heard a few times a second."""
        said = 0

        async def endless(peer, stream):
            nonlocal said
            while True:
                said += 1
                ranges = tuple((2 * n, 2 * n + 1) for n in range(said * 1000, said * 1000 + 1000))
                reply = HaveReply(partial={SAMPLE.content: ranges})
                await stream.write(framed(encode_message(reply)))
                await trio.sleep(0.01)

        network.handle(CONTROL, endless)
        heard = []
        with trio.move_on_after(5):
            await client.follow("bob", SAMPLE.content, heard.append)
        assert said > 20
        assert len(heard) <= 55
        assert len(heard[-1].ranges) == MAX_RANGES

    @pytest.mark.parametrize("more", [b"\0\0\0", (10**9).to_bytes(4, "big"), framed(b"noise")])
    async def test_that_are_garbage_end_it(self, client, network, more):
        async def spoils(peer, stream):
            await stream.write(framed(encode_message(HaveReply())) + more)
            await stream.close()

        with pytest.raises(RemoteError):
            await self.follow(client, network, spoils)

    async def test_that_never_begin_end_in_time(self, client, network, autojump_clock):
        with pytest.raises(TooSlowError, match="did not answer in time"):
            await self.follow(client, network, never_answers)
        assert trio.current_time() < 11

    async def test_of_other_files_are_not_heard(self, client, network):
        async def chatty(peer, stream):
            reply = HaveReply(complete=(SMALL.content,), partial={SMALL.content: ((0, 1),)})
            await stream.write(framed(encode_message(reply)))
            await stream.close()

        assert await self.follow(client, network, chatty) == [Holding(False)]


class TestHostileFollowers:
    async def begin(self, server, library, nursery):
        library.add(SAMPLE, ranges=((0, 5),))
        ours, theirs = stream_pair()
        nursery.start_soon(server.serve, "mallory", theirs)
        await ours.write(framed(encode_message(HaveRequest((SAMPLE.content,), follow=True))))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server._following["mallory"] == 1
        return ours

    async def test_who_say_more_are_told_no_more(self, server, library, nursery):
        ours = await self.begin(server, library, nursery)
        await ours.write(b"x")
        await quiet_for()
        assert not server._following

    async def test_who_stay_for_ever_are_sent_away(self, server, library, nursery, monkeypatch):
        monkeypatch.setattr("p2phub.network.control.FOLLOW_SECONDS", 0.3)
        await self.begin(server, library, nursery)
        await trio.sleep(0.35)
        await quiet_for(0.05)
        assert not server._following

    async def test_who_want_too_much_at_once_are_refused(self, server):
        contents = tuple(ContentId(n, bytes(32)) for n in range(1, MAX_FOLLOWED + 2))
        ours, theirs = stream_pair()
        await ours.write(framed(encode_message(HaveRequest(contents, follow=True))))
        await server.serve("mallory", theirs)
        reply = decode_reply((await ours.read(10_000))[4:])
        assert isinstance(reply, ErrorReply)
        assert reply.wire == RefusedError.wire


class TestExchange:
    @pytest.fixture
    def friends(self, server):
        server._acquaintances = Friends()
        return server._acquaintances

    async def test_names_others_and_remembers_who_asked(self, client, friends):
        assert await client.exchange("bob", digest(1)) == (FRIEND,)
        assert friends.wanted == [("me", digest(1))]

    async def test_with_whoever_knows_nobody_is_empty(self, client):
        assert await client.exchange("bob", digest(1)) == ()

    async def test_leaves_out_what_would_not_fit(self, client, friends):
        friends.told = ("x" * 257, FRIEND)
        assert await client.exchange("bob", digest(1)) == (FRIEND,)

    async def test_remembers_who_follows_a_file(self, client, friends, library):
        await client.follow("bob", SMALL.content, lambda holding: None)
        assert friends.wanted == [("me", SMALL.content.digest)]


class TestThePeerRefuses:
    @pytest.mark.parametrize(
        ("raised", "heard"),
        [
            (NotFoundError("gone"), NotFoundError),
            (DamagedBlobError("rotten"), UntrustedError),
            (RefusedError("not you"), RefusedError),
            (NoSpaceError("its disk, not ours"), RemoteError),
        ],
    )
    async def test_and_we_hear_why(self, client, library, raised, heard):
        def fail(digest, peer):
            raise raised

        library.document = fail
        with pytest.raises(heard, match=f"peer bob says: {raised.message}") as caught:
            await client.documents("bob", [digest(1)])
        assert type(caught.value) is heard

    async def test_a_ninth_question_at_once(self, network, client, server, nursery):
        streams = [await network.open_stream("bob", CONTROL) for _ in range(MAX_STREAMS_PER_PEER)]
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RefusedError, match="more than 8 questions"):
            await client.hello("bob")
        for stream in streams:
            await stream.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.hello("bob")).data_port == 4043
        await trio.testing.wait_all_tasks_blocked()
        assert not server._open


class TestDishonestPeers:
    """What a peer answers to a question of ours."""

    @pytest.fixture
    def network(self, nursery):
        return StreamNetwork(nursery)

    @pytest.mark.parametrize(
        ("handler", "error", "problem"),
        [
            (answers_garbage, GarbageError, "claims a message of 1265197931 bytes"),
            (claims_a_gigabyte, GarbageError, "claims a message of 1000000000 bytes"),
            (answers_noise, GarbageError, "not our protocol"),
            (answers_half, RemoteError, "in the middle of a message"),
            (never_answers, TooSlowError, "peer bob did not answer in time"),
        ],
    )
    async def test_cost_one_stream_and_one_error(
        self, client, network, autojump_clock, handler, error, problem
    ):
        network.handle(CONTROL, handler)
        with pytest.raises(error, match=problem):
            await client.hello("bob")
        assert trio.current_time() < 11
        assert network.streams[0].is_reset or network.streams[0].is_closed

    async def test_who_answer_another_question(self, client, network):
        async def other(peer, stream):
            await stream.write(framed(encode_message(HaveReply())))

        network.handle(CONTROL, other)
        with pytest.raises(GarbageError, match="another question"):
            await client.hello("bob")

    async def test_who_speak_of_what_nobody_asked(self, client, network):
        async def chatty(peer, stream):
            reply = HaveReply(complete=(SMALL.content,), partial={SAMPLE.content: ((0, 1),)})
            await stream.write(framed(encode_message(reply)))

        network.handle(CONTROL, chatty)
        assert await client.have("bob", [ContentId(5, bytes(32))]) == {}

    async def test_who_are_gone(self, client):
        with pytest.raises(RemoteError, match="does not speak"):
            await client.hello("bob")


class TestDishonestAskers:
    async def serve(self, server, data):
        ours, theirs = stream_pair()
        await ours.write(data)
        await ours.close()
        await server.serve("mallory", theirs)
        return ours

    async def test_with_a_message_too_long_are_cut_off_before_memory_is_spent(self, server):
        with pytest.raises(GarbageError, match="claims a message of 1048577 bytes"):
            await self.serve(server, (MAX_MESSAGE + 1).to_bytes(4, "big"))
        assert not server._open

    @pytest.mark.parametrize("data", [b"", b"\0\0", framed(b"xyz")[:-1]])
    async def test_with_half_a_message_are_cut_off(self, server, data):
        with pytest.raises(RemoteError, match="in the middle"):
            await self.serve(server, data)

    @pytest.mark.parametrize(
        "message", [b"", b"garbage", encode({"op": "resolve"}), encode({"op": "have"})]
    )
    async def test_with_a_question_nobody_understands_are_told_so(self, server, message):
        ours = await self.serve(server, framed(message))
        reply = decode_reply((await ours.read(10_000))[4:])
        assert isinstance(reply, ErrorReply)
        assert reply.wire == GarbageError.wire

    async def test_who_never_finish_are_cut_off(self, server, autojump_clock):
        ours, theirs = stream_pair()
        await ours.write(b"\0")
        with pytest.raises(TooSlowError):
            await server.serve("mallory", theirs)
        assert trio.current_time() == pytest.approx(10, abs=1)
        assert theirs.is_reset

    async def test_who_never_read_are_cut_off(self, server, autojump_clock):
        ours, theirs = stream_pair()

        async def stuck(data):
            await trio.sleep_forever()

        theirs.write = stuck
        await ours.write(framed(encode_message(HelloRequest("x"))))
        with pytest.raises(TooSlowError):
            await server.serve("mallory", theirs)


async def test_a_question_may_arrive_byte_by_byte(server, nursery):
    ours, theirs = stream_pair()
    nursery.start_soon(server.serve, "alice", theirs)
    for byte in framed(encode_message(DocumentsRequest(digests=(digest(1),)))):
        await ours.write(bytes([byte]))
        await trio.testing.wait_all_tasks_blocked()
    data = await ours.read(10_000)
    while len(data) < 4 + int.from_bytes(data[:4], "big"):
        data += await ours.read(10_000)
    assert decode_reply(data[4:]).documents == {digest(1): b"one"}
