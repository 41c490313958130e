"""What a model is for, and that it is asked for nothing else: told before it is fetched or loaded.

The card of its release tells it, or else `config.json`, which is fetched first where it is not
here; what its engine says once it is loaded is judged last.

Rules it keeps:
 * who is refused is told what the model is for, and how to ask it for that;
 * a GGUF file tells what it is for in its header, which who loads it brings first; who only asks
   hears it once it is loaded.

>>> how_to_ask("lab/minilm", VECTORS)
'`p2phub embed lab/minilm TEXT` makes vectors with it; programs ask /v1/embeddings'
"""

from typing import Final

from p2phub.errors import DamagedBlobError, MalformedError, NotFoundError, UnsupportedError
from p2phub.formats import gguf_metadata
from p2phub.formats.limits import MAX_HEADER
from p2phub.formats.tensors import More
from p2phub.inference.engine import Engine
from p2phub.inference.fit_gguf import shape_of
from p2phub.inference.variants import LLAMACPP, TRANSFORMERS
from p2phub.node.headers import describe, describe_here
from p2phub.node.models import Model, files_named, purpose_here
from p2phub.node.services import Services
from p2phub.node.serving import TEXT, VECTORS, task_of

_ALIKE: Final = {"sentence-similarity": VECTORS}
_CONFIG: Final = "config.json"


async def require_purpose(services: Services, model: Model, wanted: str) -> None:
    """Raise `UnsupportedError` if a model that may still have to be fetched is not for `wanted`.

    An empty `wanted` is whatever it does.
    """
    if not wanted:
        return
    if model.chosen.engine != TRANSFORMERS:
        require_adapted(model, wanted)
        _require_same(model, await _of_gguf(services, model), wanted)
        return
    if any("/".join(each.path) == _CONFIG for each in model.missing):
        config = (await describe(services, model.resolved, ())).config
        card = model.resolved.release.card.task
        task = task_of(card, TRANSFORMERS, config, files_named(model))
    else:
        task = await services.on_disk(purpose_here, services, model)
    require_task(model, task, wanted)


def require_task(model: Model, task: str, wanted: str) -> None:
    """Raise `UnsupportedError` if a model for `task` is asked to write, or for vectors, and is not
    for that; if one that is for these is asked for something else; and for an adapter that is.

    What other tasks a model can do as well, its engine tells: see `require_able`.
    """
    require_adapted(model, wanted)
    if model.chosen.engine == TRANSFORMERS:
        _require_same(model, task, wanted)


def _require_same(model: Model, task: str, wanted: str) -> None:
    wanted, task = _ALIKE.get(wanted, wanted), _ALIKE.get(task, task)
    known = wanted and task
    if known and wanted != task and {wanted, task} & {TEXT, VECTORS}:
        raise UnsupportedError(
            f"{model.name} is for {task}, and does no {wanted}", remedy=how_to_ask(model.name, task)
        )


async def _of_gguf(services: Services, model: Model) -> str:
    """What a GGUF model is for: what its card says, else its header; empty if that is broken."""
    card = model.resolved.release.card.task
    if card:
        return task_of(card, LLAMACPP, None)
    wanted = services, model.resolved, model.chosen.weights[:1]
    try:
        coming = any(each.path == model.chosen.weights[0] for each in model.missing)
        found = await (describe(*wanted) if coming else services.on_disk(describe_here, *wanted))
        (prefix,) = found.prefixes.values()
        metadata = gguf_metadata.read(prefix, MAX_HEADER)
    except (MalformedError, NotFoundError, DamagedBlobError):  # who loads it will see
        return ""
    if isinstance(metadata, More):
        return ""
    return VECTORS if shape_of(metadata, []).pooled else TEXT


def require_able(engine: Engine, task: str, model: Model) -> None:
    """Raise `UnsupportedError` for what a loaded model cannot do, or an adapter would not change.

    An empty `task` is whatever it does.
    """
    require_adapted(model, task)
    tasks = engine.info.tasks
    if task and task not in tasks:
        how = how_to_ask(model.name, tasks[0]) if tasks else "ask another model"
        raise UnsupportedError(
            f"{model.name} is for {', '.join(tasks) or 'nothing'}, and does no {task}", remedy=how
        )


def require_adapted(model: Model, task: str) -> None:
    """Raise `UnsupportedError` for an adapter that is asked for what adapters do not change."""
    if model.adapter is not None and task not in ("", TEXT):
        raise UnsupportedError(
            f"{model.name} is an adapter, and adapters do {TEXT}",
            remedy=f"ask {model.called}, the model that it is on",
        )


def how_to_ask(name: str, task: str) -> str:
    """How people and programs ask a model for what it is for."""
    if task == TEXT:
        return f"`p2phub run {name} PROMPT` asks it; programs ask /v1/chat/completions"
    if task == VECTORS:
        return f"`p2phub embed {name} TEXT` makes vectors with it; programs ask /v1/embeddings"
    return f"`p2phub serve {name}` loads it; programs ask /models/{name} for {task}"
