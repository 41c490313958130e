import queue
import threading

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
from types import SimpleNamespace

import torch

from p2phub.errors import EngineError, NoMemoryError
from p2phub.inference.requests import Sampling
from p2phub.inference.worker.lora_layers import Running
from p2phub.inference.worker.sampling import Chooser
from p2phub.inference.worker.text_alone import Alone
from p2phub.inference.worker.text_answer import Answer, Ask, Vocabulary
from p2phub.inference.worker.text_model import TextModel
from tests.inference.worker.tiny_text import Heard, make_tokenizer

VOCABULARY = Vocabulary(make_tokenizer(), [1])


class Scripted:
    """A model that does, for each request, what stands in its script."""

    device = torch.device("cpu")

    def __init__(self, *script) -> None:
        self.script = queue.SimpleQueue()
        for each in script:
            self.script.put(each)

    def generate(self, prompt, **options):
        done = self.script.get()
        if isinstance(done, Exception):
            raise done
        if isinstance(done, threading.Event):
            done.wait(10)
        return torch.cat([prompt, torch.tensor([[1]])], dim=1)


def run(*script) -> tuple[Alone, list[Heard]]:
    loaded = TextModel(Scripted(*script), None, SimpleNamespace(), (1,), 100, 300)
    alone = Alone(loaded, Running())
    heard = [Heard() for _ in script]
    return alone, heard


def answer(heard: Heard) -> Answer:
    return Answer(Ask([5], 9, Chooser(Sampling(temperature=0))), VOCABULARY, heard)


def test_memory_that_ran_out_costs_that_request_only():
    alone, (first, second) = run(torch.OutOfMemoryError("CUDA out of memory"), None)
    for each in (first, second):
        alone.submit(answer(each))
    assert second.wait().end.reason == "stop"
    assert isinstance(first.error, NoMemoryError)
    alone.close()


def test_a_model_that_breaks_fails_who_waits_and_says_so_to_the_next():
    alone, (first,) = run(RuntimeError("kernel"))
    alone.submit(answer(first))
    assert first.over.wait(10)
    assert isinstance(first.error, EngineError)
    alone._thread.join(10)
    with pytest.raises(RuntimeError, match="broken"):
        alone.submit(answer(Heard()))


def test_who_is_taken_back_while_waiting_costs_no_step():
    gate = threading.Event()
    alone, (first, second) = run(gate, RuntimeError("must not be asked"))
    alone.submit(answer(first))
    take_back = alone.submit(answer(second))
    take_back()
    gate.set()
    assert first.wait().end is not None
    assert isinstance(second.error, EngineError)
    alone.close()
    assert alone._broken is None
