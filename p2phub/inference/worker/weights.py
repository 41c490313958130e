"""The files of one release, as an engine is given them: every byte checked where it is used.

Small files (the configuration, the tokenizer) are written from checked buffers into a private
folder, which libraries read; weights are never there. Tensors come as a state dict, and a GGUF file
as memory that nobody can write to any more.

Rules it keeps:
 * nothing is loaded that may execute code: no pickle ever, Python files only if `RunOptions` allow;
 * on the first wrong byte nothing is given out, and nobody who waits for more goes on waiting;
 * a name that comes twice, or that an index promises and no file has, is an error;
 * what is still fetched is read as it comes, so that a model is loaded with its last byte;
 * `close` removes the folder and the memory files. Tensors live on.
"""

import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Lock, local
from types import TracebackType
from typing import Any, Final, Self

from p2phub.errors import MalformedError, NotFoundError, P2PHubError
from p2phub.formats import weights as formats
from p2phub.formats.limits import MIB
from p2phub.formats.paths import check_path, check_unique, is_pickle
from p2phub.formats.tensors import Header, More
from p2phub.inference.private_folder import PrivateFolder
from p2phub.inference.spec import Adapter, ModelFile, ModelSpec
from p2phub.inference.worker.as_it_comes import Job, as_it_comes
from p2phub.inference.worker.placing import (
    InPlace,
    Place,
    Staged,
    Upload,
    as_dtype,
    dtype_of,
    enough_memory,
    final_dtype,
)
from p2phub.inference.worker.sealed import SEALS
from p2phub.inference.worker.shards import SUFFIX, Shards, find_shards
from p2phub.inference.worker.verified import (
    CHUNK,
    Arrivals,
    Chunk,
    Item,
    VerifiedFile,
    chunks,
    in_threads,
    readers,
)

MAX_SMALL: Final = 256 * MIB
"""The longest file that is put into the folder."""
_BIG: Final = (SUFFIX, ".gguf", ".onnx", ".onnx_data", ".h5", ".msgpack", ".tflite", ".ot", ".npz")
_CODE: Final = (".py",)
_NEVER: Final = (".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib")
_WRITES: Final = 4 * MIB
"""Bytes of a memory file that are checked and written at a time."""

Tell = Callable[[str, int, int], None]


class Weights:
    """The verified files of one model. `tell` hears how reading goes: (what, bytes, of bytes)."""

    def __init__(
        self, spec: ModelSpec, arrivals: Arrivals | None = None, tell: Tell | None = None
    ) -> None:
        for file in spec.files:
            check_path(file.path)
        check_unique(file.path for file in spec.files)
        self.spec = spec
        self.read_bytes = 0
        """Bytes that were read and checked so far."""
        self._arrivals, self._tell = arrivals, tell
        self._lock = Lock()
        self._folder: PrivateFolder | None = None
        self._memory: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and close the memory files. May be called twice."""
        self.unseal()
        if self._folder is not None:
            self._folder.remove()
        self._folder = None

    def unseal(self) -> None:
        """Close the memory files: what is mapped of them, or open elsewhere, lives on."""
        for descriptor in self._memory.values():
            os.close(descriptor)
        self._memory.clear()

    def beside(self, adapter: Adapter) -> "Weights":
        """The files of an adapter for this model. Whoever asks closes them."""
        return Weights(replace(self.spec, files=adapter.files, adapters=()))

    def folder(self) -> Path:
        """A private folder with the small files of the release."""
        if self._folder is None:
            self._folder = self._filled(PrivateFolder())
        return self._folder.path

    def read(self, name: str) -> bytes:
        """All bytes of one file. Raises `NotFoundError`."""
        with self._open(self._named(name)) as source:
            return bytes(source.prefix(source.table.size)) if source.table.size else b""

    def headers(self, under: str = "") -> tuple[tuple[ModelFile, Header], ...]:
        """What the weights files say of themselves: safetensors, or GGUF where there is none."""
        if any(file.name.endswith(SUFFIX) for file in self.spec.files):
            files = [self._named(name) for name in self._shards(under).names]
        else:
            files = [file for file in self.spec.files if file.name.endswith(".gguf")]
        found = []
        for file in files:
            with self._open(file) as source:
                found.append((file, _header(source)))
        return tuple(found)

    def state_dict(self, device: str = "cpu", dtype: Any = None, under: str = "") -> dict[str, Any]:
        """Every tensor by its name, on `device`; floating point as `dtype`, unless that is None.

        `under` is the folder of a part of the model. Raises `WrongBytesError` (for a complete
        file `DamagedBlobError`), `MalformedError`, `NotFoundError`, `UnsupportedError`,
        `NoMemoryError`, and what ended the arrivals.
        """
        shards = self._shards(under)
        files = [self._named(name) for name in shards.names]
        wanted = as_dtype(dtype)
        upload = Upload(device, wanted)
        progress = _Progress(self._tell, sum(file.content.size for file in files))
        found: dict[str, Any] = {}
        for tensors in self._load(files, upload, progress):
            found.update(tensors)
        _require_all(shards, found.keys())
        return found

    def sealed(self) -> dict[str, int]:
        """Descriptors of memory with the files of `state_dict`, for several processes.

        Raises as `state_dict`.
        """
        shards, seen = self._shards(""), set[str]()
        found = {}
        for name in shards.names:
            file = self._named(name)
            with self._open(file) as source:
                _check_new(file, _header(source), seen)
            found[name] = self.memory_file(name)
        _require_all(shards, seen)
        return found

    def memory_file(self, name: str) -> int:
        """A descriptor of memory with the bytes of one file, which nobody can change any more.

        It lives until `close`. Programs open it as `/proc/self/fd/N`.
        """
        if name not in self._memory:
            with self._open(self._named(name)) as source:
                self._memory[name] = self._into_memory(source)
        return self._memory[name]

    def _shards(self, under: str) -> Shards:
        return find_shards([file.name for file in self.spec.files], self.read, under)

    def _named(self, name: str) -> ModelFile:
        file = self.spec.find(name)
        if file is None:
            raise NotFoundError(f"{self.spec.name} has no file {name}")
        return file

    def _open(self, file: ModelFile) -> VerifiedFile:
        return VerifiedFile(file, self._arrivals)

    def _filled(self, folder: PrivateFolder) -> PrivateFolder:
        try:
            for file in self.spec.files:
                if self._is_small(file):
                    folder.write(file.path, self.read(file.name))
        except BaseException:
            folder.remove()
            raise
        return folder

    def _is_small(self, file: ModelFile) -> bool:
        name = file.name.lower()
        if is_pickle(file.path) or name.endswith(_BIG) or name.endswith(_NEVER):
            return False
        if name.endswith(_CODE) and not self.spec.options.allow_remote_code:
            return False
        return file.content.size <= MAX_SMALL

    def _load(
        self,
        files: Sequence[ModelFile],
        upload: Upload,
        progress: "_Progress",
    ) -> list[dict[str, Any]]:
        """The tensors of these files. If they are here, all are planned before the first is read;
        else each is as soon as its header came, and what came first is read first."""
        with ExitStack() as stack:
            places: list[Place] = []
            jobs = self._planned(files, upload, stack, places)
            take = self._guarded(lambda job: self._take(job, progress))
            try:
                self._read_all(jobs, take)
            finally:
                upload.finish()
            return [place.tensors() for place in places]

    def _planned(
        self, files: Sequence[ModelFile], upload: Upload, stack: ExitStack, places: list[Place]
    ) -> Iterator[Job[tuple[Place, Chunk]]]:
        """What there is to read, file after file; where it goes is added to `places`."""
        seen: set[str] = set()
        for file in files:
            source = stack.enter_context(self._open(file))
            header = _header(source)
            _check_new(file, header, seen)
            place, start = _place(source, header, upload)
            places.append(place)
            most = CHUNK if file.complete else MIB
            for chunk in chunks(source.table, start, source.table.size, most):
                yield Job(file, chunk, (place, chunk))

    def _read_all(self, jobs: Iterable[Job[Item]], take: Callable[[Item], None]) -> None:
        """Do `take` for what is to be read, as it comes if any of it is still to come."""
        if self._arrivals is None or all(file.complete for file in self.spec.files):
            in_threads([each.item for each in jobs], take, readers())
        else:
            as_it_comes(self._arrivals, jobs, take, readers())

    def _take(self, job: tuple[Place, Chunk], progress: "_Progress") -> None:
        place, chunk = job
        place.take(chunk)
        with self._lock:
            self.read_bytes += chunk.stop - chunk.start
        progress.add(chunk.stop - chunk.start)

    def _into_memory(self, source: VerifiedFile) -> int:
        """The file as a sealed memory file, written from buffers in which it was checked."""
        size = source.table.size
        progress = _Progress(self._tell, size)
        scratch = local()

        def write(chunk: Chunk) -> None:
            if not hasattr(scratch, "view"):
                scratch.view = memoryview(bytearray(_WRITES))
            view = scratch.view[: chunk.stop - chunk.start]
            source.read(chunk, view)
            _write_all(descriptor, view, chunk.start)
            with self._lock:
                self.read_bytes += len(view)
            progress.add(len(view))

        name = source.file.path[-1].encode()[:200].decode(errors="ignore")
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            parts = chunks(source.table, 0, size, _WRITES)
            jobs = (Job(source.file, chunk, chunk) for chunk in parts)
            self._read_all(jobs, self._guarded(write))
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _guarded(self, work: Callable[[Any], None]) -> Callable[[Any], None]:
        """`work`, whose error also ends the waiting for what has not come yet."""

        def guarded(item: Any) -> None:
            try:
                work(item)
            except P2PHubError as error:
                if self._arrivals is not None:
                    self._arrivals.fail(error)
                raise

        return guarded


class _Progress:
    """Tells how far reading has come."""

    def __init__(self, tell: Tell | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._tell is not None:
                self._tell("reading weights", self._done, self._total)


def _header(source: VerifiedFile) -> Header:
    """What a weights file says of itself, from checked pieces.

    Raises `MalformedError`, which names it.
    """
    try:
        return _read_header(source)
    except MalformedError as error:
        raise MalformedError(f"{source.file.name}: {error.message}", remedy=error.remedy) from error


def _read_header(source: VerifiedFile) -> Header:
    size = source.table.size
    prefix = source.prefix(formats.SNIFF) if size else memoryview(b"")
    found = formats.parse(prefix, size)
    while isinstance(found, More):
        if found.total <= len(prefix):
            raise MalformedError("its header has no end")
        prefix = source.prefix(found.total)
        found = formats.parse(prefix, size)
    return found


def _check_new(file: ModelFile, header: Header, seen: set[str]) -> None:
    """Refuse what is no safetensors file, and a tensor that another file has too."""
    if header.format != "safetensors":
        raise MalformedError(f"{file.name} is a {header.format} file by its content")
    for tensor in header.tensors:
        if tensor.name in seen:
            raise MalformedError(
                f"the tensor {tensor.name} of {file.name} is in another file too",
                remedy="its publisher has to add an index that says which one counts",
            )
        seen.add(tensor.name)


def _require_all(shards: Shards, found: Collection[str]) -> None:
    """Refuse files in which a tensor is missing that the index names."""
    missing = sorted(shards.expected.difference(found))
    if missing:
        raise MalformedError(
            f"{missing[0]} is in none of the files that the index names",
            remedy="its publisher has to publish the model whole",
        )


def _place(source: VerifiedFile, header: Header, upload: Upload) -> tuple[Place, int]:
    """Where the tensors of a file go, and the byte from which it is read."""
    start = header.length
    if start < source.table.size:
        first, _ = source.table.pieces_covering(start, source.table.size)
        start = source.table.offset(first)
    stays = all(final_dtype(each, upload.dtype) == dtype_of(each) for each in header.tensors)
    if upload.device.type == "cpu" and stays:
        return InPlace(source, header, start), header.length
    return Staged(source, header, upload), header.length


def _write_all(descriptor: int, view: memoryview, start: int) -> None:
    with enough_memory(len(view), "this machine"):
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], start + done)
