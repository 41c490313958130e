"""Where verified bytes become tensors: in the buffer they were read into, or on a device.

`InPlace` is for a processor: the buffer that a file was read into and checked in is the memory of
its tensors, without a copy. `Staged` is for what must move or change its type: chunks pass through
a few buffers (pinned ones for CUDA, so that reading, checking and copying overlap), and a buffer is
used again only once its copy is done.

Rules they keep:
 * a tensor is given out only after every chunk of its file was read without an error;
 * what is copied is the buffer that was checked;
 * only floating point of 16 to 64 bits is converted: integers and quantised types stay what they
   are;
 * memory that is not there is `NoMemoryError`, which says how much was asked for.
"""

import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock, local
from typing import Any, Final, Protocol

import torch

from p2phub.errors import NoMemoryError, UnsupportedError, UsageError
from p2phub.formats.limits import MIB
from p2phub.formats.tensors import Header, Tensor
from p2phub.inference.worker.verified import CHUNK, Chunk, VerifiedFile

_NAMES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32",
    "U32": "uint32", "I64": "int64", "U64": "uint64", "F64": "float64", "F32": "float32",
    "F16": "float16", "BF16": "bfloat16", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1fn_x2",
}  # fmt: skip
_CONVERTED: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_ALIGNMENT: Final = 64
"""Bytes at which the first tensor of a buffer lies: what vector instructions like."""
_AHEAD: Final = 2
"""Buffers of each thread: one is filled while the other is copied."""


def as_dtype(dtype: Any) -> Any:
    """The torch type of a name such as `bfloat16`; None stays None. Raises `UsageError`."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found is not None and not isinstance(found, torch.dtype):
        found = None
    if found is None and dtype is not None:
        raise UsageError(f"{dtype!r} is no type of numbers", remedy="use bfloat16 or float32")
    return found


def dtype_of(tensor: Tensor) -> Any:
    """The torch type of a tensor in a file. Raises `UnsupportedError`."""
    found = getattr(torch, _NAMES.get(tensor.dtype, ""), None)
    if found is None:
        raise UnsupportedError(
            f"{tensor.name} is of the type {tensor.dtype}, which this torch does not know",
            remedy="install a newer torch, or choose another variant of the model",
        )
    return found


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Its shape in torch, where two numbers of 4 bits are one element."""
    if tensor.dtype != "F4":
        return tensor.shape
    if not tensor.shape or tensor.shape[-1] % 2:
        raise UnsupportedError(f"{tensor.name} has an odd number of 4-bit elements in a row")
    return (*tensor.shape[:-1], tensor.shape[-1] // 2)


def final_dtype(tensor: Tensor, wanted: Any) -> Any:
    """The type a tensor has once it is loaded."""
    own = dtype_of(tensor)
    return wanted if wanted is not None and own in _CONVERTED else own


@contextmanager
def enough_memory(size: int, where: str) -> Iterator[None]:
    """Turn what says that memory ran out into `NoMemoryError`."""
    try:
        yield
    except (MemoryError, OSError, torch.OutOfMemoryError) as error:
        raise NoMemoryError(
            f"there is no room for {size / MIB:.0f} MiB of weights on {where}",
            remedy="unload another model, or choose a smaller or quantised variant",
        ) from error


class Place(Protocol):
    """Where the tensors of one file go."""

    def take(self, chunk: Chunk) -> None:
        """Read and check a chunk, and put it where it belongs. From any thread."""
        ...

    def tensors(self) -> dict[str, Any]:
        """The tensors, once all chunks were taken."""
        ...


class InPlace:
    """The tensors of one file, in the memory it is read into."""

    def __init__(self, source: VerifiedFile, header: Header, start: int) -> None:
        self._source, self._header = source, header
        self._shift = -(header.length - start) % _ALIGNMENT - start
        size = max(1, source.table.size + self._shift)
        with enough_memory(size, "this machine"):
            self._buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._buffer.madvise(mmap.MADV_HUGEPAGE)

    def take(self, chunk: Chunk) -> None:
        view = memoryview(self._buffer)
        self._source.read(chunk, view[chunk.start + self._shift : chunk.stop + self._shift])

    def tensors(self) -> dict[str, Any]:
        return {tensor.name: self._tensor(tensor) for tensor in self._header.tensors}

    def _tensor(self, tensor: Tensor) -> Any:
        dtype, shape = dtype_of(tensor), shape_of(tensor)
        length, start = tensor.stop - tensor.start, tensor.start + self._shift
        if length == 0:
            return torch.empty(shape, dtype=dtype)
        flat = torch.frombuffer(self._buffer, dtype=torch.uint8, count=length, offset=start)
        if start % dtype.itemsize:
            flat = flat.clone()
        return flat.view(dtype).view(shape)


class _Slot:
    """A buffer that chunks pass through."""

    def __init__(self, pinned: bool) -> None:
        with enough_memory(CHUNK, "this machine"):
            self.bytes = torch.empty(CHUNK, dtype=torch.uint8, pin_memory=pinned)
        self.view = memoryview(self.bytes.numpy())
        self.copied: Any = None
        """The event after which it may be filled again."""


class Upload:
    """The way to one device: its stream of copies, and the buffers of each thread."""

    def __init__(self, device: str, dtype: Any) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._cuda = self.device.type == "cuda"
        self._slots = local()
        self.lock = Lock()
        self._stream = torch.cuda.Stream(self.device) if self._cuda else None

    def start(self) -> None:
        """To be called once what is copied to was made: copies come after it."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))

    def finish(self) -> None:
        """Wait until every copy is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def on_stream(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def slot(self) -> _Slot:
        """A buffer of this thread that no copy reads any more."""
        if not hasattr(self._slots, "ring"):
            self._slots.ring = [_Slot(self._cuda) for _ in range(_AHEAD if self._cuda else 1)]
        self._slots.ring.append(self._slots.ring.pop(0))
        slot: _Slot = self._slots.ring[-1]
        if slot.copied is not None:
            slot.copied.synchronize()
        return slot

    def sent(self, slot: _Slot) -> None:
        """Its copies are under way."""
        if self._stream is not None:
            slot.copied = torch.cuda.Event()
            slot.copied.record(self._stream)


class _Target:
    """One tensor on its way."""

    def __init__(self, tensor: Tensor, upload: Upload) -> None:
        self.tensor = tensor
        self.dtype, self.shape = dtype_of(tensor), shape_of(tensor)
        final = final_dtype(tensor, upload.dtype)
        self.left = tensor.stop - tensor.start
        with enough_memory(self.left, str(upload.device)):
            self.final = torch.empty(self.shape, dtype=final, device=upload.device)
        same = final == self.dtype and self.left > 0
        self.raw = self.final.view(-1).view(torch.uint8) if same else None
        self.converts = final != self.dtype

    def fits(self, part: Any) -> bool:
        """Whether a part of a buffer is all of it, and lies as its type wants it."""
        aligned = part.storage_offset() % self.dtype.itemsize == 0
        return bool(aligned and part.numel() == self.tensor.stop - self.tensor.start)


class Staged:
    """The tensors of one file, on a device or of another type."""

    def __init__(self, source: VerifiedFile, header: Header, upload: Upload) -> None:
        self._source, self._upload = source, upload
        self._targets = [_Target(each, upload) for each in header.tensors]
        self._full = [each for each in self._targets if each.left]
        upload.start()

    def take(self, chunk: Chunk) -> None:
        slot = self._upload.slot()
        self._source.read(chunk, slot.view[: chunk.stop - chunk.start])
        with self._upload.on_stream():
            for target in self._within(chunk):
                self._copy(target, chunk, slot.bytes)
            self._upload.sent(slot)

    def tensors(self) -> dict[str, Any]:
        return {each.tensor.name: each.final for each in self._targets}

    def _within(self, chunk: Chunk) -> Sequence[_Target]:
        """The tensors that have bytes in `chunk`."""
        first = bisect_right(self._full, chunk.start, key=lambda each: each.tensor.stop)
        last = bisect_left(self._full, chunk.stop, key=lambda each: each.tensor.start)
        return self._full[first:last]

    def _copy(self, target: _Target, chunk: Chunk, buffer: Any) -> None:
        """Put what `chunk` has of a tensor in its place, and convert it once it is whole."""
        tensor = target.tensor
        start, stop = max(tensor.start, chunk.start), min(tensor.stop, chunk.stop)
        part = buffer[start - chunk.start : stop - chunk.start]
        if self._upload.device.type == "cpu" and target.fits(part):
            target.final.copy_(part.view(target.dtype).view(target.shape))
            return
        with self._upload.lock, enough_memory(tensor.stop - tensor.start, "the device"):
            if target.raw is None:
                target.raw = torch.empty(
                    tensor.stop - tensor.start, dtype=torch.uint8, device=self._upload.device
                )
        place = target.raw[start - tensor.start : stop - tensor.start]
        place.copy_(part, non_blocking=True)
        with self._upload.lock:
            target.left -= stop - start
            whole = target.left == 0
        if whole and target.converts:
            target.final.copy_(target.raw.view(target.dtype).view(target.shape))
            target.raw = None
