"""How many parameters a model of ours has, for the card of its release: searches filter by it.

It is counted from the headers of its safetensors files, which are on this disk when a release is
made. What is signed then is the publisher's word, like everything in a card; 0 means that nothing
is said, as for a model in any other format.

>>> weights_of([("model-00001-of-00002.safetensors",), ("adapter_model.safetensors",)])
[('model-00001-of-00002.safetensors',)]
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Final

from p2phub.errors import MalformedError, NotFoundError
from p2phub.formats import safetensors
from p2phub.formats.limits import MAX_HEADER, MAX_INTEGER
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.paths import FilePath
from p2phub.formats.tensors import Header, More
from p2phub.node.services import Services

FIRST: Final = 1 << 16
"""Bytes of a file that are read at first: most headers fit."""
_SHARD: Final = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def weights_of(paths: Collection[FilePath]) -> Sequence[FilePath]:
    """The files that a hub counts the parameters of: the model as safetensors, whole or in shards.

    >>> weights_of([("model.safetensors",), ("model-00001-of-00001.safetensors",)])
    [('model.safetensors',)]
    """
    whole = [path for path in paths if path == ("model.safetensors",)]
    return whole or [path for path in paths if len(path) == 1 and _SHARD.fullmatch(path[0])]


def counted(
    services: Services, card: Card, files: Iterable[FileEntry], before: Release | None = None
) -> Card:
    """The card with the number of parameters of these files; blocks. `before`: the release that
    they were made from, whose number holds if its weights are the same: they need not be here.
    """
    files = tuple(files)
    if before is not None and _weights(before.files) == _weights(files):
        return replace(card, parameters=before.card.parameters)
    return replace(card, parameters=_count(services, _weights(files)))


def _weights(files: Sequence[FileEntry]) -> dict[FilePath, FileEntry]:
    found = {file.path: file for file in files}
    return {path: found[path] for path in sorted(weights_of(found))}


def _count(services: Services, weights: dict[FilePath, FileEntry]) -> int:
    total = 0
    for file in weights.values():
        try:
            header = _header(services, file)
        except (MalformedError, NotFoundError):
            return 0  # it is said of no file, or of all
        total += sum(prod(tensor.shape) for tensor in header.tensors)
    return min(total, MAX_INTEGER)


def _header(services: Services, file: FileEntry) -> Header:
    with os.fdopen(services.store.blobs.open_verified(file.content), "rb") as data:
        prefix = data.read(FIRST)
        while isinstance(found := safetensors.parse(prefix, file.size), More):
            prefix += data.read(min(found.total, MAX_HEADER) - len(prefix))
    return found
