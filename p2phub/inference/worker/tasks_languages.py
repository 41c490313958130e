"""Which languages a model translates between, and how its tokenizer is told.

Models of many languages (NLLB, M2M100, mBART) have a token for each, and the answer begins with
that of the target. Some of one source (Marian) are told the target in the text: `>>fra<<`. T5 is
told both in words, by its configuration; others know one pair, and need not be told.

Rules it keeps:
 * a language that the model does not know is an error with those that are near: never a
   translation into another one;
 * what one request says of languages holds for that request alone.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from p2phub.errors import UsageError

_NEAR: Final = 5
"""Languages that an error names."""


class Languages:
    """The languages of one model. `tokenizer`: its own, as the release has it."""

    def __init__(self, tokenizer: Any, defaults: Any) -> None:
        self._tokenizer = tokenizer
        self._many = hasattr(tokenizer, "_build_translation_inputs")
        self._source = getattr(tokenizer, "src_lang", None)
        self._target = getattr(tokenizer, "tgt_lang", None)
        self._begins = getattr(defaults, "forced_bos_token_id", None) is not None

    def tokens(
        self, text: str, task: str, parameters: Mapping[str, Any], limits: Mapping[str, Any]
    ) -> Any:
        """What the model is given. For `translation`, languages that matter must be known.

        Raises `UsageError` for a language that the model lacks, or that it must be told.
        """
        source, target = parameters.get("src_lang"), parameters.get("tgt_lang")
        if not self._many:
            text = self._with_mark(text, source, target)
            return self._tokenizer(text, return_tensors="pt", **limits)
        source, target = source or self._source, target or self._target
        if task != "translation" or (target is None and self._begins):
            if self._source:
                self._tokenizer.src_lang = self._source
            return self._tokenizer(text, return_tensors="pt", **limits)
        if not source or not target:
            raise UsageError(
                "this model needs both src_lang and tgt_lang",
                remedy=f"it knows {', '.join(self._codes()[:_NEAR])} and others",
            )
        self._check("src_lang", source)
        self._check("tgt_lang", target)
        return self._tokenizer._build_translation_inputs(
            text, return_tensors="pt", src_lang=source, tgt_lang=target, **limits
        )

    def _with_mark(self, text: str, source: str | None, target: str | None) -> str:
        """The text with what tells the model its target. Raises `UsageError`."""
        own = (
            getattr(self._tokenizer, "source_lang", None),
            getattr(self._tokenizer, "target_lang", None),
        )
        if source not in (None, own[0]):
            raise UsageError(f"src_lang cannot be {source!r}: {self._pair(own)}")
        if target is None or target == own[1]:
            return text
        mark = f">>{target}<<"
        if mark not in self._tokenizer.get_vocab():
            raise UsageError(f"tgt_lang cannot be {target!r}: {self._pair(own)}")
        return f"{mark} {text}"

    def _pair(self, own: tuple[str | None, str | None]) -> str:
        marks = [each[2:-2] for each in self._tokenizer.get_vocab() if each.startswith(">>")]
        if marks:
            return f"this model translates to {', '.join(sorted(marks)[:_NEAR])}"
        if None in own:
            return "this model is not told of languages; leave it out"
        return f"this model translates from {own[0]} to {own[1]}"

    def _codes(self) -> list[str]:
        named = getattr(self._tokenizer, "lang_code_to_token", None)
        return sorted(named or self._tokenizer.extra_special_tokens)

    def _check(self, name: str, code: str) -> None:
        codes = self._codes()
        if code not in codes:
            near = difflib.get_close_matches(code, codes, _NEAR) or codes[:_NEAR]
            raise UsageError(
                f"{name} {code!r} is no language of this model",
                remedy=f"the nearest ones are {', '.join(near)}",
            )
