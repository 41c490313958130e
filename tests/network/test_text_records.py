"""TXT records: what name servers say, and every way in which they may misbehave."""

import gc

import dns.exception
import dns.resolver
import pytest
import trio

from p2phub.errors import GarbageError, P2PHubError, RemoteError, TooSlowError
from p2phub.formats.limits import MAX_TEXT_RECORDS
from p2phub.network.text_records import TextRecords
from p2phub.testing import name_server
from p2phub.testing.name_server import NameServer

NAME = "_p2phub.lab.example"


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open():
    yield
    gc.collect()


async def asked(server, name=NAME, seconds=5.0):
    return await TextRecords(["127.0.0.1"], port=server.port, seconds=seconds).of(name)


async def test_records_are_read_as_they_stand():
    with NameServer({NAME: ["p2phub=x", "v=spf1 -all"]}) as server:
        assert sorted(await asked(server)) == ["p2phub=x", "v=spf1 -all"]
        assert server.asked == [NAME]


@pytest.mark.parametrize("texts", [{}, {NAME: []}], ids=["no such name", "no such records"])
async def test_a_name_without_records_has_none(texts):
    with NameServer(texts) as server:
        assert await asked(server) == ()


async def test_what_is_not_ascii_is_replaced():
    with NameServer({NAME: [r"p2phub=\200\027x"]}) as server:
        assert await asked(server) == ("p2phub=\ufffd\x1bx",)


async def test_an_answer_too_long_for_udp_is_asked_for_over_tcp():
    many = [f"{number:04}" + "x" * 200 for number in range(MAX_TEXT_RECORDS)]
    with NameServer({NAME: many}) as server:
        assert len(await asked(server)) == MAX_TEXT_RECORDS
        assert len(server.asked) == 2


@pytest.mark.parametrize("count", [MAX_TEXT_RECORDS + 1, 1000])
async def test_too_many_records_are_refused(count):
    with (
        NameServer({NAME: [f"{number:04}" for number in range(count)]}) as server,
        pytest.raises(GarbageError, match="more than"),
    ):
        await asked(server)


@pytest.mark.parametrize("lie", [name_server.failing, name_server.looping, name_server.nonsense])
async def test_a_name_server_that_fails_or_lies_is_told(lie):
    with NameServer({}, lie) as server, pytest.raises(RemoteError):
        await asked(server, seconds=1)


async def test_a_name_server_that_says_nothing_costs_its_time_and_no_more():
    with NameServer({}, name_server.silent) as server, pytest.raises(RemoteError):
        await asked(server, seconds=0.3)


async def test_a_port_where_nobody_listens_is_told():
    with NameServer({}) as server:
        port = server.port
    with pytest.raises(RemoteError):
        await TextRecords(["127.0.0.1"], port=port, seconds=1).of(NAME)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".".join(["x" * 60] * 5)])
async def test_what_is_no_name_is_an_error_of_ours(name):
    with NameServer({}) as server, pytest.raises(P2PHubError):
        await asked(server, name)


def everything_below(error):
    return {error} | {below for each in error.__subclasses__() for below in everything_below(each)}


@pytest.mark.parametrize(
    "kind", sorted(everything_below(dns.exception.DNSException), key=lambda kind: str(kind))
)
async def test_every_error_of_the_library_ends_at_the_door(kind, monkeypatch):
    async def fails(self, name):
        raise kind.__new__(kind)

    monkeypatch.setattr(TextRecords, "_ask", fails)
    if kind is dns.resolver.NXDOMAIN:
        assert await TextRecords().of(NAME) == ()
        return
    with pytest.raises(RemoteError):
        await TextRecords().of(NAME)


@pytest.mark.parametrize(
    ("error", "ours"),
    [(OSError(101, "Network is unreachable"), RemoteError), (None, TooSlowError)],
)
async def test_no_network_and_no_answer_are_errors_of_ours(error, ours, monkeypatch):
    async def fails(self, name):
        if error is None:
            await trio.sleep_forever()
        raise error

    monkeypatch.setattr(TextRecords, "_ask", fails)
    with pytest.raises(ours):
        await TextRecords(seconds=0.05).of(NAME)


async def test_a_machine_without_name_servers_is_told(monkeypatch):
    def nothing(*args, **options):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", nothing)
    with pytest.raises(RemoteError, match="NoResolverConfiguration"):
        await TextRecords().of(NAME)
