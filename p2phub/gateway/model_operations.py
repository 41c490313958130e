"""The part of the control API about the models that a node runs.

What models are asked goes through the OpenAI and Hugging Face APIs; here they are loaded, looked at
and taken out of memory.
"""

import math
from dataclasses import dataclass
from typing import Final

from p2phub.gateway.operation import Nothing, Operation
from p2phub.gateway.ports import NodeApi
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.node.values import Report


@dataclass(frozen=True, slots=True)
class LoadModel:
    """A model to bring and to load."""

    reference: str
    """`[publisher/]name[@revision][:variant]` or `p2p://…`."""
    keep_alive: int | None = None
    """Seconds after the last request until it is unloaded; null: as node.toml says."""
    keep: bool = False
    """Keep it until it is unloaded by name, whatever `keep_alive` says."""
    adapters: tuple[str, ...] = ()
    """References of adapters to put on it; each must have been made for this very release."""
    task: str = ""
    """What it will be asked for, such as `text-generation`; a model that is for something else is
    refused before it is fetched. Empty: whatever it does."""


@dataclass(frozen=True, slots=True)
class OneModel:
    """A call about one model."""

    reference: str
    """`[publisher/]name[@revision][:variant]` or `p2p://…`."""


async def _load(node: NodeApi, request: LoadModel, report: Report) -> LoadedRow:
    keep_alive: float | None = math.inf if request.keep else request.keep_alive
    return await node.inference.load(
        request.reference, keep_alive, report, request.adapters, request.task
    )


MODELS: Final = (
    Operation(
        "models",
        "The models that can be asked without anything being fetched, the loaded ones first",
        Nothing,
        ModelRow,
        lambda node, request, report: node.inference.models(),
        under="models",
        method="GET",
    ),
    Operation(
        "models/loaded",
        "The models that are in memory",
        Nothing,
        LoadedRow,
        lambda node, request, report: node.inference.loaded(),
        under="models",
        method="GET",
    ),
    Operation(
        "models/load",
        "Bring the files that a model needs, verify and load them",
        LoadModel,
        LoadedRow,
        _load,
        streams=True,
        example={"reference": "lab/smol", "keep_alive": 600},
    ),
    Operation(
        "models/unload",
        "Take a model out of memory, or an adapter off its base; what it answers now ends with an"
        " error",
        OneModel,
        LoadedRow,
        lambda node, request, report: node.inference.unload(request.reference),
        example={"reference": "lab/smol"},
    ),
    Operation(
        "models/fit",
        "How much memory a model would need on this machine, told before any weights are fetched",
        OneModel,
        FitReport,
        lambda node, request, report: node.inference.fit(request.reference),
        example={"reference": "lab/smol"},
    ),
)
