"""What a model is made of, from its headers alone: its weights are not fetched.

Only the pieces that hold `config.json` and the beginning of each file of weights are brought, and
verified like everything else. `describe_here` does the same with what is on this disk, and asks
nobody.
"""

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import MalformedError
from p2phub.formats import gguf, safetensors
from p2phub.formats.limits import MAX_HEADER
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath
from p2phub.formats.ranges import MAX_READ
from p2phub.formats.tensors import Header, More
from p2phub.inference.variants import GGUF
from p2phub.node.locate import ResolvedRelease
from p2phub.node.parts import PartRequest
from p2phub.node.ranges import read_ranges
from p2phub.node.services import Services
from p2phub.node.serving import MAX_CONFIG, read_config
from p2phub.store.excerpt import read_excerpt

FIRST: Final = 1 << 16
"""Bytes of a file that are read at first: most headers of safetensors fit."""
_CONFIG: Final = ("config.json",)
_TELL: Final = "tell its publisher: the file is as it was signed, and no such file"

Reading = Generator[tuple[FileEntry, int, int], bytes, "Described"]
"""Asks for bytes of a file, from an offset to another, and is sent them."""


@dataclass(frozen=True, slots=True)
class Described:
    """Weights of a release, as their headers describe them."""

    config: Mapping[str, Any]
    """`config.json`; empty if there is none."""
    files: Mapping[str, Header]
    """The files of weights, by the path with slashes."""
    prefixes: Mapping[str, bytes]
    """The headers of GGUF files as they are, by the same."""


async def describe(
    services: Services, resolved: ResolvedRelease, weights: Collection[FilePath]
) -> Described:
    """Read the headers of these files of a release, fetching them if they are not here.

    Raises `MalformedError` for a file without a header, and what a pull raises.
    """
    exact = f"{resolved.repo.publisher}/{resolved.repo.name}@{resolved.commit}"
    reading, data = _reading(resolved, weights), b""
    try:
        file, start, stop = next(reading)
        while True:
            name, data = "/".join(file.path), b""
            for at in range(start, stop, MAX_READ):
                wanted = ((at, min(at + MAX_READ, stop)),)
                data += await read_ranges(services, PartRequest(exact, name, wanted))
            file, start, stop = reading.send(data)
    except StopIteration as end:
        return _described(end)


def describe_here(
    services: Services, resolved: ResolvedRelease, weights: Collection[FilePath]
) -> Described:
    """The same from this disk alone; blocks. Raises `NotFoundError` for what is not here."""
    store, reading = services.store, _reading(resolved, weights)
    try:
        file, start, stop = next(reading)
        while True:
            wanted = ((start, stop),) if start < stop else ()
            data = read_excerpt(store.blobs, store.partials, file.content, wanted)
            file, start, stop = reading.send(data)
    except StopIteration as end:
        return _described(end)


def _described(end: StopIteration) -> Described:
    assert isinstance(end.value, Described)
    return end.value


def _reading(resolved: ResolvedRelease, weights: Collection[FilePath]) -> Reading:
    """What has to be read of these files, step by step."""
    config: Mapping[str, Any] = {}
    headers, prefixes = {}, {}
    for file in resolved.release.files:
        name = "/".join(file.path)
        if file.path == _CONFIG and file.size <= MAX_CONFIG:
            config = read_config((yield file, 0, file.size)) or {}
        elif file.path in weights:
            prefix = yield file, 0, min(FIRST, file.size)
            while isinstance(found := _parsed(name, prefix, file.size), More):
                wanted = min(found.total, file.size, MAX_HEADER)
                prefix += yield file, len(prefix), wanted
            headers[name] = found
            if name.lower().endswith(GGUF):
                prefixes[name] = prefix
    return Described(config, headers, prefixes)


def _parsed(name: str, prefix: bytes, size: int) -> Header | More:
    """What the file of that name begins with. Raises `MalformedError`, which names it."""
    parse = gguf.parse if name.lower().endswith(GGUF) else safetensors.parse
    try:
        return parse(prefix, size)
    except MalformedError as error:
        raise MalformedError(f"{name}: {error.message}", remedy=_TELL) from error
