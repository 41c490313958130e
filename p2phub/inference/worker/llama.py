"""GGUF models, in llama.cpp.

The file is in memory that was checked as it was filled and that nobody can write to any more
(`Weights.memory_file`): what is on the disk no longer matters. On a processor llama.cpp computes
on that memory itself, so that weights are held once. Where they would be faster in another form, or
belong on a GPU, they are copied, and the file is given up after the load.

Rules it keeps:
 * requests beyond the slots wait here, so that one that is given up while it waits is gone at once;
   one under way is gone within a step;
 * a template is applied by llama.cpp, with the tools; calls are found in the text;
 * a JSON schema that cannot be held to is refused before anything is generated.
"""

import json
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from math import sqrt
from typing import Any, Final

from p2phub.errors import (
    EngineError,
    MalformedError,
    P2PHubError,
    UnsupportedError,
    UsageError,
)
from p2phub.formats import gguf_metadata
from p2phub.formats.limits import MAX_HEADER
from p2phub.formats.tensors import More
from p2phub.inference import threads
from p2phub.inference.engine import ModelInfo
from p2phub.inference.fit_gguf import Shape, shape_of
from p2phub.inference.requests import (
    Chat,
    Embed,
    Embeddings,
    Generate,
    Json,
    Piece,
    Sampling,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.backend import Sink, Tell
from p2phub.inference.worker.chat_tools import call_schema
from p2phub.inference.worker.llama_answer import Answer, completion
from p2phub.inference.worker.llama_server import LlamaServer, Plan, devices, error_of
from p2phub.inference.worker.weights import Weights

VECTORS: Final = "feature-extraction"
_SETTINGS: Final = "generation_config.json"


def load(spec: ModelSpec, weights: Weights, tell: Tell) -> "LlamaBackend":
    """Load the GGUF file of `spec`. Raises what `Weights` raises, `EngineError`."""
    if spec.adapters:
        raise UnsupportedError(
            "adapters cannot be loaded with a GGUF model",
            remedy="run the base model from safetensors, with the engine transformers",
        )
    if spec.options.quantize:
        raise UnsupportedError(
            "a GGUF file is quantized when it is made",
            remedy="set inference.quantize to none, or choose another GGUF file",
        )
    started = time.monotonic()
    headers = weights.headers()
    names = [file.name for file, _ in headers]
    if not names:
        raise MalformedError("this release has no GGUF file", remedy="pull it again")
    parts = [weights.memory_file(name) for name in names]
    metadata = gguf_metadata.read(os.pread(parts[0], headers[0][1].length, 0), MAX_HEADER)
    assert not isinstance(metadata, More)  # it is the whole header
    shape = shape_of(metadata, [header for _, header in headers])
    plan = _plan(spec, shape, parts)
    defaults = _defaults(spec, weights)
    tell("loading into llama.cpp", 0, shape.weight_bytes)
    server = LlamaServer(plan)
    read = weights.read_bytes
    weights.close()
    tell("loading into llama.cpp", shape.weight_bytes, shape.weight_bytes)
    backend = LlamaBackend(server, plan, shape, defaults)
    backend.info = replace(backend.info, load_seconds=time.monotonic() - started, read_bytes=read)
    return backend


class LlamaBackend:
    """Keeps the port `Backend`."""

    def __init__(
        self, server: LlamaServer, plan: Plan, shape: Shape, defaults: Mapping[str, Any]
    ) -> None:
        self._server, self._defaults = server, defaults
        self._workers = ThreadPoolExecutor(plan.slots, "llama")
        self._closing = False
        told = server.ask("/props")
        context = int(told["default_generation_settings"]["n_ctx"])
        self.info = ModelInfo(
            engine="llamacpp",
            device="cuda:0" if plan.gpu else "cpu",
            dtype=shape.dtype,
            tasks=(VECTORS,) if plan.embedding else ("text-generation",),
            context=context,
            slots=plan.slots,
            chat=shape.chat and not plan.embedding,
            threads=plan.threads,
            quantization=shape.dtype if shape.quantized else "",
            weight_bytes=shape.weight_bytes,
            cache_bytes=0 if plan.embedding else shape.cache_bytes(context, plan.slots),
        )

    def generate(self, request: Generate, sink: Sink) -> Callable[[], None]:
        """Begin an answer; the returned function gives it up."""
        gone = threading.Event()
        future = self._workers.submit(self._answer, request, sink, gone)
        future.add_done_callback(_end_if_broken)

        def cancel() -> None:
            gone.set()
            if future.cancel():
                sink.failed(_given_up())

        return cancel

    def embed(self, request: Embed) -> Embeddings:
        if VECTORS not in self.info.tasks:
            raise UnsupportedError(
                "this model does not make vectors", remedy="ask a feature-extraction model"
            )
        inputs = [self._fitting(each, cut=request.truncate) for each in request.inputs]
        told = self._server.embed({"input": inputs, "embd_normalize": -1})
        rows = [each["embedding"] for each in sorted(told["data"], key=lambda row: row["index"])]
        made = [_row(row, request) for row in rows]
        width = len(made[0]) if made else 0
        data = b"".join(row.tobytes() for row in made)
        return Embeddings(data, width, int(told["usage"]["prompt_tokens"]))

    def run(self, request: TaskRequest) -> TaskAnswer:
        raise UnsupportedError(
            f"this GGUF model does {', '.join(self.info.tasks)}, and not {request.task}",
            remedy="ask another model",
        )

    def count(self, request: Generate) -> int:
        return len(self._tokens(self._prompt(request)))

    def close(self) -> None:
        self._closing = True
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._server.close()

    def _answer(self, request: Generate, sink: Sink, gone: threading.Event) -> None:
        try:
            self._complete(request, sink, gone)
        except P2PHubError as error:
            sink.failed(error)

    def _complete(self, request: Generate, sink: Sink, gone: threading.Event) -> None:
        if VECTORS in self.info.tasks:
            raise UnsupportedError("this model makes vectors, and no text")
        if request.adapter:
            raise UsageError(f"no adapter {request.adapter!r} is loaded with this model")
        sampling, tools = self._held_to(request)
        prompt = self._prompt(request)
        if request.truncate:
            prompt = self._tokens(prompt)[-request.truncate :]
        if request.echo and isinstance(prompt, str):
            sink.piece(Piece(prompt))
        answer = Answer(sampling, tools=tools)
        errors: list[P2PHubError] = []

        def hear(event: Json) -> bool:
            if "error" in event:
                errors.append(error_of(event["error"]))
                return True
            piece = answer.feed(event)
            if piece is not None and not gone.is_set():
                sink.piece(piece)
            return gone.is_set() or self._closing or answer.stopped

        if not gone.is_set():
            body = completion(sampling, prompt, self._defaults)
            self._server.stream(body | {"repeat_last_n": self.info.context}, hear)
        if gone.is_set() or self._closing:
            raise _given_up()
        if errors:
            raise errors[0]
        piece, end = answer.finish()
        if piece is not None:
            sink.piece(piece)
        sink.finished(end)

    def _held_to(self, request: Generate) -> tuple[Sampling, bool]:
        """The sampling, with the schema that tools demand, and whether calls are looked for."""
        sampling, prompt = request.sampling, request.prompt
        tools = isinstance(prompt, Chat) and bool(prompt.tools) and prompt.tool_choice != "none"
        if isinstance(prompt, Chat) and tools:
            schema = call_schema(prompt.tools, prompt.tool_choice)
            sampling = sampling if schema is None else replace(sampling, schema=schema)
        if sampling.schema:
            self._check_schema(sampling.schema)
        return sampling, tools

    def _check_schema(self, schema: Json) -> None:
        wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
        message = {"role": "user", "content": "x"}
        try:
            self._server.ask("/apply-template", {"messages": [message], "response_format": wanted})
        except (UsageError, EngineError) as error:
            raise UsageError(
                f"the JSON schema cannot be used: {error.message}", remedy="send a simpler one"
            ) from error

    def _prompt(self, request: Generate) -> str | list[int]:
        prompt = request.prompt
        if not isinstance(prompt, Chat):
            return prompt if isinstance(prompt, str) else list(prompt)
        if not self.info.chat:
            raise UnsupportedError(
                "this model has no chat template", remedy="send a prompt to /v1/completions"
            )
        body: dict[str, Json] = {"messages": list(prompt.messages)}
        if prompt.tools and prompt.tool_choice != "none":
            body["tools"] = list(prompt.tools)
        if prompt.template_arguments:
            body["chat_template_kwargs"] = dict(prompt.template_arguments)
        try:
            return str(self._server.ask("/apply-template", body)["prompt"])
        except EngineError as error:
            raise UsageError(
                f"the chat template refuses these messages: {error.message}",
                remedy="each message needs a role that the model knows, and a content",
            ) from error

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        if not isinstance(prompt, str):
            return prompt
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return list(self._server.ask("/tokenize", body)["tokens"])

    def _fitting(self, text: str | tuple[int, ...], *, cut: bool) -> str | list[int]:
        """One input, cut to the context if it may be."""
        given = text if isinstance(text, str) else list(text)
        return self._tokens(given)[: self.info.context] if cut else given


def _row(numbers: list[float], request: Embed) -> "array[float]":
    kept = numbers[: request.dimensions]
    if request.normalize is not False:
        length = sqrt(sum(each * each for each in kept)) or 1.0
        kept = [each / length for each in kept]
    return array("f", kept)


def _plan(spec: ModelSpec, shape: Shape, parts: list[int]) -> Plan:
    options = spec.options
    if "," in options.device:
        raise UnsupportedError(
            f"a GGUF model runs on one device here, and is not split over {options.device}",
            remedy="set inference.device to one device, or serve the model's safetensors",
        )
    gpu = options.device != "cpu" and any(each["type"].value for each in devices())
    if options.device not in ("", "cpu") and not gpu:
        raise UnsupportedError(
            f"the installed xllamacpp cannot use {options.device}",
            remedy="install its build for this GPU, or set inference.device to cpu",
        )
    context, slots = shape.room(options)
    return Plan(
        parts=parts,
        context=context,
        slots=slots,
        threads=options.threads or threads.count(threads.here()),
        embedding=spec.task == VECTORS or shape.pooled,
        pooled=shape.pooled,
        gpu=gpu,
        copy=gpu,
    )


def _defaults(spec: ModelSpec, weights: Weights) -> Mapping[str, Any]:
    if spec.find(_SETTINGS) is None:
        return {}
    try:
        found = json.loads(weights.read(_SETTINGS))
    except ValueError as error:
        raise MalformedError(f"{_SETTINGS} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _end_if_broken(future: "Future[None]") -> None:
    """Hand an error that is none of ours to whoever ends the worker for it."""
    error = None if future.cancelled() else future.exception()
    if error is not None:
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, None))
        )


def _given_up() -> EngineError:
    return EngineError("the request was given up", remedy="ask again")
