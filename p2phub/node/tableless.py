"""Bring a file whose piece table nobody has: from a web server, whole, and checked at its end.

A publisher that is gone may have left its files with web servers, which know no tables. One server
after the other is asked; one whose bytes are not the file that was signed is remembered as a liar.
"""

from collections.abc import Sequence

import trio

from p2phub.errors import NoSourceError, RemoteError, WrongBytesError
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import Run
from p2phub.node.doubts import Doubts
from p2phub.node.progress import ProgressCounter
from p2phub.node.services import Services
from p2phub.protocol.ports import Source
from p2phub.store.whole_files import WholeFile


async def bring_tableless(
    services: Services,
    doubts: Doubts,
    progress: ProgressCounter,
    file: FileEntry,
    servers: Sequence[Source],
) -> str:
    """The name of the server that had the file. Raises `WrongBytesError` if other bytes came, and
    `NoSourceError` if none did.
    """
    name, lie = "/".join(file.path), None
    useless = doubts.useless_for(file.content)
    for server in servers:
        if server.name in useless:
            continue
        try:
            if await _bring(services, progress, file, server):
                return server.name
        except WrongBytesError as error:
            doubts.lied([server.name], file.content, name)
            lie = error
        except RemoteError:
            continue  # it says why when the pull ends: `WebSource.trouble`
    if lie is not None:
        raise WrongBytesError(f"{name}: {lie.message}", remedy=_REMEDY)
    raise NoSourceError(f"{name}: nobody reachable has its piece table", remedy=_REMEDY)


_REMEDY = "pull when a peer that has the file is online, or name a web server with the whole file"


async def _bring(
    services: Services, progress: ProgressCounter, file: FileEntry, server: Source
) -> bool:
    if await server.holds(file.content) is None:
        return False
    files = services.store.whole_files
    whole = await services.on_disk(files.begin, file.content)
    sink = _Counted(whole, services, progress)
    try:
        async with server.place():
            await server.fetch(file.content, whole.steps, Run(0, whole.steps.count), sink)
        await services.on_disk(whole.keep)
    except BaseException:
        progress.add(-sink.size)
        raise
    finally:
        with trio.CancelScope(shield=True):
            await services.on_disk(files.end, whole)
    return True


class _Counted:
    """A sink that counts what it hands on to `whole`."""

    def __init__(self, whole: WholeFile, services: Services, progress: ProgressCounter) -> None:
        self._whole, self._services, self._progress = whole, services, progress
        self.size = 0

    def accept(self, index: int, piece: memoryview) -> None:
        self._whole.accept(index, piece)
        self.size += len(piece)
        self._progress.add(len(piece))
        self._services.traffic.down.add(len(piece))
