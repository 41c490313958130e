"""A bundle sealed to the keys of whom it is for: each file of it is a file of age.

`pieces-0001.pack.age` stands where `pieces-0001.pack` would. What is in the files is what lies in a
plain bundle, so everything else is the same: what was pulled out early is resumed, and what comes
is checked as ever. Only the README that a person reads is not sealed.

Rules it keeps:
 * who seals can open it too, or could not go on with it;
 * what is sealed to somebody else is left alone, and no name of it is used again;
 * an export reuses what was sealed by the same node to the same recipients, and nothing else: a
   piece that another cannot open is not there for them;
 * who has no key sees how much there is and how it is split, and no name of a repo, no digest.

>>> SUFFIX
'.age'
"""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.airgap.volume import NAME, README, NewFile, NewVolume, StoredFile, Volume
from p2phub.errors import GarbageError, MalformedError, NoSourceError
from p2phub.formats.limits import MIB
from p2phub.store.disk import Progress, no_progress
from p2phub.trust.age import (
    CHUNK,
    FILE_KEY,
    MAX_HEADER,
    PAYLOAD_NONCE,
    TAG,
    Identity,
    Payload,
    chunks_of,
    opened,
    plain_size,
    read_header,
    sealed_header,
)

SUFFIX: Final = ".age"
_STEP: Final = CHUNK + TAG
_EPHEMERAL: Final = 32
_TOGETHER: Final = MIB // CHUNK
"""Chunks that are handed on at a time."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Whom a bundle is for, and who seals it."""

    identity: Identity
    recipients: tuple[bytes, ...]
    """X25519 keys; the one of `identity` need not be among them, and is added."""

    @property
    def everybody(self) -> tuple[bytes, ...]:
        """All who can open it, sorted."""
        return tuple(sorted({*self.recipients, self.identity.recipient}))

    @property
    def mark(self) -> bytes:
        """What is in each file that was sealed like this."""
        return self.identity.mark(self.everybody)


@dataclass(frozen=True, slots=True)
class _Key:
    """What opens one file."""

    payload: Payload
    start: int
    """Where its chunks begin."""


class Unsealed:
    """What of a `volume` these identities can open, beside what is not sealed.

    With `only`, what is not sealed and what bears another mark is named as if it were sealed to
    somebody else: its names are taken, and nothing of it is used.
    """

    def __init__(
        self, volume: Volume, identities: Sequence[Identity], only: bytes | None = None
    ) -> None:
        self.path: Path = volume.path
        self._volume, self._identities, self._only = volume, tuple(identities), only
        self._keys: dict[str, _Key] = {}
        self._lock = threading.Lock()

    def names(self) -> Iterator[str]:
        """See `Volume.names`. What cannot be opened keeps its whole name."""
        for name in self._volume.names():
            plain = name.removesuffix(SUFFIX)
            if NAME.fullmatch(plain) is None:
                yield name
            elif plain != name:
                yield plain if self._opens(plain) else name
            else:
                yield name if self._only is None else name + SUFFIX

    def open(self, name: str) -> StoredFile:
        """See `Volume.open`."""
        if name not in self._keys and self._only is not None:
            self._opens(name)  # it was written after the others were listed
        key = self._keys.get(name)
        if key is None:
            return self._volume.open(name)
        return _SealedFile(self._volume.open(name + SUFFIX), key, f"{self.path}: {name}{SUFFIX}")

    def close(self) -> None:
        self._volume.close()

    def _opens(self, name: str) -> bool:
        """Whether a sealed file is for one of the identities."""
        try:
            head = self._head(name + SUFFIX)
            header = read_header(head)
            key = opened(header, self._identities)
        except (MalformedError, NoSourceError):
            return False
        if key is None or self._only not in (None, header.mark):
            return False
        nonce = head[header.size :][:PAYLOAD_NONCE]
        with self._lock:
            self._keys[name] = _Key(Payload(key, nonce), header.size + PAYLOAD_NONCE)
        return True

    def _head(self, name: str) -> bytes:
        file = self._volume.open(name)
        try:
            return file.pread(MAX_HEADER, 0)
        finally:
            file.close()


class _SealedFile:
    """A file of age that is open. `where`: what it is called in messages."""

    def __init__(self, file: StoredFile, key: _Key, where: str) -> None:
        self._file, self._key, self._where = file, key, where
        try:
            self.size = plain_size(max(0, file.size - key.start))
        except MalformedError as error:
            file.close()
            raise GarbageError(f"{where}: {error.message}") from None
        self._last = chunks_of(self.size) - 1

    def pread(self, length: int, offset: int) -> bytes:
        """See `StoredFile.pread`. Raises `GarbageError` for what was changed."""
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        first, last = offset // CHUNK, (stop - 1) // CHUNK
        at = self._key.start + first * _STEP
        sealed = memoryview(self._file.pread((last - first + 1) * _STEP, at))
        data = b"".join(
            self._chunk(index, sealed[(index - first) * _STEP :][:_STEP])
            for index in range(first, last + 1)
        )
        begin = offset - first * CHUNK
        return data[begin : begin + stop - offset]

    def _chunk(self, index: int, sealed: memoryview) -> bytes:
        try:
            return self._key.payload.open(index, bytes(sealed), last=index == self._last)
        except MalformedError as error:
            raise GarbageError(f"{self._where}: {error.message}") from None

    def is_there(self) -> bool:
        return self._file.is_there()

    def close(self) -> None:
        self._file.close()


class NewSealed:
    """A bundle whose files are sealed before they go into another."""

    def __init__(self, into: NewVolume, seal: Seal) -> None:
        self.path: Path = into.path
        self.one_at_a_time: bool = into.one_at_a_time
        self._into, self._seal = into, seal

    def look(self) -> Volume:
        """See `NewVolume.look`: what was sealed by the same node to the same recipients."""
        return Unsealed(self._into.look(), [self._seal.identity], self._seal.mark)

    def create(self, name: str) -> NewFile:
        """See `NewVolume.create`."""
        return _NewSealedFile(self._into.create(name + SUFFIX), *self._begin())

    def write(self, name: str, data: bytes) -> None:
        """See `NewVolume.write`."""
        if name == README:
            return self._into.write(name, data)
        header, payload = self._begin()
        last = chunks_of(len(data)) - 1
        chunks = (
            payload.seal(at, data[at * CHUNK : (at + 1) * CHUNK], last=at == last)
            for at in range(last + 1)
        )
        return self._into.write(name + SUFFIX, header + b"".join(chunks))

    def complete(self) -> None:
        self._into.complete()

    def close(self) -> None:
        self._into.close()

    def _begin(self) -> tuple[bytes, Payload]:
        """How a file begins, and what seals the rest of it."""
        key, nonce = os.urandom(FILE_KEY), os.urandom(PAYLOAD_NONCE)
        whom = self._seal.everybody
        shares = [os.urandom(_EPHEMERAL) for _ in whom]
        return sealed_header(key, whom, shares, self._seal.mark) + nonce, Payload(key, nonce)


class _NewSealedFile:
    """A file that is sealed while it is written; what is counted is what is in it."""

    def __init__(self, file: NewFile, header: bytes, payload: Payload) -> None:
        self._file, self._payload = file, payload
        self._waiting, self._index = bytearray(), 0
        self._size = self._read = self._told = 0
        file.append(header)

    def append(self, data: bytes | memoryview, progress: Progress = no_progress) -> None:
        """See `NewFile.append`."""
        self._waiting += data
        self._size += len(data)
        if len(self._waiting) > _TOGETHER * CHUNK:
            self._seal((len(self._waiting) - 1) // CHUNK, progress)

    def finish(self, progress: Progress) -> None:
        """See `NewFile.finish`."""
        self._seal((max(1, len(self._waiting)) - 1) // CHUNK, progress)
        last = self._payload.seal(self._index, bytes(self._waiting), last=True)
        self._file.append(last, self._counted(progress))
        self._file.finish(self._counted(progress))
        progress(self._size - self._told)

    def close(self) -> None:
        self._file.close()

    def _seal(self, count: int, progress: Progress) -> None:
        """Hand on so many chunks, none of which is the last."""
        data = memoryview(bytes(self._waiting[: count * CHUNK]))
        del self._waiting[: count * CHUNK]
        sealed = [
            self._payload.seal(self._index + at, data[at * CHUNK : (at + 1) * CHUNK], last=False)
            for at in range(count)
        ]
        self._index += count
        self._file.append(b"".join(sealed), self._counted(progress))

    def _counted(self, progress: Progress) -> Progress:
        """The same, told of bytes before they were sealed."""

        def told(count: int) -> None:
            self._read += count
            plain = min(self._size, self._read * CHUNK // _STEP)
            progress(plain - self._told)
            self._told = plain

        return told
