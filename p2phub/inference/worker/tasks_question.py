"""Answers that stand in a text, found by a model for question answering.

transformers 5 has no pipeline for it any more; this is the way of the old one: every span of a
window has the product of the likelihoods of its two ends, the best spans of all windows are taken,
and grow to whole words.

Rules it keeps:
 * a long text is looked at in windows that overlap, so that it has no limit but `MAX_TEXT`;
 * `answer` is just `context[start:end]`.
"""

from typing import Any, Final

import torch

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.tasks_model import Source, load_config, load_model, token_limit
from p2phub.inference.worker.tasks_text import question_and_context
from p2phub.inference.worker.wanted import require_wanted

_WINDOW: Final = 384
_BATCH: Final = 16
"""Windows that the model sees at once."""


class QuestionTask:
    """question-answering."""

    def __init__(self, source: Source) -> None:
        config = load_config(source)
        self.tokenizer = source.part("AutoTokenizer")
        if not self.tokenizer.is_fast:
            raise UnsupportedError("question-answering needs a tokenizer.json of the model")
        self.model = load_model(
            source, ["AutoModelForQuestionAnswering"], config, unneeded=("pooler.",)
        )
        self.limit = token_limit(config, self.tokenizer)

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        question, context = question_and_context(request)
        top_k = parameters.get("top_k", 1)
        windows = self._windows(question, context, parameters)
        spans: list[tuple[float, int, int]] = []
        nothing = 1.0
        for first in range(0, len(windows["input_ids"]), _BATCH):
            require_wanted()
            starts, ends = self._likelihoods(windows, first)
            for at in range(len(starts)):
                nothing = min(nothing, float(starts[at, 0] * ends[at, 0]))
                spans += self._spans(windows, first + at, starts[at], ends[at], parameters)
        if parameters.get("handle_impossible_answer"):
            spans.append((nothing, 0, 0))
        best: dict[tuple[int, int], float] = {}
        for score, start, end in sorted(spans, reverse=True):
            best.setdefault((start, end), score)
        answers = [
            {"answer": context[start:end], "score": score, "start": start, "end": end}
            for (start, end), score in list(best.items())[:top_k]
        ]
        if not answers:
            raise UsageError("the context holds nothing that could be an answer")
        return TaskAnswer(answers[0] if top_k == 1 else answers)

    def _windows(self, question: str, context: str, parameters: dict[str, Any]) -> Any:
        """The question with each part of the context. Raises `UsageError`."""
        length = min(parameters.get("max_seq_len", _WINDOW), self.limit or _WINDOW)
        most = parameters.get("max_question_len", 64)
        asked = self.tokenizer(question, add_special_tokens=False)["input_ids"]
        if len(asked) > most:
            raise UsageError(f"the question has {len(asked)} tokens; at most {most} are taken")
        room = length - len(asked) - self.tokenizer.num_special_tokens_to_add(pair=True)
        if room < 2:
            raise UsageError(f"the question leaves no room for a context in {length} tokens")
        stride = min(parameters.get("doc_stride", min(length // 2, 128)), room - 1)
        return self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=length,
            stride=stride,
            padding="longest",
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def _likelihoods(self, windows: Any, first: int) -> tuple[Any, Any]:
        """How likely an answer starts and ends at each token; at token 0: that there is none."""
        last = min(first + _BATCH, len(windows["input_ids"]))
        names = set(self.tokenizer.model_input_names) & set(windows.keys())
        batch = {
            name: torch.tensor(windows[name][first:last], device=self.model.device)
            for name in names
        }
        with torch.inference_mode():
            output = self.model(**batch)
        allowed = torch.tensor(
            [
                [at == 0 or each == 1 for at, each in enumerate(windows.sequence_ids(row))]
                for row in range(first, last)
            ]
        )
        found = [
            each.float().cpu().masked_fill(~allowed, -10000.0).softmax(dim=1)
            for each in (output.start_logits, output.end_logits)
        ]
        return found[0], found[1]

    def _spans(
        self, windows: Any, row: int, starts: Any, ends: Any, parameters: dict[str, Any]
    ) -> list[tuple[float, int, int]]:
        """The best spans of one window: (score, first character, character behind)."""
        starts, ends = starts.clone(), ends.clone()
        starts[0] = ends[0] = 0
        most = parameters.get("max_answer_len", 15)
        scores = torch.outer(starts, ends).triu().tril(most - 1).flatten()
        count = min(parameters.get("top_k", 1), len(scores))
        found = []
        for score, at in zip(*scores.topk(count), strict=True):
            first, last = divmod(int(at), len(starts))
            if windows.sequence_ids(row)[first] == 1 and windows.sequence_ids(row)[last] == 1:
                start, end = self._characters(windows, row, first, last, parameters)
                found.append((float(score), start, end))
        return found

    def _characters(
        self, windows: Any, row: int, first: int, last: int, parameters: dict[str, Any]
    ) -> tuple[int, int]:
        offsets = windows["offset_mapping"][row]
        words = [windows.token_to_word(row, at) for at in (first, last)]
        if not parameters.get("align_to_words", True) or None in words:
            return offsets[first][0], offsets[last][1]
        spans = [windows.word_to_chars(row, word, sequence_index=1) for word in words]
        return spans[0].start, spans[1].end
