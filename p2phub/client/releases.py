"""The releases that this process reads file by file through one node, known once for all threads.

A node asks its peers each time it is told a ref, because somebody may have published since. A
program that opens a hundred files of a set would ask a hundred times, and might end up with files
of two releases. So what a ref names is remembered for as long as the reader says; what a commit
holds never changes and is remembered until there is no room.

Rules it keeps:
 * every byte is asked for by commit, at most `MAX_READ` at a time, and was verified by the node;
 * a node that is not this machine's own may be wrong or worse: what it sends is as long as what was
   asked for, and a path in its lists that must not reach a disk is refused;
 * one `Releases` for all threads of a process that read through the same node, and another one in
   a process that was forked: connections and locks are not shared with a parent.

>>> releases_of(Where("/nowhere")) is releases_of(Where("/nowhere"))  # nothing is started yet
True
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from p2phub.client import calls
from p2phub.client.hub import Hub
from p2phub.client.results import FileRow, Named, PartHere
from p2phub.client.running import home_folder
from p2phub.errors import GarbageError, NotFoundError
from p2phub.formats.ids import PUBLISHER_ID_LENGTH, is_commit_id
from p2phub.formats.paths import parse_path
from p2phub.formats.ranges import Range, batches

T = TypeVar("T")
MAX_CONTENTS: Final = 64
"""Releases whose files are remembered."""
MAX_NAMED: Final = 1024
"""References of which is remembered what they named."""
MAX_HITS: Final = 1000
"""Repos that are listed."""
STRIPES: Final = 16
"""References that can be looked up at once."""


class Where(NamedTuple):
    """Which node to read through, as `Hub` takes it."""

    home: str | None = None
    url: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a release holds."""

    exact: str
    """Names the release for ever: `publisher/name@commit`."""
    commit: str
    created: int
    """Unix seconds, as the publisher says."""
    files: Mapping[str, FileRow]
    """By path."""
    folders: Mapping[str, tuple[str, ...]]
    """What is in each folder: names, sorted. The release itself is the folder ``."""


class PartHub(Hub):
    """A hub that reads many parts of a file with one question."""

    def resolve(self, reference: str) -> Named:
        """Which release a reference names now; its documents are on the node's disk then."""
        return self._run(calls.resolve(reference))

    def read_batch(self, exact: str, path: str, ranges: Sequence[Range]) -> bytes:
        """The bytes of some ranges, one after another; `MAX_READ` at most."""
        return self._run(calls.read_ranges(exact, path, ranges))

    def bring(self, exact: str, path: str, ranges: Sequence[Range]) -> PartHere:
        """Bring any number of bytes to the node's disk."""
        return self._run(calls.ranges(exact, path, ranges))


class Releases:
    """See the module. Safe to use from several threads; raises what `Hub` raises."""

    def __init__(self, where: Where) -> None:
        self.hub = PartHub(*where)
        self._lock = threading.Lock()
        self._looking = tuple(threading.Lock() for _ in range(STRIPES))
        self._named: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._contents: OrderedDict[str, Contents] = OrderedDict()

    def contents(self, reference: str, patience: float) -> Contents:
        """The release that `reference` names, or named at most `patience` seconds ago."""
        with self._looking[hash(reference) % STRIPES]:
            commit = self._remembered(reference, patience)
            if commit is None:
                commit = self.hub.resolve(reference).commit
                self._remember(self._named, reference, (time.monotonic(), commit), MAX_NAMED)
            exact = f"{reference.partition('@')[0]}@{commit}"
            with self._lock:
                known = self._contents.get(exact)
            if known is None:
                known = self._ask(exact, commit)
                self._remember(self._contents, exact, known, MAX_CONTENTS)
            return known

    def publishers(self) -> list[str]:
        """Who has repos that are known here, or is pinned: aliases, and ids without one."""
        refs = [row.ref for row in self.hub.ls()]
        refs += [hit.ref for hit in self.hub.search(limit=MAX_HITS)]
        pins = {pin.alias for pin in self.hub.trust_list() if pin.alias}
        return sorted({ref.partition("/")[0] for ref in refs} | pins)

    def repos(self, publisher: str) -> list[str]:
        """The repos of a publisher that are known here, as `publisher/name`. Asks no peer.

        Raises `NotFoundError` if nothing is known of the publisher.
        """
        refs = [hit.ref for hit in self.hub.search(publisher=publisher, limit=MAX_HITS)]
        refs += [row.ref for row in self.hub.ls() if row.ref.startswith(f"{publisher}/")]
        if not refs and len(publisher) == PUBLISHER_ID_LENGTH:
            raise NotFoundError(
                f"nothing of publisher {publisher} is known here",
                remedy="name one of its repos: publisher/name",
            )
        names = {ref.partition("@")[0].rpartition("/")[2] for ref in refs}
        return [f"{publisher}/{name}" for name in sorted(names)]

    def bring(self, exact: str, path: str, size: int) -> None:
        """Fetch what is missing of a whole file at once, from everybody who has some of it."""
        if size:
            self.hub.bring(exact, path, [(0, size)])

    def forget(self) -> None:
        """Ask anew what every ref names."""
        with self._lock:
            self._named.clear()

    def read(self, exact: str, path: str, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of a file."""
        parts = list(self._parts(exact, path, [(start, stop)]))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_all(self, exact: str, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range of a file, in as few questions as may be."""
        data, at, found = b"".join(self._parts(exact, path, ranges)), 0, []
        for start, stop in ranges:
            found.append(data[at : at + stop - start])
            at += stop - start
        return found

    def _parts(self, exact: str, path: str, ranges: Iterable[Range]) -> Iterator[bytes]:
        for batch in batches(ranges):
            data = self.hub.read_batch(exact, path, batch)
            wanted = sum(stop - start for start, stop in batch)
            if len(data) != wanted:
                raise GarbageError(f"a node sent {len(data)} bytes of {path} instead of {wanted}")
            yield data

    def _remembered(self, reference: str, patience: float) -> str | None:
        _, _, revision = reference.partition("@")
        with self._lock:
            if is_commit_id(revision) and reference in self._contents:
                return revision
            at, commit = self._named.get(reference, (0.0, None))
        return commit if commit is not None and time.monotonic() - at < patience else None

    def _remember(self, where: OrderedDict[str, T], key: str, value: T, most: int) -> None:
        with self._lock:
            where[key] = value
            where.move_to_end(key)
            while len(where) > most:
                where.popitem(last=False)

    def _ask(self, exact: str, commit: str) -> Contents:
        files = {row.path: row for row in self.hub.files(exact)}
        for path in files:
            parse_path(path)  # it may be written to a disk by that name
        return Contents(exact, commit, self.hub.info(exact).created, files, _folders(files))


def _folders(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every folder that has a file below it.

    >>> _folders(["README.md", "data/train/0.csv"])
    {'': ('README.md', 'data'), 'data': ('train',), 'data/train': ('0.csv',)}
    """
    found: dict[str, set[str]] = {"": set()}
    for path in paths:
        while path:
            parent, _, name = path.rpartition("/")
            found.setdefault(parent, set()).add(name)
            path = parent
    return {folder: tuple(sorted(found[folder])) for folder in sorted(found)}


_made: dict[tuple[int, Where], Releases] = {}
_making = threading.Lock()


def releases_of(where: Where) -> Releases:
    """The one `Releases` of this process for a node.

    What a parent had stays as it is and is used no more: its locks may have been held by threads
    that a fork did not copy. Raises `UsageError` if this user has no home folder.
    """
    home = str(home_folder(where.home, os.environ))
    key = os.getpid(), where._replace(home=home)
    with _making:
        if key not in _made:
            _made[key] = Releases(key[1])
        return _made[key]


def _after_fork() -> None:
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
