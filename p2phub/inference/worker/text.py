"""Text generation with transformers: how the worker loads a model for it.

The model is made by `text_model`, on the device that `device` chooses, from files that `weights`
verified; it answers as a `text_backend`.
"""

import time
from dataclasses import replace

import torch

from p2phub.errors import NoMemoryError
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker import device
from p2phub.inference.worker.backend import Tell
from p2phub.inference.worker.configuration import Folder
from p2phub.inference.worker.text_backend import TextBackend
from p2phub.inference.worker.text_model import load_model


def load(spec: ModelSpec, weights: Folder, tell: Tell) -> TextBackend:
    """The model of `spec`, ready to generate. Raises as `load_model`, and `NoMemoryError`."""
    begun = time.monotonic()
    placement = device.choose(spec.options, shares=True)
    try:
        loaded = load_model(spec, weights, placement)
        tell("preparing", 0, 0)
        backend = TextBackend(loaded, spec, placement)
        if placement.compile:
            tell("compiling", 0, 0)
            backend.compile()
    except torch.OutOfMemoryError as error:
        raise NoMemoryError(
            f"{spec.name} and its cache do not fit into the memory of {placement.device}",
            remedy="unload another model, or give it a shorter context",
        ) from error
    backend.info = replace(backend.info, load_seconds=time.monotonic() - begun)
    return backend
