"""Tokens that a person makes for other programs and machines, each with what it may do.

    read     what anybody on this machine may without a token: asks models, reads repos
    write    pulls, removes, connects; commits and uploads, in the name of this node's publisher
    admin    everything, as the token of the node: whom to trust, identities, folders of the machine

Each scope includes those before it. The file `run/tokens` (0600) keeps the name, the scope and the
SHA-256 of each, so that who reads it has no token: they are 32 random bytes, which nobody guesses
from a hash. It is renamed into place, and looked at again whenever another one lies there: what is
made or removed holds from the next request on. A file that cannot be used holds no token. What a
token was told while it held, the addresses of an upload, takes bytes until they end (a day at
most); the commit that would make something of them takes a token that holds.

>>> covers("write", "read"), covers("read", "write")
(True, False)
"""

import fcntl
import hmac
import itertools
import json
import logging
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from p2phub.errors import NotFoundError, P2PHubError, RefusedError, UsageError
from p2phub.formats.digest import from_hexadecimal, sha256
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.private_file import read_private, write_again

log = logging.getLogger(__name__)
TokenScope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[TokenScope, ...]] = get_args(TokenScope)
PREFIX: Final = "p2phub_"
"""What every token begins with, so that who finds one knows what it is."""
MAX_TOKENS: Final = 1000
MAX_FILE: Final = 1 << 20
"""Bytes of the file."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token that was made, without the token."""

    name: str
    scope: TokenScope
    created: int
    """Unix time."""
    sha256: str
    """Of the token, in hexadecimal."""


def covers(has: TokenScope, needed: TokenScope) -> bool:
    """Whether who has one scope may do what needs another."""
    return SCOPES.index(has) >= SCOPES.index(needed)


class Tokens:
    """The tokens of one home, in the file `path`. Any process may make or remove some."""

    def __init__(self, path: Path) -> None:
        self._path, self._disk = path, Disk()
        self._known: tuple[MadeToken, ...] = ()
        self._stamp: tuple[int, ...] | None = None
        self._sound = True

    def find(self, shown: bytes) -> MadeToken | None:
        """The token that somebody shows; None for one that was not made, or was removed."""
        self._look()
        digest = sha256(shown)
        # Every token is compared, so that the time taken tells nothing.
        fits = [hmac.compare_digest(bytes.fromhex(each.sha256), digest) for each in self._known]
        return next((each for each, fit in zip(self._known, fits, strict=True) if fit), None)

    def _look(self) -> None:
        """Read the file if it is another one than the last time."""
        stamp = _stamp(self._path)
        if stamp == self._stamp and self._sound:
            return
        try:
            self._known, self._sound = self.every(), True
        except P2PHubError as error:  # looked at again each time: perhaps it was a moment's fault
            if stamp != self._stamp or self._sound:
                log.warning("no token that was made holds: %s", error)
            self._known, self._sound = (), False
        self._stamp = stamp

    def every(self) -> tuple[MadeToken, ...]:
        """All of them. Raises `RefusedError` if others can read the file or it is none of ours."""
        data = read_private(self._path, MAX_FILE, what="the file of tokens")
        return () if data is None else self._parsed(bytes(data))

    def _parsed(self, data: bytes) -> tuple[MadeToken, ...]:
        try:
            found = tuple(MadeToken(**each) for each in json.loads(data)["tokens"])
            if all(map(_is_sound, found)):
                return found
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise RefusedError(
            f"{self._path} is damaged, and none of its tokens holds",
            remedy="remove it, and make new tokens with `p2phub token`",
        )

    def make(self, scope: TokenScope, name: str | None, now: int) -> tuple[MadeToken, str]:
        """A new token, which is told once. Raises `UsageError` for a name that cannot be."""
        with self._held():
            known = self.every()
            name = _free(name, scope, {each.name for each in known})
            token = PREFIX + secrets.token_urlsafe(32)
            made = MadeToken(name, scope, now, sha256(token.encode()).hex())
            self._write((*known, made))
            return made, token

    def remove(self, name: str) -> MadeToken:
        """Let a token hold no more. Raises `NotFoundError`."""
        with self._held():
            known = self.every()
            found = next((each for each in known if each.name == name), None)
            if found is None:
                raise NotFoundError(
                    f'there is no token "{name}"', remedy="`p2phub token ls` tells which there are"
                )
            self._write([each for each in known if each != found])
            return found

    def _write(self, tokens: Sequence[MadeToken]) -> None:
        text = json.dumps({"tokens": [asdict(each) for each in tokens]}, indent=1)
        write_again(self._disk, self._path, text.encode())

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let one process at a time change the file."""
        self._disk.make_private_folder(self._path.parent)
        lock = self._path.with_name(f"{self._path.name}.lock")
        with disk_errors(lock):
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with disk_errors(lock):
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _free(wanted: str | None, scope: TokenScope, taken: Collection[str]) -> str:
    """A name for a token. Raises `UsageError`."""
    if len(taken) >= MAX_TOKENS:
        raise UsageError(
            f"there are {MAX_TOKENS} tokens already", remedy="remove one: `p2phub token rm NAME`"
        )
    if wanted is None:
        return next(each for n in itertools.count(1) if (each := f"{scope}-{n}") not in taken)
    if _NAME.fullmatch(wanted) is None:
        raise UsageError(
            f'"{wanted[:80]}" is no name of a token',
            remedy="take up to 64 letters, digits, dots, dashes and underscores",
        )
    if wanted in taken:
        raise UsageError(
            f'there is a token "{wanted}" already',
            remedy=f"take another name, or remove that one: `p2phub token rm {wanted}`",
        )
    return wanted


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _is_sound(token: MadeToken) -> bool:
    return (
        isinstance(token.name, str)
        and _NAME.fullmatch(token.name) is not None
        and token.scope in SCOPES
        and isinstance(token.created, int)
        and isinstance(token.sha256, str)
        and from_hexadecimal(token.sha256) is not None
    )
