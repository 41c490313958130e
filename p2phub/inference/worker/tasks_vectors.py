"""The tasks of vectors: feature-extraction and sentence-similarity, over one `Embedder`.

`InferenceClient` sends the parameters of feature-extraction at the root of its request; whoever
reads the request puts them into `TaskRequest.parameters`.
"""

from typing import Any

import numpy

from p2phub.errors import UsageError
from p2phub.inference.requests import Embed, Embeddings, TaskAnswer, TaskRequest
from p2phub.inference.worker.embedding import Embedder, load_embedder
from p2phub.inference.worker.tasks_inputs import texts
from p2phub.inference.worker.tasks_model import Source
from p2phub.inference.worker.tasks_text import source_and_sentences

TASKS = ("feature-extraction", "sentence-similarity")


class VectorTask:
    """Both of `TASKS`. May be called from several threads: the embedder joins what they ask."""

    def __init__(self, source: Source) -> None:
        self.embedder: Embedder = load_embedder(source)
        self.limit, self.tokenizer = self.embedder.limit, self.embedder.tokenizer

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        cut = bool(parameters.get("truncate"))
        if request.task == "sentence-similarity":
            first, others = source_and_sentences(request)
            found = _rows(self.embedder.embed(Embed((first, *others), True, truncate=cut)))
            return TaskAnswer((found[1:] @ found[0]).tolist())
        name = parameters.get("prompt_name")
        prompts = self.embedder.settings.prompts
        if name is not None and name not in prompts:
            raise UsageError(
                f"this model has no prompt {name!r}; it has {', '.join(prompts) or 'none'}"
            )
        wanted = Embed(
            tuple(texts(request)), parameters.get("normalize"), parameters.get("dimensions"), cut
        )
        answer = self.embedder.embed(wanted, prompts[name] if name is not None else None)
        return TaskAnswer(_rows(answer).tolist())


def _rows(answer: Embeddings) -> Any:
    return numpy.frombuffer(answer.data, "<f4").reshape(-1, answer.width)
