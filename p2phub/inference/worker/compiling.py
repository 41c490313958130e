"""The layers of a model compiled with torch.compile, if that was asked for and can be done.

Only the repeated layers are, one program for all of them: that takes seconds where the whole model
takes minutes. What attention does with the cache stays as it is.

Rules it keeps:
 * it happens while the model is loaded, and so never in the first token;
 * where there is no compiler, or it fails, the model runs as it would without, a warning says why,
   and nothing claims that it was compiled;
 * compiled programs are kept for the next load where nobody else can write: they are run.
"""

import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from p2phub.errors import P2PHubError
from p2phub.inference.requests import Finished, Piece

log = logging.getLogger(__name__)

PLACE: Final = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that says where compiled programs are kept."""


class Compiled:
    """The layers of one model that are compiled; none, if nothing was asked for or it failed."""

    def __init__(self, model: Any, name: str) -> None:
        self._name = name
        self.why_not = ""
        """Why nothing is compiled; empty: it is."""
        self._layers: list[Any] = []
        why = _why_not(str(model.device))
        if why:
            self._give_up(why)
            return
        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
        _keep_apart(str(model.config._attn_implementation))
        self._layers = layers_of(model)
        for layer in self._layers:
            layer.compile(dynamic=True)
        if not self._layers:
            self._give_up("it has no layers that are known to repeat")

    def __bool__(self) -> bool:
        return bool(self._layers)

    def warm(self, answer: Callable[[int], None]) -> None:
        """Compile, by answering prompts of so many tokens, and see whether that went well."""
        if not self._layers:
            return
        counters = torch._dynamo.utils.counters
        counters.clear()
        for tokens in (7, 40, 1):
            answer(tokens)
        frames = counters["frames"]
        if not counters["stats"]["unique_graphs"] or frames["ok"] < frames["total"]:
            self._give_up("the compiler failed; the log of this node has its words")

    def undo(self) -> None:
        """From now on every layer runs as it is."""
        for layer in self._layers:
            layer._compiled_call_impl = None
        self._layers = []

    def _give_up(self, why: str) -> None:
        self.undo()
        self.why_not = why
        log.warning("%s runs without torch.compile: %s", self._name, why)


class Nobody:
    """A sink for answers that nobody reads."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def piece(self, piece: Piece) -> None:
        """It is forgotten."""

    def finished(self, end: Finished) -> None:
        self.over.set()

    def failed(self, error: P2PHubError) -> None:
        log.warning("an answer to compile with failed: %s", error.message)
        self.over.set()


def layers_of(model: Any) -> list[Any]:
    """The layers of which a model has many alike."""
    names = frozenset(getattr(model, "_no_split_modules", None) or ())
    return [each for each in model.modules() if type(each).__name__ in names]


def _why_not(device: str) -> str:
    """Why nothing can be compiled for `device`; empty: it can."""
    os.environ[PLACE] = str(safe_place(os.environ.get(PLACE, "")))

    def twice(numbers: Any) -> Any:
        return torch.relu(numbers) * 2

    try:
        torch.compile(twice)(torch.ones(3, device=device))
    except (RuntimeError, OSError, ImportError) as error:  # torch's own are RuntimeErrors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return lines[0][:300]
    finally:
        torch._dynamo.reset()
    return ""


def safe_place(wanted: str) -> Path:
    """The folder for compiled programs: `wanted`, if only we can write there, else a new one.

    It is made if it is not there.
    """
    place = Path(wanted)
    if wanted and place.is_absolute():
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            if all(_is_safe(each) for each in (place.resolve(), *place.resolve().parents)):
                return place
        except OSError as error:
            log.warning("%s cannot keep what is compiled: %s", wanted, error.strerror)
        else:
            log.warning("others can write to %s: what is compiled is not kept there", wanted)
    return Path(tempfile.mkdtemp(prefix="compiled-"))


def _is_safe(folder: Path) -> bool:
    """Whether nobody but us and root can put anything there in the place of what is ours."""
    found = folder.stat()
    if found.st_uid not in (0, os.getuid()):
        return False
    open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not open_to_others or bool(found.st_mode & stat.S_ISVTX)


def _keep_apart(attention: str) -> None:
    """Leave the attention kernels out of what is compiled: they depend on the number of the layer,
    and each would be a program of its own."""
    kernels = transformers.AttentionInterface()
    if attention in kernels.valid_keys():
        found = kernels[attention]
        transformers.AttentionInterface.register(attention, torch.compiler.disable(found))
