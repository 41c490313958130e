"""The upstream of one node, as the gateway sees it: questions, files, and the records of both.

>>> UpstreamDesk.__name__
'UpstreamDesk'
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from p2phub.formats.ids import Kind
from p2phub.network.hub_client import Question
from p2phub.node.on_demand import Reading
from p2phub.node.services import Services
from p2phub.node.upstream import ForeignFile, Said, Upstream
from p2phub.node.upstream_files import UpstreamFiles
from p2phub.node.upstream_records import Records


class UpstreamDesk:
    """See `upstream`, `upstream_files` and `upstream_records`. `run` has to run."""

    def __init__(self, services: Services) -> None:
        self._upstream = Upstream(services)
        self._records = Records(services)
        self._files = UpstreamFiles(services, self._records.noted)

    @property
    def endpoint(self) -> str:
        """The address of the upstream, without a slash at its end."""
        return self._upstream.endpoint

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """What goes on meanwhile, until it is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._files.run)
                nursery.start_soon(self._records.run)
                task_status.started()
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await self._upstream.client.close()

    async def means(self, repo: str) -> bool:
        """Whether a name is one of the upstream's. Raises `NotFoundError` for what is no name."""
        return await self._upstream.means(repo)

    @property
    def hop(self) -> str:
        """How a question that comes back to us can be told: see `HubClient.hop`."""
        return self._upstream.client.hop

    async def ask(
        self, kind: Kind, repo: str, question: Question, token: str | None, via: str = ""
    ) -> Said:
        """See `Upstream.ask`."""
        return await self._upstream.ask(kind, repo, question, token, via)

    async def file(
        self, kind: Kind, repo: str, revision: str, path: str, token: str | None, via: str = ""
    ) -> ForeignFile | Said:
        """See `Upstream.file`."""
        return await self._upstream.file(kind, repo, revision, path, token, via)

    async def is_here(self, file: ForeignFile) -> bool:
        """See `UpstreamFiles.is_here`."""
        return await self._files.is_here(file)

    def reading(
        self, file: ForeignFile, start: int, stop: int
    ) -> AbstractAsyncContextManager[Reading]:
        """See `UpstreamFiles.reading`."""
        return self._files.reading(file, start, stop)
