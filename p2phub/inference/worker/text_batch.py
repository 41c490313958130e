"""Many answers at once: continuous batching of transformers, with a choice of our own per request.

One thread of transformers computes a step for all requests under way; each row of logits is given
to its request's `Chooser`, and each token to its `Answer`, in that thread. It is the one door to
`transformers.generation.continuous_batching`.

Rules it keeps:
 * greedy requests come out as `generate(do_sample=False)` would have them;
 * a stop text or a `cancel` frees the slot before the next step;
 * a request that is let in always fits: the cache holds at least one whole context;
 * if the loop itself broke, every answer under way fails, and asking again raises what broke it,
   so that the worker ends and is started anew;
 * no CUDA graphs and no step prepared during another: a graph would hold the choice of a token too,
   and that is made in Python here. `scripts/bench-gpu` measures what they would bring.
"""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import transformers

from p2phub.errors import EngineError, NoMemoryError
from p2phub.inference.spec import RunOptions
from p2phub.inference.worker.lora_layers import Running, step_of
from p2phub.inference.worker.sampling import Chooser
from p2phub.inference.worker.text_answer import Answer
from p2phub.inference.worker.text_model import TextModel
from p2phub.inference.worker.text_pages import keep_apart, named, number_in
from p2phub.inference.worker.text_ranks import lead, stop

PAGE: Final = 32
"""Tokens of a page of the cache on a CPU."""
CPU_SLOTS, GPU_SLOTS = 8, 128
CPU_CACHE: Final = 1 << 30
"""Bytes of keys and values on a CPU, where nothing else was said."""
STEP_TOKENS: Final = 512
"""Tokens of a step on a CPU: a longer prompt takes several."""
STOP_SECONDS: Final = 5.0
STEP_SECONDS: Final = 600.0
"""For which processes that share a model wait for each other."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much there is room for."""

    context: int
    """Tokens of one request."""
    slots: int
    cache_bytes: int
    pages: int | None
    """None: transformers fills what memory there is."""
    page: int
    step_tokens: int | None


def token_bytes(config: Any, itemsize: int) -> int:
    """Bytes of the keys and values of one token."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers) * int(heads) * int(width) * itemsize


def room(options: RunOptions, limit: int, per_token: int, *, gpu: bool) -> Room:
    """What to set aside. `limit`: tokens that the model takes, 0 if it does not say.

    On a GPU without numbers transformers takes what memory is free.
    """
    slots = options.slots or (GPU_SLOTS if gpu else CPU_SLOTS)
    wanted = min(options.context or limit or 4096, limit or 1 << 30)
    if gpu and not options.cache_bytes:
        return Room(wanted, slots, 0, None, 256, None)
    budget = (options.cache_bytes or CPU_CACHE) // per_token // PAGE
    pages = max(2, min(budget, slots * -(-wanted // PAGE)))
    context = min(wanted, pages * PAGE)
    return Room(context, slots, pages * PAGE * per_token, pages, PAGE, max(STEP_TOKENS, slots))


class _Choices:
    """In the place of transformers' list of logits processors: each row to its own chooser.

    It is told of each step before that is computed, and tells whose its rows are (`lora_layers`).
    Without CUDA graphs and without batches under way, so that a choice may be made in Python.
    """

    do_processing = True
    tensors_required = 0

    def __init__(self, running: Running, device: Any) -> None:
        self.choosers: Final[dict[str, Chooser]] = {}
        self._running, self._device = running, device
        self._rows: list[tuple[int, Chooser]] = []

    def fill_defaults(self, tensor: Any) -> None:
        """There are none."""

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """There are none."""

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: Any) -> Any:
        """Called before each step, with the requests that are in it."""
        ids = [each.state.request_id for each in requests_in_batch if each.has_new_token]
        known = self.choosers
        self._rows = [(at, known[each]) for at, each in enumerate(ids) if each in known]
        self._running.step = step_of([_owned(each) for each in requests_in_batch], self._device)
        return arg_storage

    def __call__(self, input_ids: Any, scores: Any, arguments: Any) -> Any:
        """The most likely token of each row becomes the one that was chosen."""
        for at, chooser in self._rows:
            scores[at, chooser.choose(scores[at])] = float("inf")
        return scores


def _owned(request: Any) -> tuple[int, int, bool]:
    """The adapter of a request, its tokens in this step, and whether it gets one."""
    number = number_in(request.state.request_id)
    return number, request.query_length, request.has_new_token


class _AtOnce:
    """In the place of an event loop: what comes is told in the thread that computed it."""

    def call_soon_threadsafe(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)


class _Nowhere:
    """In the place of the queue for outputs that nobody waits for: those of cancelled requests."""

    def put(self, output: Any) -> None:
        """It is forgotten."""


def manager_of(model: Any, room: Room, ends: list[int]) -> Any:
    """What transformers generates with, in this room; not started."""
    config = transformers.ContinuousBatchingConfig(
        page_size=room.page,
        num_blocks=room.pages,
        max_batch_tokens=room.step_tokens,
        max_requests_per_batch=room.slots,
        max_memory_percent=0.8,
        use_cuda_graph=False,
        use_async_batching=False,
        auto_switch_to_flash=False,
        cpu_group_timeout=STEP_SECONDS,
    )
    plain = transformers.GenerationConfig(do_sample=False, eos_token_id=ends or -1)
    return model.init_continuous_batching(plain, config)


class Batch:
    """The running batch of one model."""

    def __init__(self, loaded: TextModel, options: RunOptions, running: Running) -> None:
        model = loaded.model
        self._ends: Final = list(loaded.ends)
        self._choices = _Choices(running, model.device)
        self._loop = _AtOnce()
        self._names = itertools.count()
        self._cached: dict[str, int] = {}
        self._under_way: dict[str, Answer] = {}
        gpu = model.device.type != "cpu"
        per_token = token_bytes(model.config, model.dtype.itemsize)
        self.room = room(options, loaded.limit, per_token, gpu=gpu)
        self._group = loaded.group
        if self._group is not None:
            self._group.tell(self.room)
        self._manager = self._start(model)
        cache = self._manager.batch_processor.cache
        if self.room.pages is None:
            self.room = _measured(self.room, cache, per_token)
        keep_apart(cache)
        self._note_shared(cache)
        _as_daemon(self._manager.start)

    def _start(self, model: Any) -> Any:
        manager = manager_of(model, self.room, self._ends)
        manager.logit_processor = self._choices
        if self._group is not None:
            lead(manager)
        manager.output_router.output_queue = _Nowhere()
        manager.warmup()
        return manager

    def _note_shared(self, cache: Any) -> None:
        """Note how many tokens of each prompt were in the cache."""
        search = cache.search_prefix_match

        def noted(request_id: str, prompt: list[int]) -> int:
            found = int(search(request_id, prompt))
            self._cached[request_id] = found
            return found

        cache.search_prefix_match = noted

    def submit(self, answer: Answer) -> Callable[[], None]:
        """Begin. Returns what gives its slot back."""
        status = self._manager.background_thread_status
        if status.fatal_error is not None:
            raise RuntimeError("the generation loop has ended") from status.fatal_error
        name = named(next(self._names), answer.ask.adapter)
        if not answer.ask.chooser.plain:
            self._choices.choosers[name] = answer.ask.chooser
        self._under_way[name] = answer
        router = self._manager.output_router
        router.result_handlers[name] = (lambda output: self._came(name, answer, output), self._loop)
        taken = self._manager.add_request(
            answer.ask.prompt,
            request_id=name,
            max_new_tokens=answer.ask.limit,
            streaming=True,
            eos_token_id=self._ends or -1,
        )
        if taken is None:
            self._forget(name)
            answer.fail(EngineError("the model was unloaded"))
        return lambda: self._drop(name, answer)

    def _came(self, name: str, answer: Answer, output: Any) -> None:
        """In the thread of the loop, after each step."""
        if output.error is not None:
            self._forget(name)
            answer.fail(_failure(output.error))
            return
        if name in self._cached:
            answer.cached = self._cached.pop(name)
        stopped = answer.take(output.generated_tokens[answer.count :])
        if output.is_finished():
            answer.finish(output.generated_tokens[-1] if output.generated_tokens else None)
            self._forget(name)
        elif stopped:
            self._drop(name, answer)

    def _drop(self, name: str, answer: Answer) -> None:
        if name in self._manager.output_router.result_handlers:
            self._manager.cancel_request(name)
        self._forget(name)
        answer.fail(EngineError("the request was taken back"))

    def _forget(self, name: str) -> None:
        self._manager.output_router.result_handlers.pop(name, None)
        self._under_way.pop(name, None)
        self._choices.choosers.pop(name, None)
        self._cached.pop(name, None)

    def close(self) -> None:
        """End the loop; answers under way fail."""
        if self._group is not None:
            stop(self._manager)
        self._manager.stop(block=True, timeout=STOP_SECONDS, hard_stop=True)
        self._manager.destroy()
        if self._group is not None:
            self._group.close()
        for name, answer in list(self._under_way.items()):
            self._forget(name)
            answer.fail(EngineError("the model was unloaded"))


def _as_daemon(start: Callable[[], None]) -> None:
    """Call `start` so that the thread it starts keeps no program from ending."""
    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join()


def _measured(said: Room, cache: Any, per_token: int) -> Room:
    """The room that transformers found on the device."""
    tokens = int(cache.num_blocks) * said.page
    step = int(cache.max_batch_tokens)
    context = min(said.context, tokens)
    return Room(context, min(said.slots, step), tokens * per_token, None, said.page, step)


def _failure(error: str) -> EngineError:
    if "out of memory" in error.lower():
        return NoMemoryError(
            "the model ran out of memory", remedy="ask for less at once, or give it a smaller cache"
        )
    if "before this request completed" in error:
        return EngineError("the model was unloaded")
    return EngineError(f"generating broke: {error}")
