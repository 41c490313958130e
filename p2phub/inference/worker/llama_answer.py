"""One answer of llama.cpp: our request in its words, and its events in ours. Pure.

Rules it keeps:
 * what the request leaves out is what `generation_config.json` says, else what the file or
   llama.cpp says;
 * stop texts and calls of tools are found here, in the text, as for every other engine;
 * a token goes out with the text that it is part of, never before.

>>> completion(Sampling(max_tokens=5, temperature=0), [1, 2], {})["n_predict"]
5
"""

from collections.abc import Mapping
from typing import Any, Final

from p2phub.inference.requests import Chosen, Finished, FinishReason, Json, Piece, Sampling
from p2phub.inference.worker.chat_tools import MARKS, ToolReader
from p2phub.inference.worker.stops import StopMatcher

_NAMES: Final = {
    "max_tokens": "n_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
}
"""Our names, and llama.cpp's."""
_DEFAULTS: Final = ("temperature", "top_p", "top_k", "repetition_penalty")
"""What `generation_config.json` may say."""


def completion(sampling: Sampling, prompt: Json, defaults: Mapping[str, Any]) -> dict[str, Json]:
    """The body of a completion. `defaults`: the model's `generation_config.json`."""
    said = {name: defaults[name] for name in _DEFAULTS if defaults.get(name) is not None}
    said |= {name: value for name in _NAMES if (value := getattr(sampling, name)) is not None}
    body: dict[str, Json] = {_NAMES[name]: value for name, value in said.items()}
    if sampling.greedy or (sampling.temperature is None and defaults.get("do_sample") is False):
        body |= {"temperature": 0.0, "top_k": 1}
    if sampling.schema is not None:
        body["json_schema"] = sampling.schema or {"type": "object"}
    if sampling.logprobs is not None:
        body["n_probs"] = max(1, sampling.logprobs)
    body["logit_bias"] = [[token, bias] for token, bias in sampling.logit_bias.items()]
    return body | {
        "prompt": prompt,
        "n_predict": body.get("n_predict", -1),
        "preserved_tokens": list(MARKS),
        "return_progress": True,
        "timings_per_token": True,
    }


class Answer:
    """Reads the events of one completion."""

    def __init__(self, sampling: Sampling, *, tools: bool = False) -> None:
        self._stops = StopMatcher(sampling.stop)
        self._tools = ToolReader() if tools else None
        self._alternatives = sampling.logprobs
        self._held: list[Chosen] = []
        self._called = False
        self._reason: FinishReason = "stop"
        self._counts = (0, 0, 0)

    @property
    def stopped(self) -> bool:
        """Whether a stop text came, so that nothing more is wanted."""
        return bool(self._stops.found)

    def feed(self, event: Json) -> Piece | None:
        """What comes out with one event, if anything."""
        timings = event.get("timings") or {}
        if timings:
            cached = timings.get("cache_n", 0)
            prompt = timings.get("prompt_n", 0) + cached
            self._counts = prompt, timings.get("predicted_n", 0), cached
        choice = (event.get("choices") or [{}])[0]
        if choice.get("finish_reason"):
            self._reason = "length" if choice["finish_reason"] == "length" else "stop"
        self._held += self._chosen(choice)
        text = self._stops.feed(choice.get("text") or "")
        return self._piece(text) if text or choice.get("text") else None

    def finish(self) -> tuple[Piece | None, Finished]:
        """What was held back, and the end."""
        piece = self._piece(self._stops.flush(), last=True)
        prompt, completed, cached = self._counts
        reason: FinishReason = "stop" if self.stopped else self._reason
        if self._called and reason == "stop":
            reason = "tool_calls"
        return piece, Finished(reason, prompt, completed, cached, self._stops.found)

    def _piece(self, text: str, *, last: bool = False) -> Piece | None:
        calls: tuple[Json, ...] = ()
        if self._tools is not None:
            text, calls = self._tools.feed(text)
            rest, more = self._tools.flush() if last else ("", ())
            text, calls = text + rest, calls + more
            self._called = self._called or bool(calls)
        if not text and not calls:
            return None
        tokens, self._held = tuple(self._held), []
        return Piece(text, tokens, calls)

    def _chosen(self, choice: Json) -> list[Chosen]:
        told = (choice.get("logprobs") or {}).get("content") or ()
        if self._alternatives is None:
            return []
        return [
            _token(each, tuple(_token(o) for o in each["top_logprobs"][: self._alternatives]))
            for each in told
        ]


def _token(told: Json, others: tuple[Chosen, ...] = ()) -> Chosen:
    token, logprob = told["token"], float(told["logprob"])
    return Chosen(token, logprob, bytes(told["bytes"]), others, told.get("id"))
