"""The verified files of a release as a folder, for a server that reads files by their names.

Every file is read and checked piece by piece right before the server starts. Small files (the
configuration, the tokenizer, Python where it may run) are copies, written from the buffers in which
they were checked. Weights are links to where they lie: a second copy would take as much room again.
What the server then reads of them is not checked any more; but that they have not been changed
since is looked at once more after it has loaded (`require_unchanged`).

Rules it keeps:
 * a file that may run code when it is loaded is not there: no pickle ever, no Python unless
   `RunOptions` allow;
 * on the first wrong byte there is no folder;
 * nobody else can read it, and it goes with whoever made it (`private_folder`).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from p2phub.errors import DamagedBlobError, EngineError, UnsupportedError, plain_errors
from p2phub.formats.limits import MIB
from p2phub.formats.paths import check_path, check_unique, is_pickle
from p2phub.inference.private_folder import PrivateFolder
from p2phub.inference.spec import ModelFile, ModelSpec

AT_ONCE: Final = 4
"""Files that are read at once: more of them gain nothing on the disks we know."""
MAX_COPY: Final = 64 * MIB
"""The longest file that is copied, and read whole into memory for that."""
TELL_EVERY: Final = 16 * MIB
_WEIGHTS: Final = (".safetensors", ".gguf")
_CODE: Final = (".py", ".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib")
_MODEL: Final = "model"
_TEMPORARY: Final = "tmp"

Tell = Callable[[str, int, int], None]
"""How it goes: (what is done now, bytes done, bytes in all)."""


@dataclass(slots=True)
class _Progress:
    tell: Tell
    total: int
    done: int = 0

    def add(self, count: int) -> None:
        self.done += count
        self.tell("checking files", self.done, self.total)


@dataclass(slots=True)
class VerifiedFolder:
    """Made by `verified_folder`; removed by `remove`."""

    private: PrivateFolder
    read_bytes: int = 0
    """Bytes that were read and found right."""
    weight_bytes: int = 0
    _stamps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the system said of each linked file before it was read, by its path."""

    @property
    def path(self) -> Path:
        """Where the files are."""
        return self.private.path / _MODEL

    @property
    def temporary(self) -> Path:
        """An empty folder beside them, for what the server writes."""
        return self.private.path / _TEMPORARY

    def require_unchanged(self) -> None:
        """Raise `DamagedBlobError` if a file behind a link is not the one that was read."""
        for where, before in self._stamps.items():
            try:
                same = _stamp(os.stat(where)) == before
            except OSError:
                same = False
            if not same:
                raise DamagedBlobError(
                    f"{where} was changed while the server loaded it",
                    remedy="run `p2phub verify`, and ask again",
                )

    def remove(self) -> None:
        """Remove the folder; the files behind its links stay."""
        self.private.remove()


async def verified_folder(spec: ModelSpec, tell: Tell) -> VerifiedFolder:
    """Check the files of `spec`, all of which are here, and put them into a folder.

    Raises `DamagedBlobError` for one that is not what was signed, `UnsupportedError` for one that
    may not be there, `EngineError` if there is no room for the folder. Cancelled, it leaves none.
    """
    for file in spec.files:
        check_path(file.path)
        _check_allowed(file, code=spec.options.allow_remote_code)
    check_unique(file.path for file in spec.files)
    progress = _Progress(tell, sum(file.content.size for file in spec.files))
    progress.add(0)
    turns = trio.CapacityLimiter(AT_ONCE)
    made = VerifiedFolder(await trio.to_thread.run_sync(_new_folder))
    try:
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for file in spec.files:
                    nursery.start_soon(_taken, made, file, progress, turns)
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(made.remove)
        raise
    return made


def _new_folder() -> PrivateFolder:
    try:
        made = PrivateFolder()
        for name in (_MODEL, _TEMPORARY):
            (made.path / name).mkdir(mode=0o700)
    except OSError as error:
        raise _no_room(error) from error
    return made


async def _taken(
    made: VerifiedFolder, file: ModelFile, progress: _Progress, turns: trio.CapacityLimiter
) -> None:
    await trio.to_thread.run_sync(_take, made, file, progress, limiter=turns)


def _take(made: VerifiedFolder, file: ModelFile, progress: _Progress) -> None:
    """Read a file, check it, and put it into the folder. In a thread, for as long as it takes."""
    try:
        source = os.open(file.where, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _damaged(file, f"cannot be read: {error.strerror}") from error
    try:
        before = os.fstat(source)
        if before.st_size != file.content.size:
            raise _damaged(file, f"has {before.st_size} bytes instead of {file.content.size}")
        copied = not file.name.lower().endswith(_WEIGHTS) and file.content.size <= MAX_COPY
        data = bytearray()
        for piece in _pieces(file, source, progress):
            if copied:
                data += piece
    finally:
        os.close(source)
    made.read_bytes += file.content.size
    try:
        if copied:
            made.private.write((_MODEL, *file.path), bytes(data))
        else:
            place = made.path.joinpath(*file.path)
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.symlink_to(file.where)
            made.weight_bytes += file.content.size
            made._stamps[file.where] = _stamp(before)
    except OSError as error:
        raise _no_room(error) from error


def _pieces(file: ModelFile, source: int, progress: _Progress) -> Iterator[bytes]:
    """The pieces of an open file, each of them checked. Raises `Cancelled` if nobody waits."""
    table, told = file.table(), 0
    for number in range(table.count):
        trio.from_thread.check_cancelled()
        start, length = table.offset(number), table.length(number)
        try:
            piece = os.pread(source, length, start)
        except OSError as error:
            raise _damaged(file, f"cannot be read: {error.strerror}") from error
        if not table.check(number, piece):
            raise _damaged(file, f"is not what was published: piece {number} is wrong")
        yield piece
        end = start + length
        if end - told >= TELL_EVERY or end == table.size:
            trio.from_thread.run_sync(progress.add, end - told)
            told = end


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """What changes with a file, and cannot all be set back by a program."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_allowed(file: ModelFile, *, code: bool) -> None:
    name = file.name.lower()
    if is_pickle(file.path) or (name.endswith(_CODE) and not (code and name.endswith(".py"))):
        raise UnsupportedError(
            f"{file.name} may run code when it is loaded", remedy="load a release without it"
        )


def _damaged(file: ModelFile, what: str) -> DamagedBlobError:
    return DamagedBlobError(
        f"{file.name} {what}", remedy="run `p2phub verify` to find and fetch what is damaged"
    )


def _no_room(error: OSError) -> EngineError:
    return EngineError(
        f"there can be no folder for the server: {error.strerror}",
        remedy="make room in the folder for temporary files",
    )
