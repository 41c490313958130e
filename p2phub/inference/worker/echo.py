"""A backend without a model: it says its prompt again, a word at a step.

It holds the pool and the wire to their rules without torch. Words that begin with `#` are orders:

    #abort #segv #kill      die by that signal
    #exit                   end with code 9
    #break                  raise an error that is none of ours
    #hang                   hold Python's lock for ever: not even a ping is answered
    #stall                  answer nothing any more, but pings
    #memory                 raise `MemoryError`, or for `generate` fail for want of memory
    #fail                   an error of ours
    #more=N                 say "word" N times
    #say                    write a line on stderr

Settings: `slots`, `pace` (steps a second, 0: no pause), `load` (an order that is obeyed while it
loads), `load_seconds`.
"""

import ctypes
import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from signal import SIGKILL, SIGSEGV, raise_signal
from typing import Final

from p2phub.errors import ContextError, EngineError, NoMemoryError, UsageError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Chat,
    Chosen,
    Embed,
    Embeddings,
    Finished,
    FinishReason,
    Generate,
    Piece,
    Prompt,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.worker.backend import Sink, Tell

CONTEXT: Final = 4096
"""Words of a prompt."""
WIDTH: Final = 3
"""Numbers of a vector: characters, words, and the sum of the characters' numbers."""
EXIT_CODE: Final = 9
LOAD_STEPS: Final = 4


def load(spec: ModelSpec, weights: object, tell: Tell) -> "EchoBackend":
    """The backend that `spec.settings` describe."""
    settings = spec.settings
    for step in range(LOAD_STEPS + 1):
        tell("echo", step, LOAD_STEPS)
        time.sleep(float(settings.get("load_seconds", "0")) / LOAD_STEPS)
    obey(settings.get("load", ""))
    info = ModelInfo(
        engine="echo",
        device="cpu",
        dtype="none",
        tasks=("text-generation", "feature-extraction", "echo"),
        context=CONTEXT,
        slots=int(settings.get("slots", "4")),
        chat=True,
        weight_bytes=int(settings.get("weight_bytes", "0")),
    )
    return EchoBackend(info, float(settings.get("pace", "0")))


def obey(word: str) -> None:
    """Do what an order says; any other word is none."""
    match word:
        case "#abort":
            os.abort()
        case "#segv":
            raise_signal(SIGSEGV)
        case "#kill":
            os.kill(os.getpid(), SIGKILL)
        case "#exit":
            os._exit(EXIT_CODE)
        case "#break":
            raise RuntimeError("the echo was told to break")
        case "#hang":
            ctypes.PyDLL(None).pause()  # a call that keeps Python's lock
        case "#stall":
            threading.Event().wait()
        case "#memory":
            raise MemoryError
        case "#fail":
            raise UsageError("the echo was told to fail", remedy="tell it something else")
        case "#say":
            print("the echo says something", file=sys.stderr, flush=True)


def words_of(prompt: Prompt) -> list[str]:
    """The words of a prompt: what this backend calls its tokens."""
    if isinstance(prompt, str):
        return prompt.split()
    if isinstance(prompt, Chat):
        return str(prompt.messages[-1].get("content", "")).split()
    return [str(token) for token in prompt]


class EchoBackend:
    """Steps through all its answers in one thread, `slots` at a time."""

    def __init__(self, info: ModelInfo, pace: float) -> None:
        self.info = info
        self._adapters: dict[str, Adapter] = {}
        self._pause = 1 / pace if pace else 0.0
        self._changed = threading.Condition()
        self._waiting: deque[_Answer] = deque()
        self._closed = False
        threading.Thread(target=self._run, name="echo", daemon=True).start()

    def attach(self, adapter: Adapter, weights: object) -> ModelInfo:
        """Know an adapter; `#fail` and the other orders in its name are obeyed."""
        obey(adapter.name)
        self._adapters[adapter.name] = adapter
        return self._told()

    def detach(self, which: str) -> ModelInfo:
        """Forget an adapter; the answers that use it end."""
        gone = {each.name for each in self._adapters.values() if which in (each.name, each.release)}
        for name in gone:
            del self._adapters[name]
        return self._told()

    def _told(self) -> ModelInfo:
        self.info = replace(self.info, adapters=tuple(self._adapters))
        return self.info

    def generate(self, request: Generate, sink: Sink) -> Callable[[], None]:
        if request.adapter and request.adapter not in self._adapters:
            raise UsageError(f"there is no adapter {request.adapter}")
        if self.count(request) > self.info.context:
            raise ContextError(f"more than {self.info.context} words", remedy="ask for less")
        answer = _Answer(request, sink, self._adapters)
        with self._changed:
            self._waiting.append(answer)
            self._changed.notify()
        return answer.cancel

    def embed(self, request: Embed) -> Embeddings:
        texts = [" ".join(words_of(each)) for each in request.inputs]
        for word in (word for text in texts for word in text.split()):
            obey(word)
        rows = [(len(text), len(text.split()), sum(map(ord, text))) for text in texts]
        data = b"".join(struct.pack(f"<{WIDTH}f", *row) for row in rows)
        return Embeddings(data, WIDTH, sum(row[1] for row in rows))

    def run(self, request: TaskRequest) -> TaskAnswer:
        if isinstance(request.inputs, str):
            obey(request.inputs)
        media = "application/octet-stream" if request.data else "application/json"
        return TaskAnswer(request.inputs, request.data, media)

    def count(self, request: Generate) -> int:
        return len(words_of(request.prompt))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        active: list[_Answer] = []
        while True:
            with self._changed:
                while not (active or self._waiting or self._closed):
                    self._changed.wait()
                self._waiting = deque(each for each in self._waiting if not each.given_up())
                while self._waiting and len(active) < self.info.slots:
                    active.append(self._waiting.popleft())
                if self._closed:
                    return
            active = [answer for answer in active if answer.step()]
            if self._pause:
                time.sleep(self._pause)


class _Answer:
    """One answer under way."""

    def __init__(self, request: Generate, sink: Sink, adapters: Container[str]) -> None:
        self._request, self._sink, self._adapters = request, sink, adapters
        self._words = self._said()
        self._count = 0
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def given_up(self) -> bool:
        """Whether it was cancelled, or its adapter was taken away, which ends it."""
        adapter = self._request.adapter
        gone = bool(adapter) and adapter not in self._adapters
        if self._cancelled:
            self._sink.failed(EngineError("the request was given up"))
        elif gone:
            self._sink.failed(EngineError(f"{adapter} was taken away", remedy="use another"))
        return self._cancelled or gone

    def step(self) -> bool:
        """Say the next word; whether it goes on."""
        if self.given_up():
            return False
        try:
            word = next(self._words, None)
        except UsageError as error:
            self._sink.failed(error)
            return False
        except MemoryError:
            self._sink.failed(NoMemoryError("the echo has no memory left"))
            return False
        if word is None:
            return self._end("stop")
        text = f" {word}" if self._count else word
        self._count += 1
        asked = self._request.sampling.logprobs is not None
        self._sink.piece(Piece(text, (Chosen(text, 0.0, text.encode()),) if asked else ()))
        if self._count == self._request.sampling.max_tokens:
            return self._end("length")
        return True

    def _end(self, reason: FinishReason) -> bool:
        prompt = len(words_of(self._request.prompt))
        self._sink.finished(Finished(reason, prompt, self._count))
        return False

    def _said(self) -> Iterator[str]:
        for word in words_of(self._request.prompt):
            if word.startswith("#more="):
                for _ in range(int(word.removeprefix("#more="))):
                    yield "word"
            obey(word)
            if not word.startswith("#"):
                yield word
