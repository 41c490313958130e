"""One answer at a time: plain `generate`, for models that continuous batching does not know.

A thread of ours takes one request after the other. Each token is chosen by the request's `Chooser`,
as in the batch, and told before the next is computed.

Rules it keeps:
 * who waits is served in order; a `cancel` while waiting costs nothing, one under way ends it
   within one step;
 * what memory there is not costs the request, and so do pictures that do not fit; anything else
   that breaks fails it too, and asking again raises what broke, so that the worker ends and is
   started anew.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import torch
import transformers

from p2phub.errors import EngineError, NoMemoryError, UsageError
from p2phub.inference.worker.lora_layers import Running, all_of
from p2phub.inference.worker.text_answer import Answer
from p2phub.inference.worker.text_model import TextModel

STOP_SECONDS: Final = 5.0


class _Step:
    """A logits processor that makes one request's choice the only one."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        token = self._answer.ask.chooser.choose(scores[0].float())
        only = torch.full_like(scores, float("-inf"))
        only[0, token] = 0
        return only


class _Teller:
    """A stopping criterion that tells each token, and ends when the answer is over."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        over = self._answer.take([int(input_ids[0, -1])])
        return torch.tensor([over], device=input_ids.device)


def _unseen(error: ValueError) -> UsageError:
    """What is wrong with pictures that do not fit the places that the prompt has for them."""
    return UsageError(
        f"this model cannot work with these pictures: {error}",
        remedy="send pictures in messages of the user, and no marks of pictures in texts",
    )


class Alone:
    """Answers one after the other."""

    def __init__(self, loaded: TextModel, running: Running) -> None:
        self._loaded, self._running = loaded, running
        self._waiting: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="generate", daemon=True)
        self._thread.start()

    def submit(self, answer: Answer) -> Callable[[], None]:
        """Begin, or wait for a turn. Returns what takes it back."""
        if self._broken is not None:
            raise RuntimeError("generating has broken") from self._broken
        self._waiting.put(answer)
        return lambda: answer.fail(EngineError("the request was taken back"))

    def close(self) -> None:
        """End the thread; who waits fails."""
        self._waiting.put(None)
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while (answer := self._waiting.get()) is not None:
            if not answer.over and not self._answer(answer):
                break
        while not self._waiting.empty():
            left = self._waiting.get()
            if left is not None:
                left.fail(EngineError("the model was unloaded"))

    def _answer(self, answer: Answer) -> bool:
        """One answer. False if no other can follow."""
        try:
            answer.finish(self._generate(answer))
        except torch.OutOfMemoryError:
            answer.fail(NoMemoryError("the model ran out of memory", remedy="ask for less at once"))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if answer.ask.inputs and not answer.count and isinstance(error, ValueError):
                answer.fail(_unseen(error))
                return True
            self._broken = error
            answer.fail(EngineError(f"generating broke: {error}"))
            return False
        return True

    def _placed(self, value: Any) -> Any:
        """A tensor where the model is; numbers with a fraction in its type."""
        if not isinstance(value, torch.Tensor):
            return value
        model = self._loaded.model
        return value.to(model.device, model.dtype if value.is_floating_point() else None)

    def _generate(self, answer: Answer) -> int | None:
        model = self._loaded.model
        ask = answer.ask
        self._running.step = all_of(ask.adapter)
        prompt = torch.tensor([ask.prompt], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                **{name: self._placed(each) for name, each in ask.inputs.items()},
                generation_config=transformers.GenerationConfig(
                    do_sample=False,
                    max_new_tokens=ask.limit,
                    eos_token_id=list(self._loaded.ends) or None,
                    pad_token_id=self._loaded.ends[0] if self._loaded.ends else 0,
                ),
                logits_processor=transformers.LogitsProcessorList([_Step(answer)]),
                stopping_criteria=transformers.StoppingCriteriaList([_Teller(answer)]),
            )
        return int(out[0, -1]) if out.shape[1] > len(ask.prompt) else None
