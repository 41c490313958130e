"""What there is below `p2p://`: names, sizes, dates and folders, as fsspec wants to hear of them.

Releases have files only; a folder is there because a file is in it. Above the releases stand the
publishers of what this node knows, and their repos as far as it knows: what is not listed can be
read all the same, by its name.

>>> Tree()._strip_protocol("p2p://lab/minilm@v1/onnx/"), Tree._parent("p2p://lab/minilm")
('lab/minilm@v1/onnx', 'lab')
"""

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from p2phub.client.filesystem_paths import PROTOCOL, Place, parse, strip
from p2phub.client.os_errors import as_os_errors
from p2phub.client.releases import Contents, Releases, Where, releases_of
from p2phub.client.results import FileRow
from p2phub.errors import NoFileError

PATIENCE: Final = 30.0
"""Seconds for which a ref is taken to name what it named last, where nothing else is asked for."""
Info = dict[str, Any]


class Tree(AbstractFileSystem):
    """What there is; `P2PFileSystem` reads it.

    Args:
        home: the node's home folder; `P2PHUB_HOME` or `~/.p2phub` by default.
        url: the URL of a gateway, instead of a home folder.
        token: the token for that URL; found by itself for a node of this machine. One that is given
            is part of what is pickled.
        listings_expiry_time: seconds; what a ref names is asked anew after them (30).
        use_listings_cache: False asks every time.
    """

    protocol = PROTOCOL
    root_marker = ""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        url: str | None = None,
        token: str | None = None,
        *,
        use_listings_cache: bool = True,
        listings_expiry_time: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._where = Where(os.fspath(home) if home is not None else None, url, token)
        patience = PATIENCE if listings_expiry_time is None else float(listings_expiry_time)
        self._patience = patience if use_listings_cache else 0.0

    # ------------------------------------------------------------ names

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return strip(stringify_path(path))

    @property
    def fsid(self) -> str:
        """The same for all that read through the same node."""
        return f"{PROTOCOL}-{self._where.url or self._where.home or 'home'}"

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """What makes it again, for JSON; the token is left out like a password."""
        made: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            made.pop("token", None)
        return made

    # ------------------------------------------------------------ what there is

    def info(self, path: Any, **_: Any) -> Info:
        """Name, size in bytes, type, and of a file: `sha256`, `content`, `commit`, `created`.

        `sha256` is its publisher's claim until a node has hashed the whole file; `content` commits
        to every byte. Raises `FileNotFoundError`, `PermissionError`, `OSError`.
        """
        name = self._strip_protocol(path)
        with as_os_errors(name):
            place = parse(name)
            if place.repo is None:
                if place.publisher:
                    self._releases().repos(place.publisher)
                return _folder(name)
            return _info(name, place, self._contents(place))

    def ls(self, path: Any, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder: of a release; of a publisher, as far as is known here; the root has
        the publishers of what is known here. Of a file, the file. Raises as `info` does.
        """
        name = self._strip_protocol(path)
        with as_os_errors(name):
            place = parse(name)
            if place.repo is None:
                rows = [_folder(each) for each in self._above(place.publisher)]
            else:
                rows = _rows(name, place, self._contents(place))
        return rows if detail else [row["name"] for row in rows]

    def walk(self, path: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As fsspec's; what is there and cannot be read is raised, not left out."""
        if not args[2:]:
            options.setdefault("on_error", _raise_unless_missing)
        found: Iterator[Any] = super().walk(path, *args, **options)
        return found

    def exists(self, path: Any, **_: Any) -> bool:
        """Whether it is there. Raises what `info` raises, but `FileNotFoundError`."""
        return self._type(path) is not None

    def isfile(self, path: Any) -> bool:
        """Whether it is a file. Raises as `exists` does."""
        return self._type(path) == "file"

    def isdir(self, path: Any) -> bool:
        """Whether it is a folder. Raises as `exists` does."""
        return self._type(path) == "directory"

    def created(self, path: Any) -> datetime:
        """When its release was signed, as the publisher says. Raises as `info` does."""
        info = self.info(path)
        if "created" not in info:
            raise IsADirectoryError(errno.EISDIR, "it is in no release, and has no date", path)
        return datetime.fromtimestamp(info["created"], UTC)

    modified = created

    def ukey(self, path: Any) -> str:
        """The content id of a file: it commits to every byte of it."""
        return str(self._file(path)[2].content)

    def checksum(self, path: Any) -> int:
        """The same as a number: different for different bytes."""
        return int(self.ukey(path).partition("-")[2], 16)

    def invalidate_cache(self, path: Any = None) -> None:
        """Ask anew what every ref names."""
        self._releases().forget()

    # ------------------------------------------------------------ inside

    def _above(self, publisher: str) -> list[str]:
        """Publishers, or the repos of one."""
        known = self._releases()
        return known.repos(publisher) if publisher else known.publishers()

    def _releases(self) -> Releases:
        return releases_of(self._where)

    def _contents(self, place: Place) -> Contents:
        return self._releases().contents(place.reference, self._patience)

    def _file(self, path: Any) -> tuple[Place, Contents, FileRow]:
        name = self._strip_protocol(path)
        with as_os_errors(name):
            place = parse(name)
            if place.repo is None:
                raise IsADirectoryError(errno.EISDIR, "it is a folder", name)
            found = self._contents(place)
            if place.path in found.folders and place.path not in found.files:
                raise IsADirectoryError(errno.EISDIR, "it is a folder", name)
            if place.path not in found.files:
                raise _missing(place, found)
        return place, found, found.files[place.path]

    def _type(self, path: Any) -> str | None:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None


def _folder(name: str, found: Contents | None = None) -> Info:
    info = {"name": name, "size": 0, "type": "directory"}
    return info | _dates(found) if found is not None else info


def _dates(found: Contents) -> Info:
    return {"commit": found.commit, "created": found.created, "mtime": found.created}


def _info(name: str, place: Place, found: Contents) -> Info:
    """What `place` is in a release. Raises `NoFileError`."""
    row = found.files.get(place.path)
    if row is not None:
        told = {"sha256": row.sha256, "content": row.content, "ETag": row.content}
        return {"name": name, "size": row.size, "type": "file"} | told | _dates(found)
    if place.path in found.folders:
        return _folder(name, found)
    raise _missing(place, found)


def _rows(name: str, place: Place, found: Contents) -> list[Info]:
    """What is in a folder, or the file that it is."""
    here = _info(name, place, found)
    if here["type"] == "file":
        return [here]
    inside = f"{place.path}/" if place.path else ""
    return [
        _info(f"{name}/{each}", Place(place.publisher, place.repo, path=inside + each), found)
        for each in found.folders[place.path]
    ]


def _missing(place: Place, found: Contents) -> NoFileError:
    return NoFileError(
        f"{found.exact} has no file {place.path}", remedy=f"`p2phub ls {found.exact}` lists them"
    )


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
