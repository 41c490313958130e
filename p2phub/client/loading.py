"""Load single tensors of a release without its files: `Hub.load_tensors` and `AsyncHub`'s.

First the header of a safetensors file is read, which says where each tensor lies, then only the
pieces that hold the wanted ones are fetched. A tensor of a model in several files is found through
`model.safetensors.index.json`. What is asked of the node, and in which order, is written here once,
as a generator of calls: the two hubs differ in how they wait for the answers.

Rules it keeps:
 * every byte comes from the node, which has verified it; every call names the same commit;
 * a header meets the limits of `formats.safetensors` before memory is spent on it;
 * a slice of the first dimension fetches its own pieces only. One of a later dimension is strided
   and fetches every piece that one of its rows touches, which for narrow rows is all of the tensor;
   of that, only the slice is read into memory.

torch is imported when something is loaded, never before.

>>> wanted_slice(Tensor("m.q_proj.weight", "F16", (8, 4), 0, 64), Slices(split={"*.q_proj.*": 0}, \
rank=1, world=2))
(0, 4, 8)
"""

import difflib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from p2phub.client import calls
from p2phub.client.calls import Call
from p2phub.client.results import FileRow, Named
from p2phub.errors import MalformedError, NotFoundError, P2PHubError, UsageError
from p2phub.formats import safetensors
from p2phub.formats.limits import MAX_HEADER, MIN_CUT
from p2phub.formats.ranges import Range, batches, slice_ranges, spans
from p2phub.formats.tensors import More, Tensor

INDEX: Final = "model.safetensors.index.json"
SUFFIX: Final = ".safetensors"
FIRST: Final = 9
"""Bytes that tell how long a header is."""
DTYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32",
    "U32": "uint32", "I64": "int64", "U64": "uint64", "F64": "float64", "F32": "float32",
    "F16": "float16", "BF16": "bfloat16", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""What torch calls the types of safetensors."""

Slice = tuple[int, int, int]
"""Dimension, start and stop, in elements."""
Steps = Generator[Call[Any], Any, Any]


@dataclass(frozen=True, slots=True)
class Slices:
    """Which part of each tensor is wanted; a tensor that is named nowhere comes whole."""

    slices: Mapping[str, Slice] = field(default_factory=dict)
    """By the name of a tensor."""
    split: Mapping[str, int] = field(default_factory=dict)
    """By a glob of names: the dimension that is split evenly over `world` ranks. 0 for a
    column-parallel weight and its bias, 1 for a row-parallel weight."""
    rank: int | None = None
    world: int | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A wanted tensor, and the bytes of it."""

    path: str
    tensor: Tensor
    shape: tuple[int, ...]
    cut: Slice | None

    def ranges(self) -> Iterator[Range]:
        if self.cut is None:
            return iter([(self.tensor.start, self.tensor.stop)])
        return slice_ranges(self.tensor, *self.cut)


def load_tensors(
    reference: str, names: Sequence[str] | None, *, device: str, slices: Slices
) -> Generator[Call[Any], Any, dict[str, Any]]:
    """The calls that load tensors; returns them by name. See `Hub.load_tensors`."""
    torch = _torch()
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f'torch knows no device "{device}"') from error
    _check_slices(slices)
    named: Named = yield calls.resolve(reference)
    exact = f"{named.ref.rpartition('@')[0]}@{named.commit}"
    rows: list[FileRow] = yield calls.files(exact)
    places = yield from _places(exact, {row.path: row.size for row in rows}, names, slices)
    for path in sorted({each.path for each in places}):
        held = sorted(range_ for each in places if each.path == path for range_ in _spans(each))
        for batch in batches(spans(held), most=None):
            yield calls.ranges(exact, path, batch)
    loaded = {}
    for each in places:
        kind = getattr(torch, DTYPES.get(each.tensor.dtype, ""), None)
        if kind is None:
            raise UsageError(
                f"{each.tensor.name} is {each.tensor.dtype}, which this torch does not know",
                remedy="install a newer torch, or read the bytes with `Hub.read`",
            )
        data = yield from _read(exact, each.path, each.ranges())
        flat = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
        loaded[each.tensor.name] = flat.reshape(each.shape).to(place)
    return loaded


def wanted_slice(tensor: Tensor, slices: Slices) -> Slice | None:
    """The part of `tensor` that is wanted; None for all of it. Raises `UsageError`."""
    if tensor.name in slices.slices:
        return slices.slices[tensor.name]
    if slices.rank is None or slices.world is None:
        return None
    for pattern, dim in slices.split.items():
        if fnmatchcase(tensor.name, pattern):
            length = tensor.shape[dim] if 0 <= dim < len(tensor.shape) else 0
            each, rest = divmod(length, slices.world)
            if rest or not each:
                raise UsageError(
                    f"dimension {dim} of {tensor.name} {list(tensor.shape)} cannot be split evenly "
                    f"over {slices.world} ranks",
                    remedy="name its slice in `slices`, or leave it out of `split`",
                )
            return dim, slices.rank * each, (slices.rank + 1) * each
    return None


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise P2PHubError(
            "loading tensors needs torch, which is not installed",
            remedy="pip install 'p2phub[inference]'",
        ) from None
    return torch


def _check_slices(slices: Slices) -> None:
    rank, world = slices.rank, slices.world
    if (rank is None) != (world is None) or (slices.split and rank is None):
        raise UsageError("`rank`, `world` and `split` belong together")
    if rank is not None and world is not None and not 0 <= rank < world:
        raise UsageError(f"there is no rank {rank} of {world}", remedy="ranks begin at 0")


def _spans(place: _Place) -> Iterator[Range]:
    """What to fetch of a tensor: gaps in which no piece can hide make no range of their own."""
    return spans(place.ranges(), MIN_CUT)


def _places(
    exact: str, sizes: Mapping[str, int], names: Sequence[str] | None, slices: Slices
) -> Generator[Call[Any], Any, list[_Place]]:
    """Where the wanted tensors lie, in the order of `names`."""
    files = yield from _files_with(exact, sizes, names)
    found: dict[str, _Place] = {}
    seen: set[str] = set()
    asked = None if names is None else set(names)
    for path in files:
        if asked is not None and asked <= found.keys():
            break
        for tensor in (yield from _header(exact, path, sizes[path])):
            seen.add(tensor.name)
            if asked is not None and tensor.name not in asked:
                continue
            cut, shape = wanted_slice(tensor, slices), tensor.shape
            if cut is not None:
                slice_ranges(tensor, *cut)  # refuses what is not there, before anything is fetched
                shape = (*shape[: cut[0]], cut[2] - cut[1], *shape[cut[0] + 1 :])
            found.setdefault(tensor.name, _Place(path, tensor, shape, cut))
    wanted = list(found) if names is None else list(dict.fromkeys(names))
    for name in [*wanted, *slices.slices]:
        if name not in found:
            raise _unknown(exact, name, seen)
    return [found[name] for name in wanted]


def _unknown(exact: str, name: str, known: Iterable[str]) -> NotFoundError:
    near = difflib.get_close_matches(name, list(known), 1)
    return NotFoundError(
        f"{exact} has no tensor {name}", remedy=f"did you mean {near[0]}?" if near else ""
    )


def _files_with(
    exact: str, sizes: Mapping[str, int], names: Sequence[str] | None
) -> Generator[Call[Any], Any, list[str]]:
    """The files that have the wanted tensors, by the index of the model or all there are."""
    if INDEX not in sizes:
        files = sorted(path for path in sizes if path.endswith(SUFFIX))
        if not files:
            raise NotFoundError(f"{exact} has no safetensors files")
        return files
    if sizes[INDEX] > MAX_HEADER:
        raise MalformedError(f"{INDEX} is {sizes[INDEX]} bytes long; {MAX_HEADER} is the most")
    data = yield from _read(exact, INDEX, iter([(0, sizes[INDEX])]))
    where = _weight_map(data)
    for name in names or ():
        if name not in where:
            raise _unknown(exact, name, where)
    files = sorted({where[name] for name in names} if names is not None else set(where.values()))
    for path in files:
        if path not in sizes:
            raise NotFoundError(f"{INDEX} names {path}, which {exact} does not have")
    return files


def _weight_map(data: bytes | bytearray) -> dict[str, str]:
    try:
        where = json.loads(data).get("weight_map")
    except (ValueError, AttributeError, RecursionError):
        where = None
    if not isinstance(where, dict) or not all(isinstance(path, str) for path in where.values()):
        raise MalformedError(f"{INDEX} has no proper weight_map")
    return where


def _header(exact: str, path: str, size: int) -> Generator[Call[Any], Any, tuple[Tensor, ...]]:
    """The tensors of one file. Raises `MalformedError` for a header that breaks a rule."""
    data = bytearray()
    total = min(FIRST, size)
    while True:
        data += yield from _read(exact, path, iter([(len(data), total)]))
        try:
            found = safetensors.parse(data, size)
        except MalformedError as error:
            raise MalformedError(f"{path}: {error.message}", remedy=error.remedy) from error
        if not isinstance(found, More):
            return found.tensors
        total = found.total


def _read(exact: str, path: str, ranges: Iterator[Range]) -> Generator[Call[Any], Any, bytearray]:
    data = bytearray()
    for batch in batches(ranges):
        data += yield calls.read_ranges(exact, path, batch)
    return data
