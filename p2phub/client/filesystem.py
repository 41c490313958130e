"""`p2p://` for fsspec: pandas, pyarrow, DuckDB, datasets and torch read releases like files.

`fsspec.open("p2p://lab/minilm/config.json")` needs no import of ours: fsspec finds this class by
its entry point. Only the pieces that hold what is read are fetched (at most 1 MiB each); they stay
on the node's disk, and were verified in the buffer that they are read from.

Rules it keeps:
 * it only reads. What would write raises `OSError` (EROFS): `p2phub publish` makes a release;
 * an open file belongs to the commit that its path named when it was opened. Which commit a ref
   names is remembered for `listings_expiry_time` seconds, so that the files of one set are of one
   release; a path with a commit in it (`lab/set@0123…/a.parquet`) is of that one for ever;
 * what is not there is a `FileNotFoundError`, what is not to be believed a `PermissionError`, what
   a node cannot reach an `OSError`: see `os_errors`. `exists`, `isfile` and `glob` say no only to
   what is not there, and raise the rest;
 * instances are cheap, may be used from several threads, pickled and forked: they hold where the
   node is, as it was given, and nothing that was found by itself. See `releases`.

How a path is written stands in `filesystem_paths`.

>>> fs = P2PFileSystem()                      # asks nobody yet
>>> fs._strip_protocol("p2p://lab/minilm@v1/onnx/"), fs._parent("p2p://lab/minilm")
('lab/minilm@v1/onnx', 'lab')
"""

import errno
import os
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike

from p2phub.client.filesystem_file import BLOCK, P2PFile
from p2phub.client.filesystem_paths import Place, pinned
from p2phub.client.filesystem_tree import Tree
from p2phub.client.os_errors import as_os_errors
from p2phub.client.releases import Contents
from p2phub.client.results import FileRow
from p2phub.formats.ranges import MAX_READ


class P2PFileSystem(Tree):
    """See the module; what there is, is told by `Tree`.

    Args:
        home: the node's home folder; `P2PHUB_HOME` or `~/.p2phub` by default.
        url: the URL of a gateway, instead of a home folder.
        token: the token for that URL; found by itself for a node of this machine. One that is given
            is part of what is pickled.
        listings_expiry_time: seconds; what a ref names is asked anew after them (30).
        use_listings_cache: False asks every time.
    """

    blocksize = BLOCK

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str = "p2p-ahead",
        **_: Any,
    ) -> P2PFile:
        if mode != "rb":
            raise _read_only(path)
        place, found, row = self._file(path)
        return P2PFile(
            self,
            pinned(place, found.commit),
            mode,
            block_size if isinstance(block_size, int) else BLOCK,
            cache_type=cache_type,
            cache_options=cache_options,
            size=row.size,
        )

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """The bytes [start, end) of a file. Raises as `info` does."""
        place, found, _ = self._file(path)
        with as_os_errors(path):
            return self._releases().read(found.exact, place.path, start, end)

    def cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes of a file, or some of them; counted from its end if negative."""
        name = self._strip_protocol(path)
        place, found, row = self._file(name)
        begin, stop, _step = slice(start, end).indices(row.size)
        with as_os_errors(name):
            return self._releases().read(found.exact, place.path, begin, max(begin, stop))

    def cat_ranges(
        self,
        paths: Any,
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """The bytes of many ranges; those of one file come for few questions, gaps or not."""
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        begins = starts if isinstance(starts, list) else [starts] * len(paths)
        stops = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(begins) == len(stops) == len(paths):
            raise ValueError("there must be as many starts and ends as paths")
        wanted: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            wanted.setdefault(self._strip_protocol(path), []).append(index)
        found: list[Any] = [b""] * len(paths)
        for name, indices in wanted.items():
            try:
                slices = [slice(begins[index], stops[index]) for index in indices]
                parts: list[Any] = self._slices(name, slices)
            except OSError as error:
                if on_error != "return":
                    raise
                parts = [error] * len(indices)
            for index, part in zip(indices, parts, strict=True):
                found[index] = part
        return found

    def get_file(
        self,
        rpath: Any,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Copy a file to the disk, or into a file object; a folder is made.

        All of it is fetched at once, from everybody who has some of it, before the first byte is
        written. Raises as `info` does.
        """
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        if outfile is None and self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        place, found, row = self._file(rpath)
        callback.set_size(row.size)
        with as_os_errors(found.exact):
            self._releases().bring(found.exact, place.path, row.size)
        if outfile is not None:
            self._copy(place, found, row, outfile, callback)
            return
        os.makedirs(os.path.dirname(os.path.abspath(lpath)), exist_ok=True)
        try:
            with open(lpath, "wb") as file:
                self._copy(place, found, row, file, callback)
        except BaseException:
            os.unlink(lpath)  # half a file would look like a whole one
            raise

    # ------------------------------------------------------------ what is refused

    def _refuse(self, path: Any = "", *_: Any, **__: Any) -> Any:
        """Nothing can be changed: releases are signed. Raises `OSError` (EROFS)."""
        raise _read_only(path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = pipe_file = touch = _refuse
    mv = copy = cp_file = put = put_file = _refuse

    # ------------------------------------------------------------ inside

    def _slices(self, name: str, slices: list[slice]) -> list[bytes]:
        place, found, row = self._file(name)
        cut = [each.indices(row.size)[:2] for each in slices]
        ranges = [(start, max(start, stop)) for start, stop in cut]
        with as_os_errors(name):
            return self._releases().read_all(found.exact, place.path, ranges)

    def _copy(self, place: Place, found: Contents, row: FileRow, file: Any, callback: Any) -> None:
        for start in range(0, row.size, MAX_READ):
            stop = min(start + MAX_READ, row.size)
            with as_os_errors(found.exact):
                data = self._releases().read(found.exact, place.path, start, stop)
            file.write(data)
            callback.relative_update(len(data))


def _read_only(path: Any) -> OSError:
    told = "releases are signed and cannot be changed; `p2phub publish` makes a new one"
    return OSError(errno.EROFS, told, str(path))
