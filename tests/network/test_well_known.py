"""The file by which a domain names its publishers: honest servers, and hostile ones."""

import gc
import ssl
import threading
from contextlib import contextmanager

import pytest
import trio

from p2phub.errors import GarbageError, MalformedError, NoSourceError, RemoteError, TooSlowError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_WELL_KNOWN, MIB
from p2phub.network.limits import Patience
from p2phub.network.web_client import WebClient
from p2phub.network.web_guard import PUBLIC, Guard, depth_of
from p2phub.network.well_known import AT_ONCE, MOST_REDIRECTS, WellKnown
from p2phub.testing import web
from p2phub.testing.web import WebServer
from p2phub.trust.domains import WELL_KNOWN, proof_file
from tests.network.loopback import until
from tests.network.test_web_source import make_authority

LAB, DOMAIN = PublisherId(bytes(32)), "lab.example"
FILE = proof_file(LAB).encode()
QUICK = Patience(connect=1, handshake=1, request=0.5, progress=0.5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    gc.collect()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"), DOMAIN)


async def _to_this_machine(host, port):
    return ("127.0.0.1",)


@contextmanager
def asking(authority, answer=None, files=None, *, guarded=False, trusted=True, seconds=5.0):
    """A server of `lab.example`, and who asks it. `guarded`: with the real rules about private
    addresses. `trusted`: whether we know the authority of its certificate.
    """
    server_side, client_side = authority
    contents = {WELL_KNOWN: FILE} if files is None else files
    depth = depth_of if guarded else (lambda address: PUBLIC)
    guard = Guard(depth_of=depth, resolve=_to_this_machine)
    context = client_side if trusted else ssl.create_default_context()

    def make_client(name):
        return WebClient(name, patience=QUICK, context=lambda: context)

    with WebServer(contents, answer, context=server_side) as server:
        port = int(server.host.rpartition(":")[2])
        yield server, WellKnown(guard, port=port, seconds=seconds, make_client=make_client)


async def test_the_file_of_a_domain_is_read(authority):
    with asking(authority) as (server, well_known):
        assert await well_known.named(DOMAIN) == {LAB}
        assert [asked.path for asked in server.asked] == [WELL_KNOWN]


async def test_a_domain_without_a_file_names_nobody(authority):
    with asking(authority, files={}) as (_, well_known):
        assert await well_known.named(DOMAIN) == frozenset()


async def test_a_redirect_on_the_same_host_is_followed(authority):
    moved = web.redirecting(lambda exchange: "/elsewhere")

    def answer(exchange):
        (moved if exchange.path == WELL_KNOWN else web.honest)(exchange)

    with asking(authority, answer, {"/elsewhere": FILE}) as (_, well_known):
        assert await well_known.named(DOMAIN) == {LAB}


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/.well-known/p2phub",
        "https://other.example/.well-known/p2phub",
        "https://www.lab.example/.well-known/p2phub",
        "https://lab.example:1/.well-known/p2phub",
        "//other.example/",
    ],
)
async def test_a_redirect_to_another_host_is_not_followed(authority, location):
    moved = web.redirecting(lambda exchange: location)
    with asking(authority, moved) as (server, well_known):
        with pytest.raises(RemoteError, match="another host"):
            await well_known.named(DOMAIN)
        assert len(server.asked) == 1


@pytest.mark.parametrize("location", ["http://lab.example/", "file:///etc/passwd", "https://[::1"])
async def test_a_redirect_to_something_worse_is_not_followed(authority, location):
    with (
        asking(authority, web.redirecting(lambda exchange: location)) as (_, well_known),
        pytest.raises(NoSourceError),
    ):
        await well_known.named(DOMAIN)


async def test_redirects_without_end_are_not_followed_for_ever(authority):
    with asking(authority, web.redirecting(lambda exchange: exchange.path)) as (server, well_known):
        with pytest.raises(RemoteError, match="for ever"):
            await well_known.named(DOMAIN)
        assert len(server.asked) == 4


@pytest.mark.parametrize("count", [MOST_REDIRECTS, MOST_REDIRECTS + 1])
async def test_so_many_redirects_are_followed_and_no_more(authority, count):
    places = [WELL_KNOWN, *(f"/{number}" for number in range(1, count + 1))]
    moved = web.redirecting(lambda exchange: places[places.index(exchange.path) + 1])

    def answer(exchange):
        (web.honest if exchange.path == places[-1] else moved)(exchange)

    with asking(authority, answer, {places[-1]: FILE}) as (server, well_known):
        if count == MOST_REDIRECTS:
            assert await well_known.named(DOMAIN) == {LAB}
        else:
            with pytest.raises(RemoteError, match="for ever"):
                await well_known.named(DOMAIN)
        assert len(server.asked) == MOST_REDIRECTS + 1


class Crowd:
    """Clients that answer once they are let; `most`: so many were asked at the same time."""

    def __init__(self) -> None:
        self.let, self.lock = threading.Event(), threading.Lock()
        self.asked = self.answered = self.most = 0

    def document(self, place, most):
        with self.lock:
            self.asked += 1
            self.most = max(self.most, self.asked - self.answered)
        assert self.let.wait(60)
        with self.lock:
            self.answered += 1
        return FILE

    def abort(self):
        """Whoever waits is let go by the test."""

    def close(self):
        """Nothing was opened."""


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1])
async def test_so_many_domains_are_asked_at_the_same_time_and_no_more(count):
    crowd, found = Crowd(), []
    guard = Guard(depth_of=lambda address: PUBLIC, resolve=_to_this_machine)
    well_known = WellKnown(guard, seconds=60, make_client=lambda name: crowd)

    async def ask(domain):
        found.append(await well_known.named(domain))

    try:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(ask, f"lab{number}.example")
            limiter = well_known._threads
            await until(lambda: crowd.asked + limiter.statistics().tasks_waiting == count, 30)
            assert crowd.asked == AT_ONCE
            crowd.let.set()
    finally:
        crowd.let.set()
    assert (found, crowd.most) == ([{LAB}] * count, AT_ONCE)


async def test_a_domain_that_leads_into_this_network_is_not_asked(authority):
    with asking(authority, guarded=True) as (server, well_known):
        with pytest.raises(NoSourceError, match="private network"):
            await well_known.named(DOMAIN)
        assert server.asked == []


async def test_a_certificate_of_nobody_we_know_proves_nothing(authority):
    with asking(authority, trusted=False) as (server, well_known):
        with pytest.raises(RemoteError, match="certificate"):
            await well_known.named(DOMAIN)
        assert server.asked == []


async def test_a_certificate_of_another_domain_proves_nothing(authority):
    with asking(authority) as (server, well_known):
        with pytest.raises(RemoteError, match="certificate"):
            await well_known.named("other.example")
        assert server.asked == []


@pytest.mark.parametrize("size", [MAX_WELL_KNOWN, MAX_WELL_KNOWN + 1, 10 * MIB])
async def test_a_file_that_is_too_large_is_refused(authority, size):
    data = FILE + b"\n" * (size - len(FILE))
    with asking(authority, files={WELL_KNOWN: data}) as (_, well_known):
        if size <= MAX_WELL_KNOWN:
            assert await well_known.named(DOMAIN) == {LAB}
            return
        with pytest.raises(GarbageError):
            await well_known.named(DOMAIN)


def packed(exchange):
    exchange.whole(200, exchange.data, Content_Encoding="gzip")


@pytest.mark.parametrize("answer", [web.endless_body, web.endless_head, packed])
async def test_an_answer_that_does_not_end_or_is_packed_is_refused(authority, answer):
    with asking(authority, answer) as (_, well_known), pytest.raises(GarbageError):
        await well_known.named(DOMAIN)


@pytest.mark.parametrize("answer", [web.silent, web.dripping_head, web.dripping_body])
async def test_a_slow_server_costs_its_time_and_no_more(authority, answer):
    with (
        asking(authority, answer, seconds=0.4) as (_, well_known),
        pytest.raises((TooSlowError, GarbageError)),
    ):
        await well_known.named(DOMAIN)


@pytest.mark.parametrize("answer", [web.failing(500), web.busy(9), web.reset])
async def test_a_server_that_fails_proves_nothing(authority, answer):
    with asking(authority, answer) as (_, well_known), pytest.raises(RemoteError):
        await well_known.named(DOMAIN)


async def test_a_page_for_people_is_no_list(authority):
    files = {WELL_KNOWN: b"<!doctype html><title>Welcome</title>"}
    with asking(authority, files=files) as (_, well_known), pytest.raises(MalformedError):
        await well_known.named(DOMAIN)


async def test_a_server_that_is_not_there_is_told(authority):
    with asking(authority) as (_, well_known):
        pass
    with pytest.raises(RemoteError):
        await well_known.named(DOMAIN)
