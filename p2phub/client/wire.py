"""What comes over the wire, read: error objects, lines of a stream, and httpx's own failures.

This is the door to httpx's exceptions: each becomes one of ours here. Errors of a node are raised
again as the class they were there, found by their code.

>>> error_of({"error": {"code": "no_space", "message": "the disk is full"}})
NoSpaceError('the disk is full')
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from p2phub import errors
from p2phub.client.http import httpx
from p2phub.errors import GarbageError, P2PHubError, RemoteError, TooSlowError

_REMEDY = "Look at the node's log, or start it again with `p2phub node`."


def _tree(kind: type[P2PHubError]) -> Iterator[type[P2PHubError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


_BY_CODE = {kind.code: kind for kind in _tree(P2PHubError)}
_BY_EXIT = {kind.exit: kind for kind in reversed(list(_tree(P2PHubError)))}


def error_of(body: Mapping[str, Any]) -> P2PHubError:
    """The error that an error object tells of; an unknown code becomes the class of its exit."""
    told = body.get("error")
    if not isinstance(told, Mapping):
        return GarbageError("a node answered with an error that says nothing", remedy=_REMEDY)
    by_exit = _BY_EXIT.get(told.get("exit", 1), P2PHubError)
    kind = _BY_CODE.get(str(told.get("code")), by_exit)
    return kind(str(told.get("message", "")), remedy=str(told.get("remedy", "")))


def answer_of(url: str, status: int, body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer. Raises the error it tells of."""
    answer = parsed(url, body, f" (HTTP status {status})")
    if status >= 400 or "error" in answer:
        raise error_of(answer)
    return answer


def content_of(url: str, status: int, body: bytes) -> bytes:
    """An answer that is just bytes. Raises the error that is told instead."""
    if status != 200:
        answer_of(url, status, body)
        raise GarbageError(f"{url} answered with HTTP status {status}", remedy=_REMEDY)
    return body


def parsed(url: str, body: bytes, detail: str = "") -> Mapping[str, Any]:
    """A JSON object. Raises `GarbageError`."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, Mapping):
        raise GarbageError(
            f"what answers at {url} is no p2phub node{detail}",
            remedy="Give another --home, or stop the program that has this port.",
        )
    return answer


def is_last(event: Mapping[str, Any]) -> bool:
    """Whether a line of a stream is its last one."""
    return "error" in event or event.get("event") == "done"


def ended(url: str, last: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The last line of a stream. Raises the error it tells, `RemoteError` if there is none."""
    if last is None:
        raise cut_off(url)
    if "error" in last:
        raise error_of(last)
    return last


def cut_off(url: str) -> P2PHubError:
    """What is raised when a stream ends without its last line."""
    return RemoteError(
        f"the node at {url} went away before the work was done",
        remedy="Run the command again: it goes on from where it was.",
    )


@contextmanager
def as_ours(url: str) -> Iterator[None]:
    """Turn every failure of httpx into one of our errors."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise errors.UsageError(f"{url} is no URL of a node: {error}") from error
    except httpx.ConnectError as error:
        raise RemoteError(
            f"no node answers at {url}", remedy="Start one: `p2phub node`."
        ) from error
    except httpx.TimeoutException as error:
        raise TooSlowError(f"the node at {url} did not answer in time", remedy=_REMEDY) from error
    except httpx.RemoteProtocolError as error:
        raise cut_off(url) from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise RemoteError(f"talking to {url} failed: {error}", remedy=_REMEDY) from error
