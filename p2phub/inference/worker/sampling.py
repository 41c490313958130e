"""Which token comes next: one request's own choice among the logits of one step.

It is done row by row, on logits that many requests had computed together, so that each may have its
own temperature, seed, penalties and schema in one running batch.

Rules it keeps:
 * a request that is `plain` has nothing done to it: its token is the most likely one, as
   `generate(do_sample=False)` takes it;
 * a draw takes one number from the request's own generator: the same seed, prompt and machine give
   the same tokens, whoever else is in the batch;
 * tokens that a model reads and cannot write (those of pictures) are no error: they have no logit;
 * log probabilities are those of the model, before temperature and penalties.

The order is that of transformers: penalties, bias, schema, temperature, top_k, top_p.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch

from p2phub.inference.requests import Sampling

_FIRST: Final = 256
"""Tokens that top_p looks at first; more than these are seldom needed."""
_NO: Final = float("-inf")


class Matcher(Protocol):
    """What an answer must fit (`constrained`)."""

    def allowed(self, width: int) -> torch.Tensor:
        """Which tokens may come next: bool, [width], on the CPU."""
        ...

    def take(self, token: int) -> None:
        """`token` came."""
        ...


@dataclass(frozen=True, slots=True)
class Likely:
    """How likely a token was: natural logarithms."""

    logprob: float
    others: tuple[tuple[int, float], ...]
    """The most likely tokens there."""


def resolve(asked: Sampling, defaults: Any) -> Sampling:
    """`asked`, with what it leaves out as a `transformers.GenerationConfig` says."""
    drawn = bool(defaults.do_sample)
    values = {
        "temperature": (defaults.temperature or 1.0) if drawn else 0.0,
        "top_p": defaults.top_p if drawn and defaults.top_p is not None else 1.0,
        "top_k": (defaults.top_k or 0) if drawn else 0,
        "repetition_penalty": defaults.repetition_penalty or 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    given = {name: getattr(asked, name) for name in Sampling.__dataclass_fields__}
    for name, value in values.items():
        if given[name] is None:
            given[name] = value
    return Sampling(**given)


class Chooser:
    """The choices of one request. `sampling` has no None that matters (`resolve`)."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int] = (), matcher: Matcher | None = None
    ) -> None:
        self._sampling: Final = sampling
        self._matcher: Final = matcher
        self._random: Final = random.Random(sampling.seed)
        self._counts: Counter[int] = Counter()
        self._seen = set(prompt) if self._repetition != 1 else set()
        self.likely: list[Likely] = []
        """Of each token that was chosen, if log probabilities were asked for."""

    @property
    def plain(self) -> bool:
        """Whether the most likely token is all that is wanted."""
        asked = self._sampling
        edited = self._edits or asked.logprobs is not None
        return asked.greedy and not edited

    @property
    def _repetition(self) -> float:
        return self._sampling.repetition_penalty or 1.0

    @property
    def _edits(self) -> bool:
        asked = self._sampling
        penalties = asked.presence_penalty or asked.frequency_penalty or self._repetition != 1
        return bool(penalties or asked.logit_bias or self._matcher is not None)

    def choose(self, logits: torch.Tensor) -> int:
        """The next token. `logits`: float32, [vocabulary], as the model gave them."""
        scores = self._edited(logits.clone()) if self._edits else logits
        asked = self._sampling
        if asked.greedy:
            token = int(scores.argmax())
        else:
            token = draw(
                scores / (asked.temperature or 1.0),
                asked.top_k or 0,
                1.0 if asked.top_p is None else asked.top_p,
                self._random.random(),
            )
        self._note(token, logits)
        return token

    def _note(self, token: int, logits: torch.Tensor) -> None:
        if self._sampling.logprobs is not None:
            self.likely.append(_likely(logits, token, self._sampling.logprobs))
        self._counts[token] += 1
        if self._matcher is not None:
            self._matcher.take(token)

    def _edited(self, scores: torch.Tensor) -> torch.Tensor:
        asked = self._sampling
        if self._repetition != 1:
            seen = self._seen | self._counts.keys()
            at = self._index([each for each in seen if each < len(scores)], scores)
            old = scores[at]
            scores[at] = torch.where(old < 0, old * self._repetition, old / self._repetition)
        if asked.presence_penalty or asked.frequency_penalty:
            frequency = asked.frequency_penalty or 0.0
            less = [(asked.presence_penalty or 0.0) + frequency * n for n in self._counts.values()]
            scores[self._index(self._counts, scores)] -= scores.new_tensor(less)
        if asked.logit_bias:
            more = {token: bias for token, bias in asked.logit_bias.items() if token < len(scores)}
            scores[self._index(more, scores)] += scores.new_tensor(list(more.values()))
        if self._matcher is not None:
            scores.masked_fill_(~self._matcher.allowed(len(scores)).to(scores.device), _NO)
        return scores

    def _index(self, tokens: Any, scores: torch.Tensor) -> torch.Tensor:
        return torch.tensor(list(tokens), dtype=torch.int64, device=scores.device)


def _likely(logits: torch.Tensor, token: int, others: int) -> Likely:
    all_of_them = logits.log_softmax(-1)
    best = all_of_them.topk(others)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Likely(float(all_of_them[token]), tuple(pairs))


def draw(scores: torch.Tensor, top_k: int, top_p: float, uniform: float) -> int:
    """A token by its probability. `uniform`: a number in [0, 1), which alone decides.

    `scores`: logits, the temperature applied; 0 is no `top_k`. A `top_p` of 0 leaves the first.
    """
    if not top_k and top_p >= 1:
        mass = scores.softmax(-1).to(torch.float64).cumsum(-1)
        return _at(mass, uniform)
    width = len(scores)
    count = min(top_k or _FIRST, width)
    best = scores.topk(count)
    among = best.values if top_k else scores
    mass = (best.values - among.logsumexp(-1)).exp().to(torch.float64).cumsum(-1)
    if not top_k and count < width and float(mass[-1]) < top_p:
        return draw(scores, width, top_p, uniform)
    kept = min(int(torch.searchsorted(mass, top_p)) + 1, count) if top_p < 1 else count
    return int(best.indices[_at(mass[:kept], uniform)])


def _at(mass: torch.Tensor, uniform: float) -> int:
    """Where `uniform` of the whole `mass` (cumulated, [n]) is reached."""
    found = int(torch.searchsorted(mass, uniform * float(mass[-1]), right=True))
    return min(found, len(mass) - 1)
