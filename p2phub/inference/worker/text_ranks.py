"""Steps of a model that several processes share: rank 0 decides, the others compute with it.

transformers tells the others which requests come and go, and when to stop; each schedules the same
steps. Tokens are chosen in rank 0 alone (`text_batch`), and told to the others.

Rules it keeps:
 * one choice counts, that of rank 0: the numbers of two GPUs need not agree to the last bit;
 * nobody polls: while there is nothing to do the others wait for rank 0, and it for a request;
 * a process that breaks ends at once, and so all of them do (`ranks`).
"""

import os
import sys
import threading
import traceback
from inspect import signature
from typing import Any, Final, Protocol

import torch
import torch.distributed as group_of

from p2phub.inference.worker.text_pages import keep_apart

IDLE: Final = 60.0
"""Seconds after which rank 0 says that it is still there."""
BROKEN: Final = 70


class Choices(Protocol):
    """How rank 0 chooses: its choice of each row is made the most likely token."""

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: Any) -> Any: ...

    def __call__(self, input_ids: Any, scores: Any, arguments: Any) -> Any: ...


class Agreed:
    """In the place of transformers' list of logits processors, in every rank."""

    do_processing = True
    tensors_required = 0

    def __init__(self, talk: Any, choices: Choices | None) -> None:
        self._talk, self._choices = talk, choices

    def fill_defaults(self, tensor: Any) -> None:
        """There are none."""

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """There are none."""

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: Any) -> Any:
        """Called before each step, with the requests that are in it."""
        if self._choices is not None:
            return self._choices.prepare_tensor_args(requests_in_batch, arg_storage)
        return arg_storage

    def __call__(self, input_ids: Any, scores: Any, arguments: Any) -> Any:
        """The token that rank 0 chose for each row becomes the most likely one."""
        if self._choices is not None:
            tokens = self._choices(input_ids, scores, arguments).argmax(-1).to("cpu")
        else:
            tokens = torch.empty(len(scores), dtype=torch.int64)
        group_of.broadcast(tokens, src=0, group=self._talk)
        return scores.scatter_(1, tokens.to(scores.device)[:, None], float("inf"))


class _Patient(threading.Event):
    """What rank 0 waits for: a request, not the next tenth of a second."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(IDLE)


class _AtOnce(threading.Event):
    """What the others wait for: nothing, as they wait for rank 0 in the next step."""

    def wait(self, timeout: float | None = None) -> bool:
        return True


def lead(manager: Any) -> None:
    """Let a manager of transformers lead the others, with the choices that it has."""
    manager.logit_processor = Agreed(
        manager.distributed_helper.cpu_comm_group, manager.logit_processor
    )
    manager._wake_up_loop = _Patient()


def stop(manager: Any) -> None:
    """Have the loops of all end soon."""
    status = manager.background_thread_status
    status.request_stop(status.HARD_STOP, 0)
    manager._wake_up_loop.set()


def follow(manager: Any) -> None:
    """Compute every step of rank 0, in this thread, until that stops."""
    manager.logit_processor = Agreed(manager.distributed_helper.cpu_comm_group, None)
    manager._wake_up_loop = _AtOnce()
    manager._handle_critical_error = _break
    manager.warmup()
    keep_apart(manager.batch_processor.cache)
    loop = manager._run_generation_loop
    told = "use_inference_mode" in signature(loop).parameters  # since transformers 5.24
    loop(**({"use_inference_mode": torch.is_inference_mode_enabled()} if told else {}))


def _break(error: Exception, *more: Any) -> None:
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(BROKEN)
