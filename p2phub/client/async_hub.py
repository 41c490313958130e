"""`AsyncHub`: `Hub` for code under asyncio or trio. The same calls, awaited."""

import os
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread

from p2phub.client import calls
from p2phub.client.bundle_methods import AsyncBundleMethods
from p2phub.client.calls import Call
from p2phub.client.connection import AsyncConnection
from p2phub.client.hub import OnProgress, heard
from p2phub.client.lease import Lease
from p2phub.client.model_methods import AsyncModelMethods
from p2phub.client.publish_methods import AsyncPublishMethods
from p2phub.client.results import (
    FileRow,
    Hit,
    Identity,
    PeerInfo,
    Published,
    Removed,
    RepoInfo,
    RepoRow,
    Status,
    Verification,
)
from p2phub.client.running import home_folder
from p2phub.client.trust_methods import AsyncTrustMethods

T = TypeVar("T")


class AsyncHub(AsyncTrustMethods, AsyncPublishMethods, AsyncBundleMethods, AsyncModelMethods):
    """Like `Hub`, whose methods tell arguments, results and errors; every one is awaited here.

    `async with AsyncHub() as hub:` closes it, and stops a node that was started for it. Cancelling
    a pull or a publication cancels it in the node too.

    >>> hub = AsyncHub("/nowhere")          # nothing is started before the first call
    """

    def __init__(
        self,
        home: Path | str | None = None,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        self._lease = Lease(home_folder(home, os.environ), url, token)
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection and stop the node that was started for it, if one was."""
        connection, self._connection = self._connection, None
        with anyio.CancelScope(shield=True):
            if connection is not None:
                await connection.aclose()
            await anyio.to_thread.run_sync(self._lease.close)

    async def pull(
        self,
        reference: str,
        *,
        to: Path | str | None = None,
        layout: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> Path:
        """Fetch and verify a release; return the folder with its files. See `Hub.pull`."""
        target = Path(to) if to is not None else None
        call = calls.pull(reference, to=target, layout=layout, include=include, exclude=exclude)
        return (await self._run(call, progress)).path

    async def read(self, reference: str, path: str, start: int, stop: int) -> bytes:
        """Some bytes of one file of a release, verified. See `Hub.read`."""
        return await self._run(calls.read_ranges(reference, path, [(start, stop)]))

    async def load_tensors(
        self,
        reference: str,
        names: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        slices: Mapping[str, tuple[int, int, int]] | None = None,
        split: Mapping[str, int] | None = None,
        rank: int | None = None,
        world: int | None = None,
        progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Load tensors of a release without the rest of its files. See `Hub.load_tensors`."""
        from p2phub.client.loading import Slices, load_tensors

        wanted = Slices(slices or {}, split or {}, rank, world)
        steps = load_tensors(reference, names, device=device, slices=wanted)
        answer: Any = None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                loaded: dict[str, Any] = end.value
                return loaded
            answer = await self._run(call, progress)

    async def publish(
        self,
        folder: Path | str,
        name: str,
        *,
        message: str = "",
        tag: str | None = None,
        kind: str = "model",
        sign_with: str | None = None,
        in_place: bool = False,
        rehash: bool = False,
        seeds: Sequence[str] = (),
        oms: bool = False,
        base: str | None = None,
        relation: str | None = None,
        progress: OnProgress | None = None,
    ) -> Published:
        """Sign the files of `folder` as a release and announce it. See `Hub.publish`."""
        call = calls.publish(
            Path(folder),
            name,
            message=message,
            tag=tag,
            kind=kind,
            sign_with=sign_with,
            in_place=in_place,
            rehash=rehash,
            seeds=seeds,
            oms=oms,
            base=base,
            relation=relation,
        )
        return await self._run(call, progress)

    async def search(
        self,
        text: str = "",
        *,
        task: str | None = None,
        library: str | None = None,
        license: str | None = None,
        language: str | None = None,
        publisher: str | None = None,
        max_size: int | None = None,
        max_params: int | None = None,
        kind: str | None = None,
        tags: Sequence[str] = (),
        sort: str | None = None,
        limit: int | None = None,
    ) -> list[Hit]:
        """Search the local catalog; no network is used. See `Hub.search`."""
        return await self._run(
            calls.search(
                text,
                task=task,
                library=library,
                license=license,
                language=language,
                publisher=publisher,
                max_size=max_size,
                max_params=max_params,
                kind=kind,
                tags=tags,
                sort=sort,
                limit=limit,
            )
        )

    async def info(self, reference: str) -> RepoInfo:
        """What is known about a release. Raises `NotFoundError`."""
        return await self._run(calls.info(reference))

    async def ls(self) -> list[RepoRow]:
        """The repos on the node's disk."""
        return await self._run(calls.repos())

    async def files(self, reference: str) -> list[FileRow]:
        """The files of a release. Raises `NotFoundError`."""
        return await self._run(calls.files(reference))

    async def verify(
        self, reference: str | None = None, *, progress: OnProgress | None = None
    ) -> list[Verification]:
        """Read every byte of a release, or of all, and check it. See `Hub.verify`."""
        return await self._run(calls.verify(reference), progress)

    async def remove(self, reference: str) -> Removed:
        """Drop a release from the node's disk. Raises `NotFoundError`."""
        return await self._run(calls.remove(reference))

    async def status(self) -> Status:
        """What the node is doing now."""
        return await self._run(calls.status())

    async def peers(self) -> list[PeerInfo]:
        """Who the node is connected to."""
        return await self._run(calls.peers())

    async def connect(self, address: str) -> PeerInfo:
        """Connect to a peer by its full multiaddr. Raises `RemoteError`."""
        return await self._run(calls.connect(address))

    async def id(self) -> Identity:
        """Who the node is."""
        return await self._run(calls.identity())

    async def _run(self, call: Call[T], progress: OnProgress | None = None) -> T:
        connection = await self._connected()
        if call.raw:
            return call.read({"content": await connection.content(call)})
        if not call.streams:
            return call.read(await connection.answer(call))
        last: Mapping[str, Any] = {}
        async with aclosing(connection.events(call)) as events:
            async for last in events:
                heard(last, progress)
        return call.read(last)

    async def _connected(self) -> AsyncConnection:
        node = await anyio.to_thread.run_sync(self._lease.node)
        if self._connection is None or self._connection.node != node:
            self._connection = AsyncConnection(node)
        return self._connection
