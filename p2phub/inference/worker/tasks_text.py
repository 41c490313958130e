"""Tasks that judge texts: classes of texts and of tokens, masks to fill, labels without training.

They run through the pipelines of transformers; answers have the shape that `InferenceClient` reads.

Rules it keeps:
 * a text that is too long is an error; it is never cut without being asked;
 * a text that comes from outside is never used as a pattern (`hypothesis_template` has one `{}`).
"""

from typing import Any, Final

import transformers

from p2phub.errors import UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.tasks_inputs import (
    check_lengths,
    checked_texts,
    one_text,
    plain,
    texts,
)
from p2phub.inference.worker.tasks_model import Source, load_config, load_model, token_limit

_CLASSIFIER: Final = "AutoModelForSequenceClassification"
CLASSES: Final = {
    "text-classification": _CLASSIFIER,
    "zero-shot-classification": _CLASSIFIER,
    "token-classification": "AutoModelForTokenClassification",
    "fill-mask": "AutoModelForMaskedLM",
}
_TEMPLATE: Final = "This example is {}."


class TextTask:
    """One of `CLASSES`, and what else the same model can be asked."""

    def __init__(self, source: Source) -> None:
        config = load_config(source)
        self.tokenizer = source.part("AutoTokenizer")
        self.model = load_model(source, [CLASSES[source.spec.task]], config, unneeded=("pooler.",))
        self.limit = token_limit(config, self.tokenizer)
        self.tasks = _tasks_of(source.spec.task, self.model.config)
        self._pipelines = {
            task: transformers.pipeline(
                task, model=self.model, tokenizer=self.tokenizer, device=source.kernels.device
            )
            for task in self.tasks
        }
        self._answers = {
            "text-classification": self._classify,
            "zero-shot-classification": self._zero_shot,
            "token-classification": self._tokens,
            "fill-mask": self._fill,
        }

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        return TaskAnswer(plain(self._answers[request.task](request, parameters)))

    def _classify(self, request: TaskRequest, parameters: dict[str, Any]) -> Any:
        """A list of labels for each text, the likeliest first."""
        found = texts(request)
        check_lengths(self.tokenizer, self.limit, found)
        return self._pipelines[request.task](found, **{"top_k": None, **parameters})

    def _zero_shot(self, request: TaskRequest, parameters: dict[str, Any]) -> Any:
        """Every label with its score, the likeliest first; for a list of texts a list of those."""
        labels = parameters.get("candidate_labels")
        if labels is None:
            raise UsageError("zero-shot-classification needs candidate_labels")
        names = [each.strip() for each in labels.split(",")] if isinstance(labels, str) else labels
        names = list(dict.fromkeys(filter(None, names)))
        template = parameters.get("hypothesis_template", _TEMPLATE)
        if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
            raise UsageError("hypothesis_template must have one {} for the label, and no other { }")
        parameters = {**parameters, "candidate_labels": names, "hypothesis_template": template}
        hypotheses = self.tokenizer([template.replace("{}", each) for each in names], verbose=False)
        room = max(len(each) for each in hypotheses["input_ids"])
        found = texts(request)
        if not all(each.strip() for each in found):
            raise UsageError("a text is empty", remedy="send texts that are not empty")
        check_lengths(self.tokenizer, self.limit, found, room)
        answers = [
            [
                {"label": label, "score": score}
                for label, score in zip(each["labels"], each["scores"], strict=True)
            ]
            for each in self._pipelines[request.task](found, **parameters)
        ]
        return answers[0] if isinstance(request.inputs, str) else answers

    def _tokens(self, request: TaskRequest, parameters: dict[str, Any]) -> Any:
        """What was found in the text; for a list of texts a list of those."""
        found = texts(request)
        if "stride" not in parameters:
            check_lengths(self.tokenizer, self.limit, found)
        pipeline = self._pipelines[request.task]
        answers = pipeline(found, **{"aggregation_strategy": "simple", **parameters})
        return answers[0] if isinstance(request.inputs, str) else answers

    def _fill(self, request: TaskRequest, parameters: dict[str, Any]) -> Any:
        """The likeliest words for the mask; a list of those for several texts or masks."""
        mask = self.tokenizer.mask_token
        found = texts(request)
        if not all(mask in each for each in found):
            raise UsageError(f"a text of fill-mask needs the mask of this model: {mask}")
        check_lengths(self.tokenizer, self.limit, found)
        most = int(self.model.config.vocab_size)
        limits = {"top_k": min(parameters.get("top_k", 5), most)}
        return self._pipelines[request.task](
            found[0] if isinstance(request.inputs, str) else found, **parameters | limits
        )


def _tasks_of(task: str, config: Any) -> tuple[str, ...]:
    """What such a model does: one that knows what follows from what takes labels of anybody."""
    follows = any(str(each).lower().startswith("entail") for each in config.label2id)
    if CLASSES[task] != _CLASSIFIER or not (follows or task == "zero-shot-classification"):
        return (task,)
    other = {"zero-shot-classification", "text-classification"} - {task}
    return (task, *other)


def question_and_context(request: TaskRequest) -> tuple[str, str]:
    """The two texts of a question. Raises `UsageError`, `ContextError`."""
    said = request.inputs
    if not isinstance(said, dict) or set(said) != {"question", "context"}:
        raise UsageError("inputs of question-answering must be a map of question and context")
    question, context = checked_texts([said["question"], said["context"]], request.task)
    if not question.strip() or not context.strip():
        raise UsageError("neither question nor context may be empty")
    return question, context


def source_and_sentences(request: TaskRequest) -> tuple[str, list[str]]:
    """What is compared in sentence-similarity. Raises `UsageError`, `ContextError`."""
    said = request.inputs
    if not isinstance(said, dict) or set(said) != {"source_sentence", "sentences"}:
        raise UsageError(
            "inputs of sentence-similarity must be a map of source_sentence and sentences"
        )
    first = one_text(TaskRequest(request.task, said["source_sentence"]))
    return first, checked_texts(said["sentences"], request.task)
