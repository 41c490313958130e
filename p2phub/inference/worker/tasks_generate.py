"""Tasks that write a text from a text: summaries, translations, and models that take any order.

transformers 5 has no pipelines for them any more; the model and its tokenizer are enough.

Rules it keeps:
 * what the release says of a task (`task_specific_params`, a prefix among them) holds, and what the
   caller says goes before it;
 * a text that is too long is an error, unless `truncation` asks to cut it.
"""

from typing import Any, Final

import torch

from p2phub.errors import UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.tasks_inputs import check_lengths, texts
from p2phub.inference.worker.tasks_model import Source, load_config, load_model, token_limit
from p2phub.inference.worker.tasks_parameters import generation

NAMES: Final = {
    "summarization": "summary_text",
    "translation": "translation_text",
    "text2text-generation": "generated_text",
}
NEW_TOKENS: Final = 256
"""Tokens of an answer, if nobody says how many."""
_NOBODY_SAID: Final = (None, 20)
"""A length of 20 is what transformers once wrote where nothing was said."""


class WriteTask:
    """One of `NAMES`."""

    def __init__(self, source: Source) -> None:
        config = load_config(source)
        self.tokenizer = source.part("AutoTokenizer")
        self.model = load_model(source, ["AutoModelForSeq2SeqLM"], config)
        self.limit = token_limit(config, self.tokenizer)

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        said = self._said(request.task, parameters)
        found = [said.get("prefix", "") + each for each in texts(request)]
        cut = parameters.get("truncation", "do_not_truncate") != "do_not_truncate"
        if not cut:
            check_lengths(self.tokenizer, self.limit, found)
        known = {name: each for name, each in said.items() if hasattr(_defaults(self.model), name)}
        chosen = with_length(self.model, {**known, **generation(parameters)})
        answers = [self._write(each, cut, chosen, parameters) for each in found]
        return TaskAnswer([{NAMES[request.task]: each} for each in answers])

    def _said(self, task: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """What the configuration says of this task."""
        said = getattr(self.model.config, "task_specific_params", None) or {}
        if task == "translation" and {"src_lang", "tgt_lang"} <= parameters.keys():
            task = f"translation_{parameters['src_lang']}_to_{parameters['tgt_lang']}"
        return dict(said.get(task) or {})

    def _write(
        self, text: str, cut: bool, chosen: dict[str, Any], parameters: dict[str, Any]
    ) -> str:
        limits = {"truncation": cut, "max_length": self.limit if cut and self.limit else None}
        tokens = self._tokens(text, limits, parameters)
        forced = tokens.pop("forced_bos_token_id", None)
        tokens.pop("token_type_ids", None)
        if forced is not None:
            chosen = {**chosen, "forced_bos_token_id": forced}
        with torch.inference_mode():
            written = self.model.generate(**tokens.to(self.model.device), **chosen)
        return str(
            self.tokenizer.decode(
                written[0],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=parameters.get("clean_up_tokenization_spaces"),
            )
        )

    def _tokens(self, text: str, limits: dict[str, Any], parameters: dict[str, Any]) -> Any:
        """The tokens of a text; a tokenizer that knows languages is told which."""
        languages = {name: parameters.get(name) for name in ("src_lang", "tgt_lang")}
        if not any(languages.values()) or not hasattr(self.tokenizer, "src_lang"):
            return self.tokenizer(text, return_tensors="pt", **limits)
        source, target = languages["src_lang"], languages["tgt_lang"]
        if not source or not target:
            raise UsageError("this model needs both src_lang and tgt_lang")
        return self.tokenizer._build_translation_inputs(
            text, return_tensors="pt", src_lang=source, tgt_lang=target, **limits
        )


def with_length(model: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """The same with a length, if neither the caller nor the release says one."""
    defaults = _defaults(model)
    said = {"max_new_tokens", "max_length"} & chosen.keys() or defaults.max_new_tokens
    if said or defaults.max_length not in _NOBODY_SAID:
        return chosen
    return {**chosen, "max_new_tokens": NEW_TOKENS}


def _defaults(model: Any) -> Any:
    return model.generation_config
