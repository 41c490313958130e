"""Connections to web servers: through proxies, over TLS, cut from another thread."""

import gc
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest

from p2phub.errors import GarbageError, RemoteError
from p2phub.formats.limits import MIB
from p2phub.network.limits import Patience
from p2phub.network.web_client import WebClient
from p2phub.network.web_connection import Origin, WebConnection
from p2phub.network.web_guard import Place
from p2phub.testing import web
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.web import WebServer
from tests.network.test_web_source import make_authority

LARGE = make_sample(3 * MIB, seed="web connection", piece=700_000)
QUICK = Patience(connect=1, handshake=1, request=0.5, progress=0.5)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    gc.collect()


@contextmanager
def tunnel(answer=b"HTTP/1.1 200 Connection established\r\n\r\n", context=None, times=1):
    """A proxy for so many CONNECTs; its port, and the heads of the requests."""
    heads = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            _shut(target)

    def serve():
        for _ in range(times):
            raw, _ = listener.accept()
            raw.settimeout(5)
            with context.wrap_socket(raw, server_side=True) if context else raw as near:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += near.recv(1)
                heads.append(head.decode())
                near.sendall(answer)
                if b" 200 " not in answer:
                    continue
                host, _, port = heads[-1].split()[1].rpartition(":")
                with socket.create_connection((host, int(port)), 5) as far:
                    back = threading.Thread(target=pump, args=(far, near))
                    back.start()
                    pump(near, far)
                    back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heads
    finally:
        thread.join()
        listener.close()


def _shut(connection):
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return


def brought(client, url, addresses=()):
    sink = MemorySink(LARGE.table)
    try:
        client.fetch(Place(url, tuple(addresses), 0), LARGE.content, LARGE.table, LARGE.all, sink)
    finally:
        client.close()
    return sink.data


class TestThroughAProxy:
    def test_tls_goes_through_it_from_end_to_end(self, authority, monkeypatch):
        server_side, client_side = authority
        with WebServer({"/x": LARGE.data}, context=server_side) as server, tunnel() as found:
            monkeypatch.setenv("https_proxy", f"http://me:se%40cret@127.0.0.1:{found[0]}")
            client = WebClient("mirror", patience=QUICK, context=lambda: client_side)
            assert brought(client, f"{server.url}/x") == LARGE.data
            assert found[1][0].startswith(f"CONNECT {server.host} HTTP/1.1\r\n")
            assert "Proxy-Authorization: Basic bWU6c2VAY3JldA==" in found[1][0]
            assert all("cret" not in each.agent for each in server.asked)

    def test_that_speaks_tls_itself(self, authority, monkeypatch):
        server_side, client_side = authority
        near = tunnel(context=server_side)
        with WebServer({"/x": LARGE.data}, context=server_side) as server, near as found:
            monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{found[0]}")
            client = WebClient("mirror", patience=QUICK, context=lambda: client_side)
            assert brought(client, f"{server.url}/x") == LARGE.data

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", RemoteError),
            (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", GarbageError),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", RemoteError),
            (b"SSH-2.0-x\r\n\r\n", GarbageError),
            (b"", RemoteError),
        ],
        ids=["407", "302", "502", "ssh", "nothing"],
    )
    def test_that_does_not_lead_there(self, answer, error, authority, monkeypatch):
        with tunnel(answer) as (port, _):
            monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
            client = WebClient("mirror", patience=QUICK, context=lambda: authority[1])
            with pytest.raises(error) as caught:
                brought(client, "https://mirror.example/x")
            assert "secret" not in str(caught.value)
            assert type(caught.value) is error

    def test_plain_http_carries_the_right_to_use_it(self, monkeypatch):
        rights = []

        def through(exchange):
            rights.append(exchange.headers.get("Proxy-Authorization"))
            exchange.path = exchange.path.removeprefix("http://mirror.example")
            web.honest(exchange)

        with WebServer({"/x": LARGE.data}, through) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy.host}")
            client = WebClient("mirror", patience=QUICK)
            assert brought(client, "http://mirror.example/x") == LARGE.data
        assert rights == ["Basic bWU6c2VjcmV0"]

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://:80", "http://x:y"])
    def test_that_is_none(self, proxy, monkeypatch):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(RemoteError, match="proxy") as caught:
            brought(WebClient("mirror", patience=QUICK), "http://mirror.example/x")
        assert "NO_PROXY" in caught.value.remedy


class TestTls:
    def test_the_certificate_must_name_the_host_of_the_address(self, authority):
        server_side, client_side = authority
        with WebServer({"/x": LARGE.data}, context=server_side) as server:
            url = f"https://mirror.example:{server.host.rpartition(':')[2]}/x"
            client = WebClient("mirror", patience=QUICK, context=lambda: client_side)
            with pytest.raises(RemoteError, match="certificate"):
                brought(client, url, ["127.0.0.1"])
            assert server.asked == []

    def test_what_is_no_tls(self, authority):
        with WebServer({"/x": LARGE.data}) as server:
            client = WebClient("mirror", patience=QUICK, context=lambda: authority[1])
            with pytest.raises(RemoteError):
                brought(client, f"https://{server.host}/x", ["127.0.0.1"])


class TestDialling:
    def test_the_next_address_where_the_first_does_not_answer(self):
        with WebServer({"/x": LARGE.data}) as server:
            client = WebClient("mirror", patience=QUICK)
            assert brought(client, f"{server.url}/x", ["127.0.0.9", "127.0.0.1"]) == LARGE.data

    def test_an_open_connection_is_not_used_for_another_address(self):
        with WebServer({"/x": LARGE.data}) as server:
            client = WebClient("mirror", patience=QUICK)
            place = Place(f"{server.url}/x", ("127.0.0.1",), 0)
            client.holds(place, LARGE.content)
            assert len(client._idle) == 1
            with pytest.raises(RemoteError):
                client.holds(Place(place.url, ("127.0.0.9",), 0), LARGE.content)
            client.close()
            assert len(server.asked) == 1

    def test_cutting_ends_a_handshake_at_once(self):
        listener = socket.create_server(("127.0.0.1", 0))
        with listener:
            origin = Origin("https", "127.0.0.1", listener.getsockname()[1])
            patient = Patience(handshake=20)
            made = WebConnection(origin, "x", patient, ssl.create_default_context)
            threading.Timer(0.1, made.cut).start()
            began = time.monotonic()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                made.open(["127.0.0.1"])
            assert time.monotonic() - began < 10
            made.close()


class TestRequests:
    @pytest.mark.parametrize(
        ("url", "start"),
        [
            ("http://X.example", b"GET / HTTP/1.1\r\nHost: x.example\r\n"),
            ("http://x:80/a?b=c", b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n"),
            ("https://x:444/%C3%BC", b"GET /%C3%BC HTTP/1.1\r\nHost: x:444\r\n"),
            ('http://[::1]:8/"<>', b"GET /%22%3C%3E HTTP/1.1\r\nHost: [::1]:8\r\n"),
        ],
    )
    def test_name_what_is_asked_for(self, url, start):
        assert Origin.of(url).request(url, []).startswith(start)

    def test_to_a_proxy_name_the_whole_address(self):
        origin = Origin.of("http://x/a", "http://proxy:3128")
        assert origin.request("http://x/a", []).startswith(
            b"GET http://x/a HTTP/1.1\r\nHost: x\r\n"
        )
