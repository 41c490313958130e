"""What a model is made of, from its headers alone: its weights are not fetched.

Only the pieces that hold `config.json` and the beginning of each file of weights are brought, and
verified like everything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import UnsupportedError
from p2phub.formats import gguf, safetensors
from p2phub.formats.ids import Reference
from p2phub.formats.limits import MAX_HEADER
from p2phub.formats.manifest import FileEntry
from p2phub.formats.ranges import MAX_READ
from p2phub.formats.tensors import Header, More
from p2phub.node.events import Report
from p2phub.node.locate import ResolvedRelease
from p2phub.node.parts import PartRequest
from p2phub.node.pull import obey_policy
from p2phub.node.ranges import read_ranges
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.node.serving import MAX_CONFIG, read_config

FIRST: Final = 1 << 16
"""Bytes of a file that are read at first: most headers of safetensors fit."""


@dataclass(frozen=True, slots=True)
class Described:
    """A release, as its headers describe it."""

    resolved: ResolvedRelease
    config: Mapping[str, Any]
    """`config.json`; empty if there is none."""
    files: tuple[tuple[FileEntry, Header], ...]
    """Every file of weights, by its path: safetensors and GGUF."""
    prefixes: Mapping[str, bytes]
    """The headers of GGUF files as they are, by the path with slashes."""


async def describe(services: Services, reference: str, report: Report) -> Described:
    """Read the headers of a release, fetching them if they are not here.

    Raises `NotFoundError`, `UntrustedError`, `UnsupportedError` (it has no weights that are known
    here), and what a pull raises.
    """
    resolved = await resolve(services, Reference.parse(reference))
    await obey_policy(services, resolved, report)
    exact = f"{resolved.repo.publisher}/{resolved.repo.name}@{resolved.commit}"
    config: Mapping[str, Any] = {}
    files, prefixes = [], {}
    for file in resolved.release.files:
        name = "/".join(file.path)
        if name == "config.json" and file.size <= MAX_CONFIG:
            config = read_config(await _read(services, exact, file, 0, file.size)) or {}
        elif name.endswith((".safetensors", ".gguf")):
            prefix, header = await _header(services, exact, file)
            files.append((file, header))
            if name.endswith(".gguf"):
                prefixes[name] = prefix
    if not files:
        raise UnsupportedError(
            f"{resolved.called} has neither safetensors nor GGUF weights",
            remedy="`p2phub ls REF` lists its files; is it a model?",
        )
    return Described(resolved, config, tuple(files), prefixes)


async def _header(services: Services, exact: str, file: FileEntry) -> tuple[bytes, Header]:
    parse = gguf.parse if file.path[-1].endswith(".gguf") else safetensors.parse
    prefix = await _read(services, exact, file, 0, min(FIRST, file.size))
    while isinstance(found := parse(prefix, file.size), More):
        wanted = min(found.total, file.size, MAX_HEADER)
        prefix += await _read(services, exact, file, len(prefix), wanted)
    return prefix, found


async def _read(services: Services, exact: str, file: FileEntry, start: int, stop: int) -> bytes:
    parts = []
    for at in range(start, stop, MAX_READ):
        wanted = ((at, min(at + MAX_READ, stop)),)
        parts.append(await read_ranges(services, PartRequest(exact, "/".join(file.path), wanted)))
    return b"".join(parts)
