"""A hub is asked, whatever it does: every failure is one of ours, and no token leaves it."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from p2phub.errors import GarbageError, NoSourceError, RemoteError, TooSlowError
from p2phub.network import hub_client
from p2phub.network.hub_client import HubClient, Question


@contextmanager
def server(answer):
    """`answer(exchange)` for every request; what was asked stands in `asked`."""

    class Exchange(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            length = int(self.headers.get("content-length") or 0)
            asked.append((self.command, self.path, self.headers, self.rfile.read(length)))
            answer(self)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    asked = []
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    listening.url = f"http://127.0.0.1:{listening.server_address[1]}"
    listening.asked = asked
    try:
        yield listening
    finally:
        listening.shutdown()
        listening.server_close()


def say(status, body=b"", **headers):
    def answer(exchange):
        exchange.send_response(status)
        for name, value in headers.items():
            exchange.send_header(name.replace("_", "-"), value)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        exchange.wfile.write(body)

    return answer


async def ask(url, question=None, token=None, **more):
    client = HubClient(url, **more)
    try:
        return await client.ask(question or Question("/api/models/x?blobs=true"), token)
    finally:
        await client.close()


@pytest.mark.parametrize("status", [200, 404, 401, 429, 503])
async def test_an_answer_comes_as_it_is(status):
    with server(say(status, b"{}", X_Error_Code="Odd")) as hub:
        reply = await ask(hub.url + "/")
    assert (reply.status, reply.body, reply.headers["x-error-code"]) == (status, b"{}", "Odd")
    ((method, path, headers, _),) = hub.asked
    assert (method, path, headers["authorization"]) == ("GET", "/api/models/x?blobs=true", None)


async def test_who_passed_a_question_on_is_said():
    with server(say(200)) as hub:
        client = HubClient(hub.url)
        await client.ask(Question("/api/x"))
        await client.ask(Question("/api/x"), via="cache.example")
        await client.close()
    told = [headers["cdn-loop"] for _, _, headers, _ in hub.asked]
    assert told == [client.hop, f"cache.example, {client.hop}"]
    assert HubClient(hub.url).hop != client.hop


async def test_a_question_with_a_body_is_asked_with_it():
    with server(say(200)) as hub:
        await ask(hub.url, Question("/api/x", "POST", b"a=1", "application/x-www-form-urlencoded"))
    ((method, _, headers, body),) = hub.asked
    assert (method, body) == ("POST", b"a=1")
    assert headers["content-type"] == "application/x-www-form-urlencoded"


async def test_a_path_stays_encoded_as_it_was_sent():
    with server(say(200)) as hub:
        await ask(hub.url, Question("/api/models/o/x/tree/refs%2Fpr%2F1/a%2F..%2Fb?q=%C3%BC"))
    assert hub.asked[0][1] == "/api/models/o/x/tree/refs%2Fpr%2F1/a%2F..%2Fb?q=%C3%BC"


async def test_a_redirect_on_the_same_server_is_followed_with_what_it_said_of_the_file():
    def answer(exchange):
        if exchange.path == "/old":
            say(307, Location="/new", X_Linked_Size="7", X_Repo_Commit="c")(exchange)
        else:
            say(200, ETag='"e"')(exchange)

    with server(answer) as hub:
        reply = await ask(hub.url, Question("/old", "HEAD"), "secret")
    assert reply.status == 200
    assert (reply.headers["etag"], reply.headers["x-linked-size"]) == ('"e"', "7")
    assert [each[2]["authorization"] for each in hub.asked] == ["Bearer secret"] * 2


@pytest.mark.parametrize("where", ["http://127.0.0.2:1/x", "https://127.0.0.1/x", "//127.0.0.3/x"])
async def test_a_redirect_to_another_server_is_told_and_not_followed(where):
    with server(say(302, Location=where, X_Linked_Etag='"e"')) as hub:
        reply = await ask(hub.url, Question("/x", "HEAD"), "secret")
    assert (reply.status, reply.headers["x-linked-etag"]) == (302, '"e"')
    assert len(hub.asked) == 1


async def test_who_redirects_for_ever_is_left():
    with server(say(302, Location="/again")) as hub, pytest.raises(RemoteError, match="for ever"):
        await ask(hub.url)
    assert len(hub.asked) < 10


async def test_nobody_there():
    with server(say(200)) as hub:
        url = hub.url
    with pytest.raises(NoSourceError, match="cannot be reached"):
        await ask(url, token="secret")


async def test_who_never_answers_is_left():
    gone = threading.Event()
    with server(lambda exchange: gone.wait(5)) as hub, pytest.raises(TooSlowError):
        await ask(hub.url, patience=0.2)
    gone.set()


async def test_a_drip_of_bytes_does_not_make_an_answer_last_for_ever():
    def drip(exchange):
        exchange.send_response(200)
        exchange.send_header("Content-Length", "1000")
        exchange.end_headers()
        for _ in range(30):
            exchange.wfile.write(b"x")
            exchange.wfile.flush()
            if done.wait(0.05):
                break

    done = threading.Event()
    with server(drip) as hub, pytest.raises(TooSlowError):
        await ask(hub.url, patience=0.3)
    done.set()


# httpx leaves its generators to the collector when an answer is not read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_answer_is_read_up_to_its_limit(monkeypatch):
    monkeypatch.setattr(hub_client, "MAX_ANSWER", 100)
    with server(say(200, b"x" * 101)) as hub, pytest.raises(GarbageError):
        await ask(hub.url)


@pytest.mark.parametrize(
    "garbage", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]
)
async def test_garbage_is_an_error_that_names_no_token(garbage):
    def answer(exchange):
        exchange.wfile.write(garbage)
        exchange.close_connection = True

    with server(answer) as hub, pytest.raises(RemoteError) as caught:
        await ask(hub.url, token="secret")
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize("target", ["api/x", "//other.example/x", "http://other.example/"])
def test_a_question_is_about_the_hub_itself(target):
    with pytest.raises(ValueError, match=r"api/x|other"):
        Question(target)
