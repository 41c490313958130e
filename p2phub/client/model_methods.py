"""What `Hub` and `AsyncHub` can do with models: load them in the node, and ask them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import anyio.to_thread

from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.chat import (
    CHAT,
    EMBEDDINGS,
    PURPOSES,
    Answer,
    Message,
    answer_from,
    chat_body,
    piece_of,
    vectors_from,
)
from p2phub.client.connection import AsyncConnection, Connection
from p2phub.client.results import Progress
from p2phub.errors import NotFoundError
from p2phub.inference_results import FitReport, LoadedRow, ModelRow

T = TypeVar("T")
OnProgress = Callable[[Progress], None]


class ModelMethods(ABC):
    """The part of `Hub` about models that the node runs."""

    @abstractmethod
    def _run(self, call: Call[T], progress: OnProgress | None = None) -> T: ...

    @abstractmethod
    def _connected(self) -> Connection: ...

    def models(self) -> list[ModelRow]:
        """The models that can be asked without anything being fetched, the loaded ones first."""
        return self._run(calls.models())

    def loaded(self) -> list[LoadedRow]:
        """The models that are in the node's memory."""
        return self._run(calls.loaded())

    def fit(self, reference: str) -> FitReport:
        """How much memory a model would need on the node's machine; fetches no weights."""
        return self._run(calls.fit(reference))

    def serve(
        self,
        reference: str,
        *,
        keep_alive: int | None = None,
        keep: bool = False,
        adapters: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> LoadedRow:
        """Bring the files that a model needs, and load it in the node.

        Args:
            reference: `[publisher/]name[@revision][:variant]` or `p2p://…`.
            keep_alive: seconds after the last request until it is unloaded; None: as the node's
                settings say.
            keep: keep it until `unload` names it.
            adapters: releases of adapters to put on it, each made for this very release. One alone
                is served by its own name: it brings its base.
            progress: called now and then with bytes done and in all, while files are fetched.

        Raises what `pull` raises, `UnsupportedError` (nothing here can run it), `NoMemoryError`,
        `EngineError`.
        """
        call = calls.load_model(reference, keep_alive=keep_alive, keep=keep, adapters=adapters)
        return self._run(call, progress)

    def unload(self, reference: str) -> LoadedRow:
        """Take a model out of memory, or an adapter off its base; tells what it was.

        Raises `NotFoundError`.
        """
        return self._run(calls.unload(reference))

    def chat(self, reference: str, messages: Sequence[Message], **options: Any) -> Answer:
        """What a model answers to a conversation; one that is not here is fetched first.

        Args:
            reference: `[publisher/]name[@revision][:variant]` or `p2p://…`.
            messages: as the OpenAI API has them: `{"role": "user", "content": "…"}`.
            options: more that this API knows: `max_tokens`, `temperature`, `seed`, `stop`, `tools`…

        Raises `NotFoundError`, `UntrustedError`, `ContextError` (the conversation is too long),
        `UnsupportedError`, `BusyError`, `EngineError`.
        """
        body = chat_body(reference, messages, stream=False, options=options)
        return answer_from(*self._asked(CHAT, body))

    def chat_stream(
        self, reference: str, messages: Sequence[Message], **options: Any
    ) -> Iterator[str]:
        """The same, a piece of text at a time. Closing the iterator ends the answer."""
        self._here(reference)
        body = chat_body(reference, messages, stream=True, options=options)
        with self._connected().asking(CHAT, body) as (_, lines):
            for line in lines:
                if text := piece_of(line):
                    yield text

    def embed(self, reference: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text; the model is fetched first if it is not here.

        Raises as `chat`.
        """
        body = {"model": reference, "input": list(texts), "encoding_format": "base64"}
        return vectors_from(self._asked(EMBEDDINGS, body)[0])

    def load(self, reference: str, *, device: str = "cpu", **options: Any) -> Any:
        """A transformers model in this process, from verified files. Needs transformers and torch.

        Args:
            reference: `[publisher/]name[@revision][:variant]` or `p2p://…`; fetched if it is not
                here. Without a variant, one of several precisions is chosen as `serve` does it.
            device: where it goes, as torch names it.
            options: more for `from_pretrained`, such as `dtype`. Python files of the release run
                only with `trust_remote_code=True`.

        Only safetensors are loaded. Raises what `pull` raises, and what transformers raises.
        """
        from p2phub.client.transformers_model import bring, load_model

        steps, answer = bring(reference, options), None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                folder, chosen = end.value
                return load_model(folder, device, chosen)
            answer = self._run(call)

    def _asked(self, path: str, body: dict[str, Any]) -> tuple[Any, Any]:
        """The answer of a model, which is fetched if it is not here."""
        try:
            return self._connected().ask(path, body)
        except NotFoundError:
            self._run(calls.load_model(body["model"], task=PURPOSES[path]))
            return self._connected().ask(path, body)

    def _here(self, reference: str) -> None:
        if reference not in {row.id for row in self.loaded()}:
            self._run(calls.load_model(reference, task=PURPOSES[CHAT]))


class AsyncModelMethods(ABC):
    """The part of `AsyncHub` about models that the node runs."""

    @abstractmethod
    async def _run(self, call: Call[T], progress: OnProgress | None = None) -> T: ...

    @abstractmethod
    async def _connected(self) -> AsyncConnection: ...

    async def models(self) -> list[ModelRow]:
        return await self._run(calls.models())

    async def loaded(self) -> list[LoadedRow]:
        return await self._run(calls.loaded())

    async def fit(self, reference: str) -> FitReport:
        return await self._run(calls.fit(reference))

    async def serve(
        self,
        reference: str,
        *,
        keep_alive: int | None = None,
        keep: bool = False,
        adapters: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> LoadedRow:
        call = calls.load_model(reference, keep_alive=keep_alive, keep=keep, adapters=adapters)
        return await self._run(call, progress)

    async def unload(self, reference: str) -> LoadedRow:
        return await self._run(calls.unload(reference))

    async def chat(self, reference: str, messages: Sequence[Message], **options: Any) -> Answer:
        body = chat_body(reference, messages, stream=False, options=options)
        return answer_from(*await self._asked(CHAT, body))

    async def chat_stream(
        self, reference: str, messages: Sequence[Message], **options: Any
    ) -> AsyncIterator[str]:
        if reference not in {row.id for row in await self.loaded()}:
            await self._run(calls.load_model(reference, task=PURPOSES[CHAT]))
        body = chat_body(reference, messages, stream=True, options=options)
        connection = await self._connected()
        async with connection.asking(CHAT, body) as (_, lines):
            async for line in lines:
                if text := piece_of(line):
                    yield text

    async def embed(self, reference: str, texts: Sequence[str]) -> list[list[float]]:
        body = {"model": reference, "input": list(texts), "encoding_format": "base64"}
        return vectors_from((await self._asked(EMBEDDINGS, body))[0])

    async def load(self, reference: str, *, device: str = "cpu", **options: Any) -> Any:
        from p2phub.client.transformers_model import bring, load_model

        steps, answer = bring(reference, options), None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                folder, chosen = end.value
                return await anyio.to_thread.run_sync(load_model, folder, device, chosen)
            answer = await self._run(call)

    async def _asked(self, path: str, body: dict[str, Any]) -> tuple[Any, Any]:
        try:
            return await (await self._connected()).ask(path, body)
        except NotFoundError:
            await self._run(calls.load_model(body["model"], task=PURPOSES[path]))
            return await (await self._connected()).ask(path, body)
