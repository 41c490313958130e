"""What LoRA adapters add to the output of a model's layers, each to the rows of its own requests.

A step of the model is one matrix with a row for each token of all requests. `Step` says which rows
are whose; a `Site` is one layer of the model with all the adapters that change it: it computes what
the layer computes, and adds `scale * B(A(x))` to the rows of each adapter.

Rules it keeps:
 * a row is changed by its own adapter alone; rows without an adapter are what the layer made of
   them, bit for bit;
 * whatever the numbers of an adapter are, what it adds is finite: attention puts the requests of a
   step beside each other, where an infinity of one would be an infinity of all;
 * a layer that no adapter changes any more is as it was before;
 * one thread runs the steps, and another may add and remove parts while it does.

Which adapters there are is for `lora`; which rows are whose, for who runs the steps.

>>> spans([(0, 3), (7, 2), (7, 1), (0, 1), (7, 1)])
{7: [(3, 6), (7, 8)]}
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

Rows = Any
"""A slice, or a tensor of numbers of rows."""
Owned = tuple[int, Rows]
"""The number of an adapter, and its rows."""
NOBODY: Final = 0
"""The number of no adapter."""


@dataclass(frozen=True, slots=True)
class Step:
    """Whose the rows are."""

    tokens: tuple[Owned, ...] = ()
    """For layers that see every token."""
    ends: tuple[Owned, ...] = ()
    """For the last layer, where it sees one row for each request that gets a token."""
    least: int = 0
    """Rows that there are of all tokens, at least."""


_PLAIN: Final = Step()
_MOST: Final = 1e6
"""What an adapter adds to one number at most: no layer of a model comes near."""


@dataclass(slots=True)
class Running:
    """The step that is computed now."""

    step: Step = _PLAIN


@dataclass(frozen=True, slots=True)
class Part:
    """What an adapter adds at one layer."""

    a: Any
    """Of the shape (rank, inputs)."""
    b: Any
    """Of the shape (outputs, rank)."""
    scale: float

    def add(self, inputs: Any, outputs: Any, rows: Rows) -> None:
        """Change the rows of `outputs`. Both have a row for each token."""
        inner = torch.mm(inputs[rows].to(self.a.dtype), self.a.t())
        self._add(inner, outputs, rows)

    def add_of_tokens(self, tokens: Any, outputs: Any, rows: Rows) -> None:
        """As `add`, where the inputs are the numbers of tokens: a table of embeddings."""
        self._add(self.a.index_select(1, tokens[rows]).t(), outputs, rows)

    def _add(self, inner: Any, outputs: Any, rows: Rows) -> None:
        change = torch.mm(inner, self.b.t()).mul_(self.scale)
        change = change.clamp_(-_MOST, _MOST).nan_to_num_(0.0).to(outputs.dtype)
        if isinstance(rows, slice):
            outputs[rows].add_(change)
        else:
            outputs.index_add_(0, rows, change)


class Site:
    """One layer that adapters change. It stands in the place of the layer's `forward`."""

    def __init__(self, name: str, layer: Any, running: Running, *, last: bool) -> None:
        self.parts: dict[int, Part] = {}
        """By the number of the adapter."""
        self._name, self._layer, self._running = name, layer, running
        self._last = last
        """Whether it sees one row for each request that gets a token."""
        self._embeds = isinstance(layer, torch.nn.Embedding)
        self._own = vars(layer).get("forward")
        """What somebody else had put in its place."""
        self._plain: Callable[..., Any] = layer.forward
        layer.forward = self

    def remove(self) -> None:
        """Let the layer be what it was."""
        if self._own is not None:
            self._layer.forward = self._own
        else:
            del self._layer.forward

    def __call__(self, inputs: Any) -> Any:
        outputs = self._plain(inputs)
        step = self._running.step
        for number, rows in step.ends if self._last else step.tokens:
            part = self.parts.get(number)
            if part is not None:
                self._change(part, inputs, outputs, rows, 0 if self._last else step.least)
        return outputs

    def _change(self, part: Part, inputs: Any, outputs: Any, rows: Rows, least: int) -> None:
        flat = outputs.view(-1, outputs.shape[-1])
        if flat.shape[0] < least:
            raise RuntimeError(f"{self._name} does not see all tokens: no adapter can change it")
        if self._embeds:
            part.add_of_tokens(inputs.reshape(-1), flat, rows)
        else:
            part.add(inputs.reshape(-1, inputs.shape[-1]), flat, rows)


def spans(owners: Iterable[tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    """Where the rows of each adapter are; `owners`: (number of the adapter, rows), in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    at = 0
    for number, count in owners:
        if number != NOBODY and count:
            known = found.setdefault(number, [])
            if known and known[-1][1] == at:
                known[-1] = (known[-1][0], at + count)
            else:
                known.append((at, at + count))
        at += count
    return found


def all_of(number: int) -> Step:
    """A step with no rows but those of one adapter, or of none."""
    every = ((number, slice(None)),)
    return Step(every, every) if number != NOBODY else _PLAIN


def step_of(requests: Sequence[tuple[int, int, bool]], device: Any) -> Step:
    """The step of requests in their order: (number of the adapter, its rows, gets a token)."""
    if not any(number for number, _, _ in requests):
        return _PLAIN
    tokens = spans((number, count) for number, count, _ in requests)
    ends = spans((number, 1) for number, _, ends in requests if ends)
    least = sum(count for _, count, _ in requests)
    return Step(_rows_of(tokens, device), _rows_of(ends, device), least)


def _rows_of(found: Mapping[int, list[tuple[int, int]]], device: Any) -> tuple[Owned, ...]:
    return tuple((number, _rows(each, device)) for number, each in found.items())


def _rows(parts: list[tuple[int, int]], device: Any) -> Rows:
    if len(parts) == 1:
        return slice(*parts[0])
    return torch.tensor([at for part in parts for at in range(*part)], device=device)
