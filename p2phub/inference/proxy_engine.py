"""Another OpenAI-compatible server as an engine: vLLM, llama-server, or another node.

Whoever set its address in node.toml trusts it: what it answers is passed on, and nothing says which
bytes it runs. A server of our own (`own_server`) is one that we started on a verified folder.

Rules it keeps:
 * an answer under way is a stream, whatever was asked for; closing it closes the connection, by
   which such a server frees the slot;
 * a server that is not there, or breaks off, is `EngineError` for that request; it may be back for
   the next one.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio

from p2phub.errors import (
    EngineError,
    GarbageError,
    NotFoundError,
    P2PHubError,
    UnsupportedError,
)
from p2phub.inference.engine import ModelInfo
from p2phub.inference.http_call import Answer, http_call
from p2phub.inference.openai_shapes import StreamReader, read_embeddings, request_body, told_error
from p2phub.inference.requests import (
    Chat,
    Embed,
    Embeddings,
    Finished,
    Generate,
    Json,
    Piece,
    TaskAnswer,
    TaskRequest,
)

MAX_LINE: Final = 4 << 20
"""Characters of one line of a stream."""
MAX_ANSWER: Final = 256 << 20
"""Bytes of an answer that is no stream."""
MAX_SHOWN: Final = 200
"""Bytes of an error that is no JSON."""
MAX_NAMED: Final = 20
"""Models that an error names."""
HTTP_ERROR: Final = 400
TASKS: Final = ("text-generation", "feature-extraction")


@dataclass(frozen=True, slots=True)
class _Server:
    """Where a server is, and what opens it."""

    url: str
    token: str = ""

    @asynccontextmanager
    async def asked(
        self, path: str, body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Answer]:
        """An answer that is none of its refusals, which are raised."""
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        data = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        url = f"{self.url.rstrip('/')}/{path}"
        async with http_call(method, url, body=data, headers=headers) as answer:
            if answer.status >= HTTP_ERROR:
                raise _refusal(answer, await answer.whole(MAX_ANSWER))
            yield answer

    async def answer(self, path: str, body: Json = None) -> Any:
        """The JSON of an answer."""
        async with self.asked(path, body) as answer:
            return _json(await answer.whole(MAX_ANSWER))


class ProxyEngine:
    """One model of another server. Made by `attach`."""

    def __init__(self, server: _Server, model: str, context: int) -> None:
        self._server, self._model = server, model
        self.lost = trio.Event()
        self.info = ModelInfo(
            engine="proxy",
            device=server.url,
            dtype="",
            tasks=TASKS,
            context=context,
            slots=0,
            chat=True,
        )

    async def generate(self, request: Generate) -> AsyncGenerator[Piece | Finished, None]:
        self._require_attached()
        if request.truncate:
            raise UnsupportedError(
                "an attached server cannot be told to cut a prompt", remedy="send a shorter one"
            )
        chat = isinstance(request.prompt, Chat)
        reader = StreamReader(chat=chat)
        path = "chat/completions" if chat else "completions"
        body = request_body(self._model, request)
        async with self._server.asked(path, body) as answer, aclosing(_chunks(answer)) as chunks:
            async for chunk in chunks:
                for piece in reader.read(chunk):
                    yield piece
        yield reader.finish()

    async def embed(self, request: Embed) -> Embeddings:
        self._require_attached()
        inputs = [each if isinstance(each, str) else list(each) for each in request.inputs]
        body: dict[str, Any] = {"model": self._model, "input": inputs, "encoding_format": "float"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        made = read_embeddings(await self._server.answer("embeddings", body))
        if len(made.data) != 4 * made.width * len(inputs):
            raise GarbageError("the server sent another number of vectors than was asked for")
        return made

    async def run(self, request: TaskRequest) -> TaskAnswer:
        raise UnsupportedError(
            f"{request.task} is not passed on to {self._server.url}",
            remedy="serve the model with an engine of this node",
        )

    async def count(self, request: Generate) -> int:
        raise UnsupportedError("an attached server counts no tokens beforehand")

    async def close(self) -> None:
        """Nothing is asked any more; answers under way end by themselves."""
        self.lost.set()

    def _require_attached(self) -> None:
        if self.lost.is_set():
            raise EngineError(f"{self._server.url} is not attached any more", remedy="ask again")


async def attach(url: str, model: str | None = None, token: str = "") -> ProxyEngine:
    """The server at `url`, which ends with the version (`http://127.0.0.1:8000/v1`).

    Without a `model` it is the only one there. Raises `EngineError` if nobody answers,
    `NotFoundError` if it has no such model, `GarbageError` for what is no such server.
    """
    server = _Server(url, token)
    return ProxyEngine(server, *_pick(await _models(server), model, url))


async def models_of(url: str, token: str = "") -> tuple[str, ...]:
    """The names of the models that a server has. Raises as `attach`."""
    return tuple(_name(row) for row in await _models(_Server(url, token)))


async def _models(server: _Server) -> list[Mapping[str, Any]]:
    answer = await server.answer("models")
    rows = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise GarbageError(
            f"{server.url} does not list its models as an OpenAI-compatible server does",
            remedy="the address ends with the version, such as http://127.0.0.1:8000/v1",
        )
    return rows


def _pick(rows: Sequence[Mapping[str, Any]], model: str | None, url: str) -> tuple[str, int]:
    """The name of the model that is meant, and how many tokens it takes; 0: not known."""
    named = {_name(row): row for row in rows}
    if model is None and len(named) == 1:
        model = next(iter(named))
    if model is None or model not in named:
        raise NotFoundError(
            f"{url} has no model {model}" if model else f"{url} has {len(named)} models",
            remedy=f"it has: {', '.join(list(named)[:MAX_NAMED]) or 'none'}",
        )
    length = named[model].get("max_model_len")
    return model, length if isinstance(length, int) and length > 0 else 0


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("id"))


def _refusal(answer: Answer, data: bytes) -> P2PHubError:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = {"error": data[:MAX_SHOWN].decode("utf-8", "replace")}
    return told_error(answer.status, body, answer.headers.get("retry-after"))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise GarbageError("the server answered with something that is not JSON") from None


async def _chunks(answer: Answer) -> AsyncGenerator[Any, None]:
    """The objects of a stream of server-sent events, up to `[DONE]` or its end."""
    held = b""
    while part := await answer.part():
        *lines, held = (held + part).split(b"\n")
        if len(held) > MAX_LINE:
            raise GarbageError(f"a line of more than {MAX_LINE} bytes")
        for data in filter(None, map(_data, lines)):
            if data == b"[DONE]":
                return
            yield _json(data)


def _data(line: bytes) -> bytes:
    """What a line of server-sent events carries."""
    return line[5:].strip() if line.startswith(b"data:") else b""
