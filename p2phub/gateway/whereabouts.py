"""How other programs of this user find the gateway and prove that they are this user's.

Two files under the home folder, both 0600:

  * `run/token`, the token: 32 random bytes as text, made once and kept, so that a program that was
    started before the node was restarted still holds the right one;
  * `run/gateway`, the URL, there while the gateway runs. Its writer holds a lock (`flock`) on it
    that the kernel takes away when the process dies, however it dies: a file that can be locked is
    a left-over, and nobody sends a token to whoever has the port now.

Both are written beside and renamed into place: a reader sees the whole or nothing.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from p2phub.errors import RefusedError

TOKEN_BYTES: Final = 32
MIN_TOKEN_TEXT: Final = 32
"""Characters; a shorter token in the file is not one of ours and is replaced."""


def keep_token(path: Path) -> str:
    """The token of this home, made now if there is none. Raises `RefusedError` if it cannot be."""
    with _as_ours(path):
        _private_folder(path.parent)
        with suppress(FileNotFoundError):
            path.chmod(0o600)
            text = path.read_text("ascii", errors="replace").strip()
            if len(text) >= MIN_TOKEN_TEXT and text.isascii():
                return text
        token = secrets.token_urlsafe(TOKEN_BYTES)
        os.close(_write(path, token + "\n"))
        return token


@contextmanager
def announced(path: Path, url: str) -> Iterator[None]:
    """Keep `url` in the file `path`, locked, for as long as the block runs."""
    with _as_ours(path):
        _private_folder(path.parent)
        fd = _write(path, url + "\n", lock=True)
    try:
        yield
    finally:
        with suppress(OSError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                path.unlink()
        os.close(fd)


def _write(path: Path, text: str, *, lock: bool = False) -> int:
    """Put `text` at `path` in one step; the descriptor of the open file, perhaps locked."""
    beside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if lock:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, text.encode())
        os.fsync(fd)
        beside.rename(path)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            beside.unlink()
        raise
    return fd


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _as_ours(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="Other commands find the node by this file; make its folder writable.",
        ) from error
