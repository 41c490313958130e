"""A node that answers for no model, and tells whoever asks how to change that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from p2phub.errors import UnsupportedError
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.node.served import Served
from p2phub.node.values import Report


def _away() -> UnsupportedError:
    return UnsupportedError(
        "this node does not run models",
        remedy="Install it with its extra `inference` and start it again.",
    )


class NoInference:
    """Keeps the port `InferenceApi`: there is no model, and every other call says so."""

    @asynccontextmanager
    async def serve(self, model: str, task: str) -> AsyncIterator[Served]:
        raise _away()
        yield

    async def models(self) -> tuple[ModelRow, ...]:
        return ()

    async def loaded(self) -> tuple[LoadedRow, ...]:
        return ()

    async def fit(self, reference: str) -> FitReport:
        raise _away()

    async def load(self, reference: str, keep_alive: float | None, report: Report) -> LoadedRow:
        raise _away()

    async def unload(self, reference: str) -> LoadedRow:
        raise _away()
