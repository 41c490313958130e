"""The door to xllamacpp: llama.cpp's own server engine, in this process.

It listens, as that engine cannot do without, on a Unix socket in a folder that only this user may
enter, and asks for a key besides. Over it go the questions that have no function of their own:
templates and tokens.

Rules it keeps:
 * nothing listens on a TCP port, and no page is served;
 * threads that wait do not spin (`poll`), which on a busy machine costs a factor of ten;
 * prompts are not kept in memory beside the cache, so that memory is what was set aside at the
   start;
 * what the engine calls an error comes out as one of ours, whichever way it was told.
"""

import importlib
import json
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from p2phub.errors import (
    ContextError,
    EngineError,
    P2PHubError,
    UnsupportedError,
    UsageError,
)
from p2phub.inference.fit_gguf import BATCH
from p2phub.inference.requests import Json

_PATIENCE: Final = 600.0
"""Seconds for an answer to a question over the socket."""
_ONCE: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be loaded."""

    parts: Sequence[int]
    """Descriptors of memory with the GGUF file, or its parts in their order."""
    context: int
    """Tokens of each slot."""
    slots: int
    threads: int
    embedding: bool = False
    pooled: bool = True
    """Whether the file says how one vector is made of many; else it is their mean."""
    gpu: bool = False
    copy: bool = False
    """Whether weights are copied out of the memory files, so that those can be closed."""


def devices() -> tuple[Any, ...]:
    """The devices that this build of llama.cpp can use, GPUs included."""
    return tuple(_door().get_device_info())


class LlamaServer:
    """A model in llama.cpp. Raises `EngineError` if it cannot be loaded."""

    def __init__(self, plan: Plan) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="llama-"))
        self._socket, self._key = str(self._folder / "llama.sock"), secrets.token_urlsafe(32)
        try:
            self._server = self._begun(plan)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _begun(self, plan: Plan) -> Any:
        try:
            return _door().Server(self._parameters(plan))
        except RuntimeError as error:
            raise EngineError(
                f"llama.cpp cannot load this file: {error}",
                remedy="its architecture may be newer than the installed xllamacpp",
            ) from error

    def stream(self, body: Json, hear: Callable[[Json], bool]) -> None:
        """Complete a prompt. `hear` is given each event, and answers whether to stop."""
        told = self._server.handle_completions({**body, "stream": True}, hear)
        if isinstance(told, dict) and "error" in told:
            raise error_of(told["error"])

    def embed(self, body: Json) -> Json:
        """One vector for each input."""
        told = self._server.handle_embeddings(body)
        if isinstance(told, dict) and "error" in told:
            raise error_of(told["error"])
        return told

    def ask(self, path: str, body: Json = None) -> Json:
        """Ask over the socket: GET without a body, else POST."""
        connection = _Connection(self._socket)
        try:
            connection.request(
                "GET" if body is None else "POST",
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
            )
            told = json.loads(connection.getresponse().read())
        except (OSError, ValueError) as error:
            raise EngineError(f"llama.cpp did not answer: {error}") from error
        finally:
            connection.close()
        if isinstance(told, dict) and "error" in told:
            raise error_of(told["error"])
        return told

    def close(self) -> None:
        """Unload the model, once no request is under way."""
        del self._server
        shutil.rmtree(self._folder, ignore_errors=True)

    def _parameters(self, plan: Plan) -> Any:
        door = _door()
        made = door.CommonParams()
        made.model.path = self._path(plan.parts)
        made.n_ctx, made.n_parallel = plan.context * plan.slots, plan.slots
        made.n_batch = made.n_ubatch = plan.context if plan.embedding else BATCH
        for each in (made.cpuparams, made.cpuparams_batch):
            each.n_threads, each.poll = plan.threads, 0
        made.embedding = plan.embedding
        if plan.embedding and not plan.pooled:
            made.pooling_type = door.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        made.n_gpu_layers = -1 if plan.gpu else 0
        made.fit_params = plan.gpu
        modes = door.llama_load_mode
        made.load_mode = modes.LLAMA_LOAD_MODE_NONE if plan.copy else modes.LLAMA_LOAD_MODE_MMAP
        made.no_extra_bufts = not plan.copy
        made.reasoning_format = door.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        made.hostnames, made.api_keys = [self._socket], [self._key]
        made.ui = made.warmup = False
        made.cache_ram_mib = 0
        made.verbosity = 0
        return made

    def _path(self, parts: Sequence[int]) -> str:
        """Where llama.cpp finds the file; parts have the names by which it finds the next one."""
        if len(parts) == _ONCE:
            return f"/proc/self/fd/{parts[0]}"
        names = [
            self._folder / f"model-{number:05}-of-{len(parts):05}.gguf"
            for number in range(1, len(parts) + 1)
        ]
        for name, descriptor in zip(names, parts, strict=True):
            name.symlink_to(f"/proc/self/fd/{descriptor}")
        return str(names[0])


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def error_of(told: Json) -> P2PHubError:
    """What llama.cpp says went wrong, as an error of ours.

    >>> error_of({"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9,
    ...     "n_ctx": 8})
    ContextError('the prompt has 9 tokens; the model takes 8 with its answer')
    """
    message = str(told.get("message", "no reason given"))
    if told.get("type") == "exceed_context_size_error":
        return ContextError(
            f"the prompt has {told.get('n_prompt_tokens')} tokens; the model takes"
            f" {told.get('n_ctx')} with its answer",
            remedy="send a shorter one, or set inference.context in node.toml",
        )
    if "too large to process" in message or "too long" in message:
        return ContextError(message, remedy="send a shorter text")
    if told.get("type") == "not_supported_error":
        return UnsupportedError(f"this model cannot do that: {message}")
    if told.get("code") == 400 or told.get("type") == "invalid_request_error":
        return UsageError(f"llama.cpp refuses the request: {message}")
    return EngineError(f"llama.cpp failed: {message}", remedy="try again")


def _door() -> Any:
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise UnsupportedError(
            "a GGUF model needs xllamacpp, which is not installed",
            remedy="install p2phub[llamacpp]",
        ) from error
