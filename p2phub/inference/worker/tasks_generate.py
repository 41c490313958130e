"""Tasks that write a text from a text: summaries, translations, and models that take any order.

transformers 5 has no pipelines for them any more; the model and its tokenizer are enough.

Rules it keeps:
 * what the release says of a task (`task_specific_params`, a prefix among them) holds, and what the
   caller says goes before it;
 * a text that is too long is an error, unless `truncation` asks to cut it.
"""

from typing import Any, Final

import torch
import transformers

from p2phub.errors import UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.tasks_inputs import check_lengths, texts
from p2phub.inference.worker.tasks_languages import Languages
from p2phub.inference.worker.tasks_model import Source, load_config, load_model, token_limit
from p2phub.inference.worker.tasks_parameters import generation
from p2phub.inference.worker.wanted import is_wanted, require_wanted

NAMES: Final = {
    "summarization": "summary_text",
    "translation": "translation_text",
    "text2text-generation": "generated_text",
}
NEW_TOKENS: Final = 256
"""Tokens of an answer, if nobody says how many."""
_PAIR: Final = ("src_lang", "tgt_lang")
_SHOWN: Final = 10
"""Pairs of languages that an error names."""
_NOBODY_SAID: Final = (None, 20)
"""A length of 20 is what transformers once wrote where nothing was said."""


class WriteTask:
    """All of `NAMES`: such a model does what it is told, and `task` is what it was made for."""

    def __init__(self, source: Source) -> None:
        config = load_config(source)
        self.tokenizer = source.part("AutoTokenizer")
        self.model = load_model(source, ["AutoModelForSeq2SeqLM"], config)
        self.limit = token_limit(config, self.tokenizer)
        self._languages = Languages(self.tokenizer, _defaults(self.model))
        rest = [each for each in NAMES if each != source.spec.task]
        self.tasks = (source.spec.task, *rest)

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        pair = self._pair(request.task, parameters)
        said = self._said(pair or request.task)
        found = [said.get("prefix", "") + each for each in texts(request)]
        cut = parameters.get("truncation", "do_not_truncate") != "do_not_truncate"
        if not cut:
            check_lengths(self.tokenizer, self.limit, found)
        known = {name: each for name, each in said.items() if hasattr(_defaults(self.model), name)}
        chosen = with_length(self.model, {**known, **generation(parameters)})
        if request.task != "translation" or pair:
            parameters = {name: each for name, each in parameters.items() if name not in _PAIR}
        answers = [self._write(each, request.task, cut, chosen, parameters) for each in found]
        return TaskAnswer([{NAMES[request.task]: each} for each in answers])

    def _pair(self, task: str, parameters: dict[str, Any]) -> str:
        """The name that the configuration has for translating between two languages, if any.

        Raises `UsageError` if it has others only.
        """
        given = [parameters.get(each) for each in _PAIR]
        name = f"translation_{given[0]}_to_{given[1]}"
        if task != "translation" or self._said(name):
            return name if task == "translation" else ""
        said = getattr(self.model.config, "task_specific_params", None) or {}
        known = [each.removeprefix(task)[1:] for each in said if each.startswith(f"{task}_")]
        if any(given) and known:
            raise UsageError(
                "src_lang and tgt_lang are no pair that this model knows",
                remedy=f"it knows {', '.join(known[:_SHOWN])}",
            )
        return ""

    def _said(self, task: str) -> dict[str, Any]:
        """What the configuration says of this task."""
        said = getattr(self.model.config, "task_specific_params", None) or {}
        return dict(said.get(task) or {})

    def _write(
        self, text: str, task: str, cut: bool, chosen: dict[str, Any], parameters: dict[str, Any]
    ) -> str:
        limits = {"truncation": cut, "max_length": self.limit if cut and self.limit else None}
        tokens = self._languages.tokens(text, task, parameters, limits)
        forced = tokens.pop("forced_bos_token_id", None)
        tokens.pop("token_type_ids", None)
        if forced is not None:
            chosen = {**chosen, "forced_bos_token_id": forced}
        with torch.inference_mode():
            written = self.model.generate(
                **tokens.to(self.model.device), **chosen, **while_wanted()
            )
        require_wanted()
        return str(
            self.tokenizer.decode(
                written[0],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=parameters.get("clean_up_tokenization_spaces"),
            )
        )


def while_wanted() -> dict[str, Any]:
    """What makes `generate` end within a step when nobody waits any more."""

    def ended(input_ids: Any, scores: Any, **_: Any) -> Any:
        over = not is_wanted()
        return torch.full((input_ids.shape[0],), over, device=input_ids.device)

    return {"stopping_criteria": transformers.StoppingCriteriaList([ended])}


def with_length(model: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """The same with a length, if neither the caller nor the release says one."""
    defaults = _defaults(model)
    said = {"max_new_tokens", "max_length"} & chosen.keys() or defaults.max_new_tokens
    if said or defaults.max_length not in _NOBODY_SAID:
        return chosen
    return {**chosen, "max_new_tokens": NEW_TOKENS}


def _defaults(model: Any) -> Any:
    return model.generation_config
