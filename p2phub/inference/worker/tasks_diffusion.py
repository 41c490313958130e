"""Pictures from texts, with diffusers where that is installed.

A release of diffusers is a folder for each part, and `model_index.json` that says which class each
is. The parts are made here from verified tensors; diffusers itself loads no weights.

Rules it keeps:
 * only classes of diffusers and transformers are made, whatever the index says;
 * no weight is ever invented: tensors that are missing or too many are an error;
 * the same seed, text and settings give the same picture on one machine.
"""

import importlib
import inspect
from typing import Any, Final

import torch
import transformers

from p2phub.errors import MalformedError, UnsupportedError, UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.images import as_png
from p2phub.inference.worker.tasks_inputs import one_text
from p2phub.inference.worker.tasks_model import Source, fill, first_line
from p2phub.inference.worker.wanted import require_wanted

_INDEX: Final = "model_index.json"
_MAX_TEXT: Final = 10_000
"""Characters of a text; models look at the first hundred words or so."""


class DrawTask:
    """text-to-image."""

    limit, tokenizer = 0, None

    def __init__(self, source: Source) -> None:
        try:
            self._diffusers: Any = importlib.import_module("diffusers")
        except ImportError as error:
            raise UnsupportedError(
                f"{source.spec.name} makes pictures, which needs diffusers; it is not installed",
                remedy="pip install diffusers",
            ) from error
        index = source.read_json(_INDEX)
        if not isinstance(index, dict):
            raise MalformedError(f"{source.spec.name} has no {_INDEX} that can be read")
        name = str(index.get("_class_name"))
        found = getattr(self._diffusers, name, None)
        kind = _checked(found, name, self._diffusers.DiffusionPipeline)
        parts = {
            name: self._part(source, name, each)
            for name, each in index.items()
            if isinstance(each, list) and name.isidentifier()
        }
        flags = {name: each for name, each in index.items() if isinstance(each, bool)}
        try:
            self._pipeline = kind(**parts, **flags)
        except (TypeError, ValueError) as error:
            raise MalformedError(f"{_INDEX} does not fit: {first_line(error)}") from error
        self._pipeline.set_progress_bar_config(disable=True)
        modules = {name: each for name, each in parts.items() if isinstance(each, torch.nn.Module)}
        self.model = torch.nn.ModuleDict(modules)

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        text = one_text(request)
        if len(text) > _MAX_TEXT:
            raise UsageError(f"a text has {len(text)} characters; at most {_MAX_TEXT} are taken")
        ways = dict(parameters)
        if "seed" in ways:
            ways["generator"] = torch.Generator("cpu").manual_seed(ways.pop("seed"))
        if "callback_on_step_end" in inspect.signature(self._pipeline.__call__).parameters:
            ways["callback_on_step_end"] = _step_ended
        with torch.inference_mode():
            made = self._pipeline(text, **ways)
        return TaskAnswer(data=as_png(made.images[0]), media_type="image/png")

    def _part(self, source: Source, name: str, said: list[Any]) -> Any:
        """One part of the pipeline. None: the release does without."""
        library, class_name = said if len(said) == 2 else (None, None)
        if class_name is None:
            return None
        homes: dict[Any, Any] = {"diffusers": self._diffusers, "transformers": transformers}
        home = homes.get(library) or getattr(self._diffusers.pipelines, str(library), None)
        kind: Any = getattr(home, str(class_name), None)
        if _is_a(kind, transformers.PreTrainedModel):
            config = kind.config_class.from_pretrained(source.folder / name, local_files_only=True)
            return fill(source, kind, config, under=name)
        if library == "transformers":
            return source.part("AutoTokenizer" if "token" in name else "AutoImageProcessor", name)
        door: Any = importlib.import_module("diffusers.configuration_utils")
        return self._of_diffusers(source, name, _checked(kind, class_name, door.ConfigMixin))

    def _of_diffusers(self, source: Source, name: str, kind: Any) -> Any:
        if not issubclass(kind, torch.nn.Module):
            return kind.from_pretrained(source.folder / name, local_files_only=True)
        made = kind.from_config(kind.load_config(source.folder / name, local_files_only=True))
        state = source.weights.state_dict("cpu", source.dtype, name)
        fix = getattr(made, "_fix_state_dict_keys_on_load", None)
        if fix is not None:
            fix(state)
        try:
            made.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise MalformedError(
                f"the tensors of {name} do not fit its config.json: {first_line(error)}",
                remedy="tell its publisher",
            ) from error
        return made.to(source.kernels.device, getattr(torch, source.dtype)).eval()


def _step_ended(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Go on only if somebody still waits."""
    require_wanted()
    return tensors


def _is_a(found: Any, family: Any) -> bool:
    return isinstance(found, type) and issubclass(found, family)


def _checked(found: Any, name: Any, family: Any) -> Any:
    """A class that belongs to `family`. Raises `UnsupportedError`."""
    if not _is_a(found, family):
        raise UnsupportedError(
            f"this diffusers has no {name}", remedy="upgrade diffusers, or choose another model"
        )
    return found
