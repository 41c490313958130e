"""A causal language model that answers: what `text.load` gives the worker.

    prompt ─ chat ─▶ tokens ─ text_batch ─▶ logits ─ sampling ─▶ tokens ─ text_answer ─▶ sink
                              (text_alone)           (constrained)        (text_decode, stops,
                                                                           chat_tools)

Rules it keeps:
 * a prompt that does not fit is refused before anything of it is queued, with both numbers;
 * an error of one request goes to its sink; anything else is raised, and ends the worker;
 * what is told of the model (`info`) is what was loaded, not what was asked for.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from p2phub.errors import (
    ContextError,
    NoMemoryError,
    P2PHubError,
    UnsupportedError,
    UsageError,
)
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Chat,
    Embed,
    Embeddings,
    Generate,
    Sampling,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.worker.architecture import can_batch
from p2phub.inference.worker.backend import Sink
from p2phub.inference.worker.chat import Prompts
from p2phub.inference.worker.chat_tools import ToolReader, call_schema
from p2phub.inference.worker.compiling import Compiled, Nobody
from p2phub.inference.worker.configuration import Folder, Kernels
from p2phub.inference.worker.constrained import Grammars
from p2phub.inference.worker.lora import Adapters
from p2phub.inference.worker.lora_users import Users
from p2phub.inference.worker.sampling import Chooser, resolve
from p2phub.inference.worker.text_alone import Alone
from p2phub.inference.worker.text_answer import Answer, Ask, Vocabulary
from p2phub.inference.worker.text_batch import Batch
from p2phub.inference.worker.text_model import TextModel
from p2phub.inference.worker.text_pictures import Seen, has_pictures


class TextBackend:
    """A causal language model that is ready."""

    def __init__(self, loaded: TextModel, spec: ModelSpec, kernels: Kernels) -> None:
        self._loaded = loaded
        self._name = spec.name
        self._vocabulary = Vocabulary(loaded.tokenizer, loaded.ends)
        self._prompts = Prompts(loaded.tokenizer, loaded.width)
        self._grammars = Grammars(loaded.tokenizer, loaded.width, loaded.ends)
        self._adapters = Adapters(loaded.model)
        self._users = Users(self._adapters.has)
        self._runner: Batch | Alone
        self._group = loaded.group
        if loaded.pictures is None and can_batch(loaded.model):
            self._runner = Batch(loaded, spec.options, self._adapters.running)
            room = self._runner.room
            self._context, slots, cache = room.context, room.slots, room.cache_bytes
        else:
            self._runner = Alone(loaded, self._adapters.running)
            limits = [each for each in (spec.options.context, loaded.limit) if each]
            self._context, slots, cache = min(limits, default=0), 1, 0
        self._compiled: Compiled | None = None
        self.info = self._describe(spec, kernels, slots, cache)

    def compile(self) -> None:
        """Compile what can be, by answering; `info` says whether it was."""
        begun = time.monotonic()
        self._compiled = Compiled(self._loaded.model, self._name)
        self._compiled.warm(self._answer_nobody)
        took = time.monotonic() - begun
        self.info = replace(
            self.info,
            compiled=bool(self._compiled),
            compile_seconds=took,
            not_compiled=self._compiled.why_not,
        )

    def _answer_nobody(self, tokens: int) -> None:
        most = max(1, min(tokens, self._context - 3 if self._context else tokens))
        prompt = tuple(at % self._loaded.width for at in range(most))
        nobody = Nobody()
        self.generate(Generate(prompt, Sampling(temperature=0, max_tokens=3)), nobody)
        nobody.over.wait()

    def _describe(self, spec: ModelSpec, kernels: Kernels, slots: int, cache: int) -> ModelInfo:
        model = self._loaded.model
        return ModelInfo(
            engine="transformers",
            device=",".join(self._group.devices) if self._group else str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            tasks=("text-generation",),
            context=self._context,
            slots=slots,
            chat=self._prompts.has_template,
            attention=str(model.config._attn_implementation),
            threads=kernels.threads if model.device.type == "cpu" else 0,
            quantization=spec.options.quantize,
            weight_bytes=self._loaded.weight_bytes,
            cache_bytes=cache,
            read_bytes=sum(each.content.size for each in spec.files),
        )

    def generate(self, request: Generate, sink: Sink) -> Callable[[], None]:
        """Begin an answer; see `Backend`."""
        try:
            answer = Answer(self._ask(request), self._vocabulary, sink)
        except P2PHubError as error:
            sink.failed(error)
            return lambda: None
        return self._users.begin(answer, self._runner.submit)

    def attach(self, adapter: Adapter, weights: Folder) -> ModelInfo:
        """Put an adapter beside the others, while answers go on. Raises as `Adapters.attach`."""
        if self._group is not None:
            raise UnsupportedError(
                f"{self._name} is shared by {self._group.size} devices, and takes no adapters",
                remedy="set inference.device to one device",
            )
        if self._compiled is not None:  # its layers will change with each step
            self._compiled.undo()
            self.info = replace(
                self.info, compiled=False, not_compiled="an adapter on it changes its layers"
            )
        try:
            self._adapters.attach(adapter, weights)
        except torch.OutOfMemoryError as error:
            raise NoMemoryError(
                f"there is no room for {adapter.name} beside {self._name}",
                remedy="unload another model, or give this one a smaller cache",
            ) from error
        return self._told()

    def detach(self, which: str) -> ModelInfo:
        """Take the adapter with that name or digest away; answers that use it end."""
        gone = self._adapters.detach(which)
        if gone is not None:
            self._users.end(gone.number)
        return self._told()

    def _told(self) -> ModelInfo:
        adapters = self._adapters
        size = self._loaded.weight_bytes + adapters.size
        self.info = replace(
            self.info,
            adapters=adapters.names,
            weight_bytes=size,
            compiled=bool(self._compiled),
        )
        return self.info

    def embed(self, request: Embed) -> Embeddings:
        """Not what this model is for: raises `UnsupportedError`."""
        raise UnsupportedError(
            f"{self._name} generates text, and was not loaded for embeddings",
            remedy="serve a model for feature-extraction",
        )

    def run(self, request: TaskRequest) -> TaskAnswer:
        """Not what this model is for: raises `UnsupportedError`."""
        raise UnsupportedError(
            f"{self._name} was loaded for text-generation, not for {request.task}",
            remedy="serve a model that is made for that task",
        )

    def count(self, request: Generate) -> int:
        """Tokens of the prompt. Raises as `generate` tells its sink."""
        return len(self._prompt(request).tokens)

    def close(self) -> None:
        """End every answer, and give the memory back."""
        self._runner.close()
        gone: Any = None
        self._loaded, self._runner = gone, gone
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _ask(self, request: Generate) -> Ask:
        """All that is known of an answer before it begins. Raises errors of the request."""
        adapter = self._adapters.number_of(request.adapter, self._name)
        seen = self._prompt(request)
        prompt = seen.tokens or list(self._loaded.ends[:1])
        self._check_room(len(prompt))
        sampling = resolve(request.sampling, self._loaded.defaults)
        self._check_biases(sampling)
        schema, tools = _wanted(request)
        matcher = None if schema is None else self._grammars.matcher(schema)
        return Ask(
            prompt=prompt,
            limit=self._limit(sampling, len(prompt)),
            chooser=Chooser(sampling, prompt, matcher),
            stop=sampling.stop,
            tools=tools,
            echo=request.prompt if request.echo and isinstance(request.prompt, str) else "",
            logprobs=sampling.logprobs is not None,
            inputs=seen.inputs,
            adapter=adapter,
        )

    def _prompt(self, request: Generate) -> Seen:
        """The prompt for the model; of one that cannot fit, not all tokens are looked for."""
        prompt, pictures = request.prompt, self._loaded.pictures
        if pictures is not None and isinstance(prompt, Chat):
            if has_pictures(prompt):
                return pictures.see(prompt)
            self._check_room(self._prompts.at_least(prompt), "at least ")
            if pictures.ready:
                return pictures.see(prompt)
        if request.truncate:
            near = self._prompts.end_of(prompt, request.truncate)
            return Seen(self._prompts.tokens(near)[-request.truncate :], {})
        self._check_room(self._prompts.at_least(prompt), "at least ")
        return Seen(self._prompts.tokens(prompt), {})

    def _limit(self, sampling: Sampling, prompt: int) -> int:
        rest = self._context - prompt if self._context else 1 << 30
        return rest if sampling.max_tokens is None else min(sampling.max_tokens, rest)

    def _check_biases(self, sampling: Sampling) -> None:
        most = max(sampling.logit_bias, default=0)
        if most >= self._loaded.width:
            raise UsageError(
                f"logit_bias names token {most}, which is not one of the {self._loaded.width}"
                " of this model"
            )

    def _check_room(self, tokens: int, about: str = "") -> None:
        if self._context and tokens >= self._context:
            raise ContextError(
                f"the prompt has {about}{tokens} tokens; "
                f"{self._name} takes {self._context} for prompt and answer together here",
                remedy="shorten the prompt",
            )


def _wanted(request: Generate) -> tuple[Any, ToolReader | None]:
    """The JSON schema that the answer must fit, and who finds calls of tools in it."""
    chat = request.prompt
    schema = request.sampling.schema
    if not isinstance(chat, Chat) or not chat.tools or chat.tool_choice == "none":
        return schema, None
    demanded = call_schema(chat.tools, chat.tool_choice)
    return (schema if demanded is None else demanded), ToolReader()
