"""The backend of every task but text generation: vectors, and the tasks of the Hugging Face API.

`load` makes a model for the task of its `ModelSpec`. It answers that task, and those that the same
model can do: one of vectors both feature-extraction and sentence-similarity, one that writes a text
from a text summaries and translations.

Rules it keeps:
 * `run` may be called from several threads: one is at the model at a time. Vectors are joined into
   batches instead;
 * parameters are checked before the model sees anything; what the task does not know is named;
 * a request that nobody waits for any more is not begun, and ends within a step where the model
   writes or draws;
 * an error of the model about an input is that request's alone.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from p2phub.errors import UnsupportedError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import Embed, Embeddings, Generate, TaskAnswer, TaskRequest
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker import device
from p2phub.inference.worker.backend import Sink, Tell
from p2phub.inference.worker.compiling import Compiled
from p2phub.inference.worker.configuration import Folder, weight_bytes
from p2phub.inference.worker.tasks_diffusion import DrawTask
from p2phub.inference.worker.tasks_generate import NAMES as WRITTEN
from p2phub.inference.worker.tasks_generate import WriteTask
from p2phub.inference.worker.tasks_inputs import library_errors
from p2phub.inference.worker.tasks_media import CaptionTask, PictureTask, SoundTask, SpeechTask
from p2phub.inference.worker.tasks_model import (
    Source,
)
from p2phub.inference.worker.tasks_parameters import check
from p2phub.inference.worker.tasks_question import QuestionTask
from p2phub.inference.worker.tasks_text import CLASSES as JUDGED
from p2phub.inference.worker.tasks_text import TextTask
from p2phub.inference.worker.tasks_vectors import TASKS as VECTORS
from p2phub.inference.worker.tasks_vectors import VectorTask
from p2phub.inference.worker.wanted import require_wanted


class Task(Protocol):
    """A loaded model that answers one task."""

    @property
    def limit(self) -> int:
        """Tokens of one input at most; 0: it has no such limit."""
        ...

    @property
    def tokenizer(self) -> Any:
        """None: it takes no text."""
        ...

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer: ...


_TASKS: Final[Mapping[str, Callable[[Source], Task]]] = {
    **dict.fromkeys(VECTORS, VectorTask),
    **dict.fromkeys(JUDGED, TextTask),
    **dict.fromkeys(WRITTEN, WriteTask),
    "question-answering": QuestionTask,
    "image-classification": PictureTask,
    "object-detection": PictureTask,
    "image-to-text": CaptionTask,
    "audio-classification": SoundTask,
    "automatic-speech-recognition": SoundTask,
    "text-to-speech": SpeechTask,
    "text-to-image": DrawTask,
}
_ALSO: Final = {"text-to-audio": "text-to-speech"}
VECTOR_SLOTS: Final = 32
"""Requests for vectors whose texts are joined into batches (`embedding_queue`)."""
"""Other names of tasks."""


class TaskBackend:
    """A model that is ready (`backend.Backend`)."""

    def __init__(self, task: Task, info: ModelInfo, weights: Folder) -> None:
        self._task, self._info, self._weights = task, info, weights
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        return self._info

    def generate(self, request: Generate, sink: Sink) -> Callable[[], None]:
        sink.failed(self._unable("text-generation"))
        return lambda: None

    def embed(self, request: Embed) -> Embeddings:
        """Raises `UnsupportedError` for a model that makes no vectors, `UsageError`."""
        if not isinstance(self._task, VectorTask):
            raise self._unable("feature-extraction")
        with library_errors("feature-extraction", self._info.device):
            return self._task.embedder.embed(request)

    def run(self, request: TaskRequest) -> TaskAnswer:
        """Raises `UnsupportedError` for another task, `UsageError`, `ContextError`."""
        name = _ALSO.get(request.task, request.task)
        if name not in self._info.tasks:
            raise self._unable(request.task)
        parameters = check(name, request.parameters)
        request = replace(request, task=name)
        with library_errors(name, self._info.device):
            if isinstance(self._task, VectorTask):
                return self._task.run(request, parameters)
            with self._lock:
                require_wanted()
                return self._task.run(request, parameters)

    def count(self, request: Generate) -> int:
        """Tokens of a prompt that is a text, or tokens. Raises `UnsupportedError`."""
        if isinstance(request.prompt, tuple):
            return len(request.prompt)
        if not isinstance(request.prompt, str) or self._task.tokenizer is None:
            raise UnsupportedError("this model counts the tokens of texts only")
        with library_errors(self._info.tasks[0], self._info.device):
            return len(self._task.tokenizer(request.prompt, verbose=False)["input_ids"])

    def close(self) -> None:
        """Let go of the model and of its folder."""
        if isinstance(self._task, VectorTask):
            self._task.embedder.close()
        close = getattr(self._weights, "close", None)
        if close is not None:
            close()

    def _unable(self, task: str) -> UnsupportedError:
        return UnsupportedError(
            f"this model does not do {task}", remedy=f"ask it for {', '.join(self._info.tasks)}"
        )


def load(spec: ModelSpec, weights: Folder, tell: Tell) -> TaskBackend:
    """The model of `spec`, ready.

    Raises `UnsupportedError` for a task or a type of model that is not known, `MalformedError` for
    files that do not fit together, and whatever `weights` raises.
    """
    started = time.monotonic()
    name = _ALSO.get(spec.task, spec.task)
    make = _TASKS.get(name)
    if make is None:
        raise UnsupportedError(
            f"{spec.name} is for {spec.task}, which is not served here",
            remedy=f"models may be for text-generation, {', '.join(sorted(_TASKS))}",
        )
    if spec.options.quantize and make is DrawTask:
        raise UnsupportedError(
            f"{spec.name} is for {spec.task}, whose weights are not made smaller here",
            remedy="set inference.quantize to none",
        )
    kernels = device.choose(spec.options)
    source = Source(spec, weights, kernels)
    tell("reading the configuration", 0, 0)
    task = make(source)
    vectors = isinstance(task, VectorTask)
    info = ModelInfo(
        engine="transformers",
        device=kernels.device,
        dtype=source.dtype,
        tasks=VECTORS if vectors else getattr(task, "tasks", (name,)),
        context=task.limit,
        slots=spec.options.slots or VECTOR_SLOTS if vectors else 1,
        attention=_attention(_model(task)),
        threads=kernels.threads,
        quantization=spec.options.quantize,
        weight_bytes=weight_bytes(_model(task)),
        load_seconds=time.monotonic() - started,
        read_bytes=getattr(weights, "read_bytes", 0),
    )
    if spec.options.compile:
        info = _compiled(task, spec, info, tell, started)
    return TaskBackend(task, info, weights)


def _compiled(
    task: Task, spec: ModelSpec, info: ModelInfo, tell: Tell, started: float
) -> ModelInfo:
    """Compile a model of vectors, by making some; what is told of it, or of another, then."""
    if not isinstance(task, VectorTask):
        return replace(
            info, not_compiled=f"only models that write or make vectors are, not {info.tasks[0]}"
        )
    tell("compiling", 0, 0)
    begun, embedder = time.monotonic(), task.embedder

    def embed(tokens: int) -> None:
        most = min(tokens, embedder.limit or tokens)
        embedder.embed(Embed((tuple(at % embedder.vocabulary for at in range(most)),)))

    compiled = Compiled(embedder.model, spec.name)
    compiled.warm(embed)
    ended = time.monotonic()
    return replace(
        info,
        compiled=bool(compiled),
        compile_seconds=ended - begun,
        not_compiled=compiled.why_not,
        load_seconds=ended - started,
    )


def _model(task: Any) -> Any:
    return task.embedder.model if isinstance(task, VectorTask) else task.model


def _attention(model: Any) -> str:
    """The kernels that a model of transformers uses; others do not say."""
    config = getattr(model, "config", None)
    return str(getattr(config, "_attn_implementation", None) or "")
