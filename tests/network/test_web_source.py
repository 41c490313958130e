"""Web servers as sources: what each layout needs, and every way in which a server may misbehave."""

import ssl
import threading
import time
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import ClassVar

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from p2phub import __version__
from p2phub.errors import (
    GarbageError,
    NoSourceError,
    NotFoundError,
    RemoteError,
    TooSlowError,
    WrongBytesError,
)
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network import web_source as source_module
from p2phub.network.limits import Patience
from p2phub.network.web_client import WebClient
from p2phub.network.web_connection import proxy_of
from p2phub.network.web_guard import LOOPBACK, PRIVATE, PUBLIC, Guard
from p2phub.network.web_source import SMALL_AT_ONCE, WebSource
from p2phub.node.fetch import FileFetch
from p2phub.protocol.ports import Holding
from p2phub.testing import web
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import HonestSource, LyingSource
from p2phub.testing.web import WebServer
from tests.network.nginx import PROGRAM, nginx

LARGE = make_sample(12 * MIB, seed="web", piece=700_000)
SMALL = make_sample(1000, seed="small")
OTHER = make_sample(77, seed="other")
EMPTY = make_sample(0)
PATHS = {"/m/large.bin": LARGE, "/m/a b/small.bin": SMALL, "/m/empty.bin": EMPTY}
FILES = {path: sample.data for path, sample in PATHS.items()}
QUICK = Patience(connect=1, handshake=1, request=0.5, progress=0.5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def source_of(server, paths=PATHS, *, guard=None, context=None, **more):
    """`server` as the user of this node would name it."""
    urls = {
        sample.content: [f"{server.url}{path.replace(' ', '%20')}"]
        for path, sample in paths.items()
    }

    def client(name):
        extra = {"context": lambda: context} if context else {}
        return WebClient(name, patience=QUICK, **extra)

    guard = guard or Guard(frozenset({server.host}))
    return WebSource(server.host, urls, guard=guard, make_client=client, **more)


@asynccontextmanager
async def served(answer=None, **more):
    """A source before a server that answers with `answer`."""
    server = WebServer(FILES, answer)
    await trio.to_thread.run_sync(server.__enter__)
    source = source_of(server, **more)
    try:
        yield source, server
    finally:
        with trio.CancelScope(shield=True):
            await source.close()
            await trio.to_thread.run_sync(server.__exit__)


async def fetch(source, sample=LARGE, run=None):
    sink = MemorySink(sample.table)
    with trio.fail_after(20):
        await source.fetch(sample.content, sample.table, run or sample.all, sink)
    return sink


class TestAnHonestServer:
    @pytest.mark.parametrize("sample", PATHS.values(), ids=list(PATHS))
    async def test_brings_every_file(self, sample):
        async with served() as (source, _):
            assert await source.holds(sample.content) == Holding(complete=True)
            assert (await fetch(source, sample)).data == sample.data

    async def test_is_asked_for_runs_of_pieces_by_a_client_that_says_who_it_is(self):
        async with served() as (source, server):
            sink = await fetch(source, run=Run(3, 4))
            assert sink.order == [3, 4, 5, 6]
            assert [each.range for each in server.asked] == ["bytes=2100000-4899999"]
            assert server.asked[0].agent == f"p2phub/{__version__}"

    async def test_is_asked_over_connections_that_are_used_again(self):
        async with served() as (source, _):
            await fetch(source)
            client = source._idle[0]
            await source.holds(LARGE.content)
            await fetch(source, run=Run(1, 2))
            assert source._idle == [client]
            assert len(client._idle) == 1

    async def test_that_is_busy_with_our_runs_is_not_asked_what_it_holds(self):
        async with served() as (source, server), source.place(), source.place():
            assert await source.holds(LARGE.content) == Holding(complete=True)
            assert server.asked == []

    async def test_that_went_away_and_came_back_on_an_idle_connection_is_no_failure(self):
        async with served() as (source, server):
            await fetch(source, SMALL)
            await trio.to_thread.run_sync(server._server.cut)
            assert (await fetch(source, SMALL)).data == SMALL.data


class TestManySmallFiles:
    SAMPLES: ClassVar = [make_sample(100 + number, seed=number) for number in range(12)]
    PATHS: ClassVar = {f"/m/{number}": sample for number, sample in enumerate(SAMPLES)}
    CONTENTS: ClassVar = [sample.content for sample in SAMPLES]

    @asynccontextmanager
    async def served(self, answer):
        """A source of them; `most` of its server's answers were on their way at once."""
        most, now, lock = [0], [0], threading.Lock()

        def counting(exchange):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.01)  # so that requests sent together are seen together
            with lock:
                now[0] -= 1
            answer(exchange)

        files = {path: sample.data for path, sample in self.PATHS.items()}
        server = WebServer(files, counting)
        await trio.to_thread.run_sync(server.__enter__)
        source = source_of(server, self.PATHS)
        try:
            yield source, most
        finally:
            with trio.CancelScope(shield=True):
                await source.close()
                await trio.to_thread.run_sync(server.__exit__)

    async def bring(self, source, contents):
        came = {}

        def accept(content, data):
            came[content] = bytes(data)

        with trio.fail_after(20):
            return came, await source.fetch_many(contents, accept)

    async def test_come_a_few_at_once_over_connections_that_are_used_again(self):
        all_here = threading.Barrier(SMALL_AT_ONCE, timeout=10)

        def together(exchange):
            all_here.wait()
            web.honest(exchange)

        async with self.served(together) as (source, _):
            came, lacking = await self.bring(source, [OTHER.content, *self.CONTENTS])
            assert came == {sample.content: sample.data for sample in self.SAMPLES}
            assert lacking == [OTHER.content]
            assert len(source._idle) == SMALL_AT_ONCE

    async def test_come_one_by_one_from_a_server_that_asked_to_come_back(self):
        async with self.served(web.busy(1, "0")) as (source, most):
            await self.bring(source, self.CONTENTS[:3])
            most[0] = 0
            came, _ = await self.bring(source, self.CONTENTS[3:])
            assert len(came) == 9
            assert most[0] == 1

    async def test_end_with_the_error_of_the_first_that_fails(self):
        async with self.served(web.reset) as (source, _):
            with pytest.raises(RemoteError):
                await self.bring(source, self.CONTENTS)


class TestAFaultyServer:
    """Each fault ends the fetch with the error that `Source` names, and soon."""

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (web.poisoned, WrongBytesError),
            (web.truncated, RemoteError),
            (web.other_range, GarbageError),
            (web.no_range, GarbageError),
            (web.other_total, NotFoundError),
            (web.in_gzip, GarbageError),
            (web.endless_head, GarbageError),
            (web.dripping_head, TooSlowError),
            (web.dripping_body, TooSlowError),
            (web.silent, TooSlowError),
            (web.reset, RemoteError),
            (web.failing(404), NotFoundError),
            (web.failing(403), NotFoundError),
            (web.failing(500), RemoteError),
            (web.failing(503), RemoteError),
            (web.failing(418), GarbageError),
            (web.redirecting(lambda exchange: ""), GarbageError),
            (web.redirecting(lambda exchange: "file:///etc/passwd"), NoSourceError),
            (web.redirecting(lambda exchange: "gopher://x/"), NoSourceError),
            (web.redirecting(lambda exchange: "http://me:secret@127.0.0.1/"), NoSourceError),
            (web.redirecting(lambda exchange: "http://[half"), NoSourceError),
            (web.redirecting(lambda exchange: exchange.path), RemoteError),
        ],
        ids=lambda each: getattr(each, "__name__", None),
    )
    async def test_fails_with_its_error(self, answer, error):
        async with served(answer) as (source, server):
            with pytest.raises(error) as caught:
                await fetch(source)
            assert isinstance(caught.value, (RemoteError, NotFoundError, WrongBytesError))
            assert len(server.asked) <= 5
            assert "secret" not in str(caught.value)

    async def test_that_poisons_is_caught_at_that_piece_and_what_came_before_is_kept(self):
        async with served(web.poisoned) as (source, _):
            sink = MemorySink(LARGE.table)
            with pytest.raises(WrongBytesError):
                await source.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
            wrong = LARGE.table.pieces_covering(6 * MIB, 6 * MIB + 1)[0]
            assert sink.order == list(range(wrong))

    async def test_with_a_body_that_never_ends_gives_what_was_asked_for(self):
        async with served(web.endless_body) as (source, _):
            assert (await fetch(source, SMALL)).data == SMALL.data

    @pytest.mark.parametrize(
        "answer", [web.failing(404), web.other_total, web.failing(410)], ids=["404", "size", "410"]
    )
    async def test_that_lacks_the_file_holds_nothing(self, answer):
        async with served(answer) as (source, _):
            assert await source.holds(LARGE.content) is None

    async def test_cannot_make_a_message_of_what_it_sends(self):
        async with served(web.failing(500)) as (source, server):
            with pytest.raises(RemoteError) as caught:
                await fetch(source)
            assert server.host in caught.value.message
            assert "/m/" not in caught.value.message


class TestComeBackLater:
    async def test_429_is_waited_for_and_is_no_fault(self):
        async with served(web.busy(2, "0")) as (source, server):
            assert (await fetch(source)).data == LARGE.data
            assert len(server.asked) == 3

    async def test_503_with_a_date(self):
        soon = web.http_date(time.time() + 1)
        async with served(web.busy(1, soon, status=503)) as (source, server):
            assert (await fetch(source, SMALL)).data == SMALL.data
            assert len(server.asked) == 2

    async def test_a_busy_server_is_believed_to_have_the_file(self):
        async with served(web.busy(1, "0")) as (source, _):
            assert await source.holds(LARGE.content) == Holding(complete=True)

    @pytest.mark.parametrize("after", ["86400", "99999999999999", web.http_date(9e9)])
    async def test_not_for_longer_than_we_have_patience(self, after):
        async with served(web.busy(9, after)) as (source, server):
            with pytest.raises(TooSlowError, match="come back"):
                await fetch(source)
            assert len(server.asked) == 1

    async def test_for_ever_ends(self, monkeypatch):
        monkeypatch.setattr(source_module, "MOST_WAITING", 1.2)
        async with served(web.busy(10**6, "0")) as (source, server):
            with pytest.raises(TooSlowError):
                await fetch(source)
            assert len(server.asked) == 3

    async def test_keeps_every_worker_waiting(self):
        async with served(web.busy(1, "1")) as (source, server):
            began = trio.current_time()
            assert await source.holds(SMALL.content) == Holding(complete=True)
            assert (await fetch(source, SMALL)).data == SMALL.data
            assert trio.current_time() - began > 0.9
            assert len(server.asked) == 2


class TestRedirects:
    async def test_a_hub_that_sends_to_its_cdn_once_a_minute(self):
        async with served() as (_, cdn), served(web.hub(cdn.url)) as (hub, server):
            assert await hub.holds(LARGE.content) == Holding(complete=True)
            assert (await fetch(hub)).data == LARGE.data
            assert len(server.asked) == 1
            assert len(cdn.asked) == 2
            assert all("signature=" in each.path for each in cdn.asked)

    async def test_a_signature_that_ran_out_is_asked_for_anew(self):
        with ExitStack() as stack:
            cdn = stack.enter_context(WebServer(FILES))
            hub = stack.enter_context(WebServer(FILES, web.hub(cdn.url)))
            source = source_of(hub)
            await fetch(source)
            cdn.answer = web.failing(403)
            with pytest.raises(NotFoundError):
                await fetch(source)
            cdn.answer = web.honest
            assert (await fetch(source)).data == LARGE.data
            assert len(hub.asked) == 3
            await source.close()

    async def test_a_hub_that_has_another_file_is_known_before_the_cdn_is_asked(self):
        async with served() as (_, cdn), served(web.hub(cdn.url, wrong_size=1)) as (hub, _):
            assert await hub.holds(LARGE.content) is None
            assert cdn.asked == []

    async def test_relative(self):
        def answer(exchange):
            moved = web.redirecting(lambda _: "../m/large.bin?again")
            (web.honest if "?" in exchange.path else moved)(exchange)

        async with served(answer) as (source, _):
            assert (await fetch(source)).data == LARGE.data


DEPTHS = {"127.0.0.1": PUBLIC, "127.0.0.2": PRIVATE, "127.0.0.3": LOOPBACK}


class TestTheGuard:
    """127.0.0.1 plays the internet, 127.0.0.2 a private network, 127.0.0.3 this machine."""

    @asynccontextmanager
    async def chain(self, start, target, named=False):
        with ExitStack() as stack:
            last = stack.enter_context(WebServer(FILES, host=target))
            moved = web.redirecting(lambda exchange: f"{last.url}{exchange.path}")
            first = stack.enter_context(WebServer(FILES, moved, host=start))
            hosts = frozenset({first.host} if named else ())
            source = source_of(first, guard=Guard(hosts, DEPTHS.__getitem__))
            yield source, first, last
            await source.close()

    @pytest.mark.parametrize("target", ["127.0.0.2", "127.0.0.3"])
    async def test_the_internet_does_not_lead_inside(self, target):
        async with self.chain("127.0.0.1", target) as (source, first, last):
            with pytest.raises(NoSourceError, match="private network"):
                await fetch(source)
            assert len(first.asked) == 1
            assert last.asked == []

    @pytest.mark.parametrize("start", ["127.0.0.2", "127.0.0.3"])
    async def test_a_stranger_names_nothing_inside(self, start):
        async with self.chain(start, "127.0.0.1") as (source, first, _):
            with pytest.raises(NoSourceError, match="private network") as caught:
                await fetch(source)
            assert "web_seeds" in caught.value.remedy
            assert first.asked == []

    async def test_a_private_server_that_the_user_named_may_send_to_its_neighbours(self):
        async with self.chain("127.0.0.2", "127.0.0.2", named=True) as (source, _, _):
            assert (await fetch(source)).data == LARGE.data

    async def test_but_not_to_this_machine(self):
        async with self.chain("127.0.0.2", "127.0.0.3", named=True) as (source, _, last):
            with pytest.raises(NoSourceError):
                await fetch(source)
            assert last.asked == []

    async def test_a_name_that_also_means_this_machine_is_dialled_outside_only(self):
        async def both(host, port):
            return ("127.0.0.3", "127.0.0.1")

        with WebServer(FILES) as server:
            source = source_of(server, guard=Guard(frozenset(), DEPTHS.__getitem__, both))
            assert (await fetch(source)).data == LARGE.data
            place = await source._guard.place(server.url)
            assert place.addresses == ("127.0.0.1",)
            await source.close()

    async def test_a_name_without_an_address(self):
        async def nothing(host, port):
            return ()

        with pytest.raises(NoSourceError, match="no address"):
            await Guard(resolve=nothing).place("https://nowhere.example/")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


class TestTls:
    async def test_with_a_certificate_of_an_authority_we_know(self, authority):
        server_side, client_side = authority
        with WebServer(FILES, context=server_side) as server:
            source = source_of(server, context=client_side)
            assert (await fetch(source)).data == LARGE.data
            await source.close()

    async def test_with_a_certificate_of_nobody_we_know(self, authority):
        with WebServer(FILES, context=authority[0]) as server:
            source = source_of(server)
            with pytest.raises(RemoteError, match="certificate"):
                await fetch(source)
            assert server.asked == []
            await source.close()

    async def test_is_never_given_up_by_a_redirect(self, authority):
        server_side, client_side = authority
        with WebServer(FILES) as plain:
            moved = web.redirecting(lambda exchange: f"{plain.url}{exchange.path}")
            with WebServer(FILES, moved, context=server_side) as server:
                source = source_of(server, context=client_side)
                with pytest.raises(NoSourceError, match="https to http"):
                    await fetch(source)
                assert plain.asked == []
                await source.close()


class TestProxies:
    async def test_from_the_environment_are_asked(self, monkeypatch):
        def through(exchange):
            exchange.path = exchange.path.removeprefix("http://mirror.example")
            web.honest(exchange)

        with WebServer(FILES, through) as proxy:
            monkeypatch.setenv("http_proxy", proxy.host)
            urls = {LARGE.content: ["http://mirror.example/m/large.bin"]}
            source = WebSource("mirror.example", urls, guard=Guard())
            assert (await fetch(source)).data == LARGE.data
            await source.close()

    async def test_are_not_asked_for_an_address_inside(self, monkeypatch):
        with WebServer(FILES) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            urls = {LARGE.content: ["http://169.254.169.254/latest/meta-data/"]}
            source = WebSource("x", urls, guard=Guard())
            with pytest.raises(NoSourceError):
                await fetch(source)
            assert proxy.asked == []
            await source.close()

    async def test_that_cannot_be_used_are_an_error_with_a_remedy(self, monkeypatch):
        monkeypatch.setenv("http_proxy", "ftp://127.0.0.1:1")
        source = WebSource("x", {SMALL.content: ["http://mirror.example/x"]}, guard=Guard())
        with pytest.raises(RemoteError, match="proxy") as caught:
            await fetch(source, SMALL)
        assert "NO_PROXY" in caught.value.remedy
        await source.close()

    def test_are_bypassed_where_the_environment_says_so(self, monkeypatch):
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "lan.example")
        assert proxy_of("https://mirror.example/x") == "http://127.0.0.1:1"
        assert proxy_of("https://lan.example/x") is None
        assert proxy_of("http://mirror.example/x") is None


class TestExports:
    TABLE = LARGE.table.pack()

    def files(self):
        digest = LARGE.content.digest.hex()
        return {
            f"/pub/v1/files/{LARGE.content}": LARGE,
            f"/pub/v1/documents/{digest}": self.TABLE,
        }

    @asynccontextmanager
    async def export(self, **faults):
        found = self.files() | faults
        data = {path: getattr(each, "data", each) for path, each in found.items()}
        with WebServer(data) as server:
            source = source_of(server, {f"/pub/v1/files/{LARGE.content}": LARGE})
            yield source
            await source.close()

    async def test_have_the_piece_table_beside_the_file(self):
        async with self.export() as source:
            assert await source.document(LARGE.content.digest, len(self.TABLE)) == self.TABLE
            assert (await fetch(source)).data == LARGE.data

    async def test_that_send_more_than_a_table_can_have_send_garbage(self):
        async with self.export() as source:
            with pytest.raises(GarbageError):
                await source.document(LARGE.content.digest, len(self.TABLE) - 1)

    async def test_of_other_layouts_have_no_documents(self):
        async with served() as (source, server):
            with pytest.raises(NotFoundError):
                await source.document(LARGE.content.digest, 10**6)
            assert server.asked == []

    async def test_an_endless_table_is_cut_off(self):
        with WebServer({"/v1/files/x": b""}, web.endless_body) as server:
            source = source_of(server, {f"/v1/files/{LARGE.content}": LARGE})
            with pytest.raises(GarbageError, match="more than"):
                await source.document(LARGE.content.digest, 10**6)
            await source.close()


class TestCancelling:
    @pytest.mark.parametrize("answer", [web.silent, web.dripping_body], ids=["silent", "drip"])
    async def test_cuts_the_connection_at_once(self, answer):
        server = WebServer(FILES, answer)
        with server:
            urls = {LARGE.content: [f"{server.url}/m/large.bin"]}
            source = WebSource("x", urls, guard=Guard(frozenset({server.host})))
            began = time.monotonic()
            with trio.move_on_after(0.3) as scope:
                await fetch(source)
            assert scope.cancelled_caught
            assert time.monotonic() - began < 5
            await source.close()

    async def test_closing_ends_what_is_asked(self):
        async with served(web.silent) as (source, server):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.refused, source)
                await trio.to_thread.run_sync(server.began.wait)
                await source.close()
            with pytest.raises(RemoteError, match="closed"):
                await fetch(source)

    async def refused(self, source):
        with pytest.raises(RemoteError):
            await fetch(source)


@pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed here")
class TestNginx:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "files/m/a b").mkdir(parents=True)
        for path, data in FILES.items():
            (tmp_path / "files" / path[1:]).write_bytes(data)
        return tmp_path / "files"

    def source(self, address, context=None, **more):
        quoted = {path.replace(" ", "%20"): each for path, each in PATHS.items()}
        urls = {each.content: [f"{address}{path}"] for path, each in quoted.items()}
        urls[OTHER.content] = [f"{address}/m/other.bin"]
        host = address.partition("//")[2]
        extra = {"context": lambda: context} if context else {}
        return WebSource(
            host,
            urls,
            guard=Guard(frozenset({host})),
            make_client=lambda name: WebClient(name, **extra),
            **more,
        )

    async def check(self, source):
        for sample in PATHS.values():
            assert await source.holds(sample.content) == Holding(complete=True)
            assert (await fetch(source, sample)).data == sample.data
        assert (await fetch(source, run=Run(5, 3))).order == [5, 6, 7]
        assert await source.holds(OTHER.content) is None
        with pytest.raises(NotFoundError):
            await fetch(source, OTHER)
        await source.close()

    async def test_brings_every_file_and_lacks_others(self, folder):
        with nginx(folder) as address:
            await self.check(self.source(address))

    async def test_over_tls(self, folder, tmp_path):
        _, context = make_authority(tmp_path)
        keys = tmp_path / "certificate.pem", tmp_path / "key.pem"
        with nginx(folder, keys=keys) as address:
            await self.check(self.source(address, context))
            stranger = self.source(address)
            with pytest.raises(RemoteError, match="certificate"):
                await fetch(stranger)
            await stranger.close()

    async def test_without_ranges(self, folder):
        with nginx(folder, more="max_ranges 0;") as address:
            source = self.source(address)
            assert await source.holds(LARGE.content) == Holding(complete=True, in_order=True)
            assert (await fetch(source, run=Run(0, 8))).order == list(range(8))
            assert (await fetch(source, run=Run(8, 3))).order == [8, 9, 10]
            await source.close()

    async def test_that_allows_one_connection_only(self, folder):
        limit = "limit_conn_zone $binary_remote_addr zone=one:1m;"
        with nginx(
            folder, more="limit_conn one 1; limit_conn_status 429;", before=limit
        ) as address:
            source, sink = self.source(address), MemorySink(LARGE.table)
            job = FileFetch("large.bin", LARGE.content, LARGE.table, sink, patience=2)
            with trio.fail_after(30):
                await job.run([(source, Holding(complete=True))])
            assert sink.data == LARGE.data
            await source.close()


class TestRaces:
    """Mirrors race with peers through the same plan."""

    async def race(self, *sources):
        sink = MemorySink(LARGE.table)
        brought = {}

        def count(name, size):
            brought[name] = brought.get(name, 0) + size

        job = FileFetch("large.bin", LARGE.content, LARGE.table, sink, brought=count, patience=2)
        with trio.fail_after(30):
            await job.run([(each, Holding(complete=True)) for each in sources])
        assert sink.data == LARGE.data
        return job, brought

    @pytest.mark.parametrize("answer", [web.all_wrong, web.truncated, web.silent, web.reset])
    async def test_a_bad_mirror_beside_an_honest_peer(self, answer):
        async with served(answer) as (mirror, _):
            peer = HonestSource("peer", [LARGE], latency=0.1)
            job, brought = await self.race(mirror, peer)
            assert brought["peer"] > 0
            assert job.liars == ({mirror.name} if answer is web.all_wrong else set())

    async def test_an_honest_mirror_beside_a_lying_peer(self):
        async with served() as (mirror, _):
            job, brought = await self.race(LyingSource("liar", [LARGE], latency=0), mirror)
            assert job.liars <= {"liar"}
            assert set(brought) == {mirror.name}

    async def test_a_poisoned_mirror_beside_an_honest_one(self):
        alone = served(connections=1)  # so that it cannot be asked for everything at once
        async with served(web.all_wrong) as (bad, _), alone as (good, _):
            job, brought = await self.race(bad, good)
            assert job.liars == {bad.name}
            assert brought[good.name] > 0


def make_authority(folder, *domains):
    """TLS for 127.0.0.1 and `domains` by an authority of this test: the server's side and the
    client's.
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(IPv4Address("127.0.0.1")), *map(x509.DNSName, domains)]
            ),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    return server, ssl.create_default_context(cafile=str(public))
