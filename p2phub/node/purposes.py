"""What a model is for, and that it is asked for nothing else: told before it is fetched or loaded.

The card of its release tells it, or else `config.json`, which is fetched first where it is not
here; what its engine says once it is loaded is judged last.

Rules it keeps:
 * who is refused is told what the model is for, and how to ask it for that;
 * a GGUF file tells what it is for when it is loaded, and is not judged before.

>>> how_to_ask("lab/minilm", VECTORS)
'`p2phub embed lab/minilm TEXT` makes vectors with it; programs ask /v1/embeddings'
"""

from typing import Final

from p2phub.errors import UnsupportedError
from p2phub.inference.engine import Engine
from p2phub.inference.variants import TRANSFORMERS
from p2phub.node.headers import describe
from p2phub.node.models import Model, files_named, purpose_here
from p2phub.node.services import Services
from p2phub.node.serving import TEXT, VECTORS, task_of

_ALIKE: Final = {"sentence-similarity": VECTORS}
_CONFIG: Final = "config.json"


async def require_purpose(services: Services, model: Model, wanted: str) -> None:
    """Raise `UnsupportedError` if a model that may still have to be fetched is not for `wanted`.

    An empty `wanted` is whatever it does.
    """
    if not wanted or model.chosen.engine != TRANSFORMERS:
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
    wanted, task = _ALIKE.get(wanted, wanted), _ALIKE.get(task, task)
    plain = model.chosen.engine == TRANSFORMERS and wanted
    if plain and wanted != task and {wanted, task} & {TEXT, VECTORS}:
        raise UnsupportedError(
            f"{model.name} is for {task}, and does no {wanted}", remedy=how_to_ask(model.name, task)
        )


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
