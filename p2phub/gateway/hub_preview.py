"""The first rows of a dataset's tables: a question of ours beside those of the Hugging Face Hub.

    GET /api/datasets/{repo}/preview[/{revision}[/{file}]]?rows=20

Without a file, the first one that is a table. Of a file that is not here only its beginning is
fetched, or of Parquet its footer and the first pages. Texts are read here, Parquet in a process of
its own (`client.parquet_preview`), where pyarrow and fsspec are installed.
"""

import json
import subprocess
import sys
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.types import ASGIApp

from p2phub.errors import (
    MalformedError,
    NoFileError,
    TooSlowError,
    UnsupportedError,
    UsageError,
)
from p2phub.formats.manifest import FileEntry
from p2phub.formats.preview import HEAD, PARQUET, ending, preview
from p2phub.gateway.hub_json import Told
from p2phub.gateway.hub_paths import ApiCall
from p2phub.gateway.ports import HubApi
from p2phub.node.locate import ResolvedRelease

ROWS: Final = 20
MAX_ROWS: Final = 100
PATIENCE: Final = 30.0
"""Seconds that a Parquet file may take."""
AT_ONCE: Final = 2
"""Parquet files that are read at the same time."""
NOT_INSTALLED: Final = 3


class HubPreview:
    """Shows tables. `url` and `token` are of this gateway: a process of ours reads through it."""

    def __init__(self, hub: HubApi, url: str, token: str) -> None:
        self._hub, self._url, self._token = hub, url, token
        self._places = trio.CapacityLimiter(AT_ONCE)

    async def answer(self, request: Request, call: ApiCall) -> ASGIApp:
        """The rows. Raises `NoFileError`, `UnsupportedError`, `MalformedError`, `UsageError`."""
        if call.kind != "dataset":
            raise UsageError("only datasets have rows to look at")
        most = _rows(request.query_params.get("rows", str(ROWS)))
        revision = call.rest[0] if call.rest else None
        resolved = await self._hub.find(call.repo, revision, call.kind)
        tables = [file for file in resolved.release.files if ending("/".join(file.path))]
        file = _chosen(call, resolved, tables)
        name = "/".join(file.path)
        if ending(name) == PARQUET:
            found = await self._parquet(resolved, name, most)
        else:
            head = await self._head(resolved, file)
            rows = preview(name, head, whole=len(head) == file.size, most=most)
            found = {"columns": rows.columns, "rows": rows.rows, "partial": rows.partial}
        told = {"path": name, "format": ending(name)[1:], "sha": resolved.commit}
        return Told(told | found | {"files": ["/".join(each.path) for each in tables]})

    async def _head(self, resolved: ResolvedRelease, file: FileEntry) -> bytes:
        async with self._hub.reading(resolved, file, 0, min(HEAD, file.size)) as reading:
            return b"".join([data async for data in reading])

    async def _parquet(self, resolved: ResolvedRelease, name: str, most: int) -> dict[str, Any]:
        """The rows of a Parquet file, by a process of its own."""
        repo = f"{resolved.repo.publisher}/{resolved.repo.name}@{resolved.commit}"
        words = [sys.executable, "-m", "p2phub.client.parquet_preview"]
        words += [self._url, f"p2p://{repo}/{name}", str(most)]
        async with self._places:
            with trio.move_on_after(PATIENCE) as waiting:
                done = await trio.run_process(
                    words,
                    stdin=self._token.encode() + b"\n",
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
        if waiting.cancelled_caught:
            raise TooSlowError(f"{name} could not be read within {PATIENCE:g} seconds")
        return _told(done, name)


def _told(done: "subprocess.CompletedProcess[bytes]", name: str) -> dict[str, Any]:
    if done.returncode == NOT_INSTALLED:
        raise UnsupportedError(
            f"{name} is Parquet, and what reads it is not installed here",
            remedy="pip install pyarrow fsspec",
        )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise MalformedError(
            f"{name} cannot be read as Parquet: {why or 'it broke its reader'}"
        ) from None
    return found


def _chosen(call: ApiCall, resolved: ResolvedRelease, tables: list[FileEntry]) -> FileEntry:
    wanted = "/".join(call.rest[1:])
    if not wanted and tables:
        return tables[0]
    for file in resolved.release.files:
        if wanted and "/".join(file.path) == wanted:
            return file
    raise NoFileError(
        f"{call.repo} has no file {wanted[:200]}" if wanted else f"{call.repo} has no table",
        remedy="its tree lists its files",
    )


def _rows(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MAX_ROWS):
        raise UsageError(f'"rows" is a number from 1 to {MAX_ROWS}')
    return int(text)
