"""What strange servers and httpx's own failures become."""

import socket
import threading

import httpx
import pytest

from p2phub import Hub
from p2phub.client.wire import as_ours, error_of
from p2phub.errors import (
    GarbageError,
    NotFoundError,
    P2PHubError,
    QuotaError,
    RemoteError,
    UsageError,
)


def tree(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


HTTPX_ERRORS = [*tree(httpx.HTTPError), httpx.InvalidURL, *tree(httpx.StreamError)]


@pytest.mark.parametrize("kind", HTTPX_ERRORS, ids=lambda kind: kind.__name__)
def test_every_httpx_error_becomes_one_of_ours(kind):
    error = kind.__new__(kind)
    Exception.__init__(error, "from httpx")
    with pytest.raises(P2PHubError), as_ours("http://127.0.0.1:1"):
        raise error


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"code": "quota", "exit": 5}, QuotaError),
        ({"code": "invented_later", "exit": 3}, NotFoundError),
        ({"code": "invented_later", "exit": 99}, P2PHubError),
        ({"code": "internal", "exit": 1}, P2PHubError),
        ({}, P2PHubError),
        (None, GarbageError),
    ],
)
def test_an_error_object_becomes_the_nearest_class(told, kind):
    assert type(error_of({"error": told})) is kind


def served_once(answer):
    """The port of a server that sends `answer` to its one client, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as client:
            client.recv(65536)
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", GarbageError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", GarbageError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", GarbageError),
        (b"SSH-2.0-OpenSSH_9\r\n", RemoteError),
        (b"", RemoteError),
        (STREAM + b'13\r\n{"event":"resolved"\r\n', RemoteError),
        (STREAM + b'15\r\n{"event":"resolved"}\n\r\n0\r\n\r\n', RemoteError),
        (STREAM + b"6\r\nhello\n\r\n0\r\n\r\n", GarbageError),
        (STREAM + b'12\r\n{"event":"done"}\n \r\n0\r\n\r\n', GarbageError),
    ],
)
def test_what_is_no_node_is_told_as_such(answer, kind):
    port, thread = served_once(answer)
    with Hub(url=f"http://127.0.0.1:{port}", token="x") as hub, pytest.raises(kind) as caught:
        hub.pull("lab/minilm")
    thread.join()
    assert not isinstance(caught.value, UsageError)
    assert caught.value.remedy or "without" in caught.value.message
