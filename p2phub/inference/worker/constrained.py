"""Answers that must fit a JSON schema: the one door to llguidance.

A grammar is compiled for one request, in milliseconds; the tokenizer's vocabulary is prepared once,
in about a second, by the first request that needs it.

Rules it keeps:
 * a schema that llguidance cannot hold to is refused before anything is generated, with its reason;
 * without llguidance a request for a schema is refused, and says what to install.
"""

import importlib
import json
import threading
from collections.abc import Sequence
from typing import Any, Final

import torch

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import Json

MAX_SCHEMA: Final = 1 << 20
"""Characters of a schema."""
_COMPACT: Final = {"whitespace_flexible": False}
"""Else a weak model may go on with spaces for ever."""
_ANY_OBJECT: Final = {"type": "object"}


class Grammars:
    """Makes matchers for one tokenizer (`transformers`), with the model's own ends of text."""

    def __init__(self, tokenizer: Any, width: int, ends: Sequence[int]) -> None:
        self._tokenizer, self._width, self._ends = tokenizer, width, tuple(ends)
        self._lock = threading.Lock()
        self._prepared: Any = None

    def matcher(self, schema: Json) -> "JsonMatcher":
        """Holds one answer to `schema`; `{}`: any object. Raises `UsageError` for a bad one."""
        text = json.dumps(schema or _ANY_OBJECT)
        if len(text) > MAX_SCHEMA:
            raise UsageError(f"the JSON schema has more than {MAX_SCHEMA} characters")
        guidance = _door()
        try:
            grammar = guidance.LLMatcher.grammar_from_json_schema(text, overrides=_COMPACT)
        except ValueError as error:
            raise UsageError(f"the JSON schema cannot be used: {error}") from error
        made = guidance.LLMatcher(self._vocabulary(), grammar, log_level=0)
        if made.is_error():
            raise UsageError(f"the JSON schema cannot be used: {made.get_error()}")
        return JsonMatcher(made, self._ends)

    def _vocabulary(self) -> Any:
        with self._lock:
            if self._prepared is None:
                self._prepared = self._prepare()
        return self._prepared

    def _prepare(self) -> Any:
        if not self._tokenizer.is_fast or not self._ends:
            raise UnsupportedError(
                "this model's tokenizer cannot hold an answer to a JSON schema",
                remedy="ask for JSON in the prompt instead",
            )
        door = importlib.import_module("llguidance.hf")
        return door.from_tokenizer(self._tokenizer, n_vocab=self._width, eos_token=list(self._ends))


class JsonMatcher:
    """One answer under way."""

    def __init__(self, matcher: Any, ends: tuple[int, ...]) -> None:
        self._matcher, self._ends = matcher, ends

    def allowed(self, width: int) -> torch.Tensor:
        """Which tokens may come next: bool, [width]."""
        known = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        wide = torch.zeros(width, dtype=torch.bool)
        wide[: min(width, len(known))] = known[:width] != 0
        if not bool(wide.any()):
            wide[list(self._ends)] = True
        return wide

    def take(self, token: int) -> None:
        """`token` came."""
        if token not in self._ends:
            self._matcher.consume_token(token)


def _door() -> Any:
    try:
        return importlib.import_module("llguidance")
    except ImportError as error:
        raise UnsupportedError(
            "answers that fit a JSON schema need llguidance, which is not installed",
            remedy="install p2phub[inference]",
        ) from error
