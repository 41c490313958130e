"""Which files of a release hold the weights of its model.

As Hugging Face lays them out: one file, or shards that an index names, or shards that only their
numbers hold together. A part of a model in a folder of its own (a text encoder, a dense layer) is
asked for by that folder.

Rules it keeps:
 * only safetensors: what could execute code when it is loaded (pickle) is never among them;
 * a shard that is missing is named; a tensor that the index promises must be in a shard;
 * the file names of an index are looked up among the release's files, never on a disk.

>>> find_shards(["config.json", "model.safetensors"], read=lambda name: b"").names
('model.safetensors',)
>>> find_shards(["model-00001-of-00002.safetensors"], read=lambda name: b"")
Traceback (most recent call last):
...
p2phub.errors.NotFoundError: model-00002-of-00002.safetensors is missing: it holds a part of the \
model
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2phub.errors import MalformedError, NotFoundError, UnsupportedError
from p2phub.formats.paths import is_pickle

SUFFIX: Final = ".safetensors"
_STEMS: Final = ("model", "diffusion_pytorch_model", "adapter_model")
_NUMBERED: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True, slots=True)
class Shards:
    """The files to load, in order, and the tensors that must be in them."""

    names: tuple[str, ...]
    expected: frozenset[str] = frozenset()


def find_shards(names: Sequence[str], read: Callable[[str], bytes], under: str = "") -> Shards:
    """The weights that lie in the folder `under` (empty: the top one) of files with these names.

    `read` gives the bytes of an index. Raises `NotFoundError` for a part that is missing,
    `UnsupportedError` where there is nothing that we load, `MalformedError` for a bad index.
    """
    prefix = under.strip("/") + "/" if under.strip("/") else ""
    here = {
        name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix)
    }
    for stem in _STEMS:
        if stem + SUFFIX in here:
            return Shards((prefix + stem + SUFFIX,))
        index = f"{stem}{SUFFIX}.index.json"
        if index in here:
            return _indexed(prefix + index, read(prefix + index), prefix, names)
    found = sorted(name for name in here if name.endswith(SUFFIX))
    if not found:
        raise _nothing(sorted(here), under)
    return Shards(tuple(prefix + name for name in _numbered(found) or found))


def _indexed(index: str, text: bytes, prefix: str, names: Sequence[str]) -> Shards:
    try:
        places = json.loads(text)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedError(f"{index} is not an index of weights") from error
    if not isinstance(places, dict) or not all(isinstance(each, str) for each in places.values()):
        raise MalformedError(f"{index} does not say which tensor is in which file")
    shards = tuple(prefix + name for name in sorted(set(places.values())))
    for shard in shards:
        if is_pickle((shard,)) or not shard.endswith(SUFFIX):
            raise _pickled(shard)
        if shard not in names:
            raise _missing(shard)
    return Shards(shards, frozenset(places))


def _numbered(found: Sequence[str]) -> list[str]:
    """The shards of the first numbered row, once it is whole; empty if there is none."""
    rows = [match for match in map(_NUMBERED.fullmatch, found) if match]
    if not rows:
        return []
    stem, count = rows[0][1], int(rows[0][3])
    if not 1 <= count <= len(found):
        present = {match[0] for match in rows}
        wanted = (f"{stem}-{n:05}-of-{rows[0][3]}{SUFFIX}" for n in range(1, count + 1))
        raise _missing(next((name for name in wanted if name not in present), rows[0][0]))
    shards = [f"{stem}-{number:05}-of-{count:05}{SUFFIX}" for number in range(1, count + 1)]
    for shard in shards:
        if shard not in found:
            raise _missing(shard)
    return shards


def _missing(shard: str) -> NotFoundError:
    return NotFoundError(
        f"{shard} is missing: it holds a part of the model",
        remedy="pull the whole release, without a choice of files",
    )


def _pickled(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} may execute code when it is loaded: only safetensors and GGUF are loaded",
        remedy="choose a release with safetensors or GGUF, or convert it on a machine you can lose",
    )


def _nothing(here: Sequence[str], under: str) -> UnsupportedError | NotFoundError:
    pickled = next((name for name in here if is_pickle((name,))), None)
    if pickled is not None:
        return _pickled(pickled)
    if any(name.endswith(".gguf") for name in here):
        return UnsupportedError(
            "this release has GGUF and no safetensors", remedy="run it with the engine llamacpp"
        )
    return NotFoundError(
        f"no weights are in {under or 'this release'}: neither safetensors nor GGUF",
        remedy="`p2phub info` shows what a release holds",
    )
