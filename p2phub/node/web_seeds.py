"""The web servers that may have the files of a release: those it names itself, and those that the
user of this node has named.

Rules it keeps:
 * one source a host, however many files it has, and its connections are shared by all pulls;
 * a stranger's release makes us ask `MOST_HOSTS` hosts at most, and no private address; what the
   user has named in node.toml or in a release of their own may be anywhere;
 * every source is closed when its pull ends, and one that failed and brought nothing is told of.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import trio

from p2phub.errors import ConfigError, UsageError
from p2phub.formats.ids import ContentId, PublisherId
from p2phub.formats.manifest import FileEntry, Release
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.web_client import WebClient
from p2phub.network.web_guard import Guard
from p2phub.network.web_source import CONNECTIONS, WebSource
from p2phub.node.events import Report, Warned
from p2phub.protocol.seeds import filled, host_of, with_path

MOST_HOSTS = 8
"""Hosts of one release, beside those that the user has named."""


@dataclass(slots=True)
class _Host:
    """What one host has, and whether the user has named it."""

    is_named: bool = False
    urls: dict[ContentId, dict[str, None]] = field(default_factory=dict)


class WebSeeds:
    """`named`: the seeds of node.toml. `down`: how fast bytes may come in.

    Raises `ConfigError` for what is no seed.
    """

    def __init__(
        self,
        named: Sequence[str] = (),
        *,
        connections: int = CONNECTIONS,
        down: Throttle = UNLIMITED,
    ) -> None:
        try:
            self._layouts = tuple(map(with_path, named))
        except UsageError as error:
            raise ConfigError(f"[swarm] web_seeds: {error.message}", remedy=error.remedy) from error
        self._connections, self._down = connections, down
        self._places: WeakValueDictionary[str, trio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(
        self,
        release: Release,
        commit: str,
        files: Sequence[FileEntry],
        *,
        is_own: bool,
        report: Report = lambda event: None,
    ) -> AsyncIterator[list[WebSource]]:
        """The servers that may have any of `files`, for as long as the block lasts.

        `is_own`: the release is one of this node's own publisher. `report` is told in the end who
        was of no use, and why.
        """
        hosts = self._hosts(release, commit, files, is_own)
        guard = Guard(
            frozenset(name for name, host in hosts.items() if host.is_named)
            | frozenset(map(host_of, self._layouts))
        )
        sources = [self._source(name, host, guard) for name, host in hosts.items()]
        try:
            yield sources
        finally:
            with trio.CancelScope(shield=True):
                for source in sources:
                    _tell_of_trouble(source, report)
                    await source.close()

    def _hosts(
        self, release: Release, commit: str, files: Sequence[FileEntry], is_own: bool
    ) -> dict[str, _Host]:
        found: dict[str, _Host] = {}
        wanted = {file.content for file in files}
        entries = [file for file in release.files if file.content in wanted]
        for file, url in self._from_node_toml(release, commit, entries):
            _note(found, file, url, is_named=True)
        enough = _busiest(entries) | found.keys()
        for file in entries:
            for url in file.seeds:
                if is_own or host_of(url) in enough:
                    _note(found, file, url, is_named=is_own)
        return found

    def _from_node_toml(
        self, release: Release, commit: str, files: Iterable[FileEntry]
    ) -> Iterator[tuple[FileEntry, str]]:
        for layout in self._layouts:
            for file in files:
                url = filled(
                    layout,
                    publisher=str(PublisherId(release.publisher)),
                    name=release.name,
                    commit=commit,
                    path="/".join(file.path),
                    content=str(file.content),
                )
                yield file, url

    def _source(self, name: str, host: _Host, guard: Guard) -> WebSource:
        places = self._places.get(name)
        if places is None:
            places = self._places[name] = trio.Semaphore(self._connections)
        return WebSource(
            name,
            {content: tuple(urls) for content, urls in host.urls.items()},
            guard=guard,
            places=places,
            connections=self._connections,
            make_client=lambda name: WebClient(name, down=self._down),
        )


def _tell_of_trouble(source: WebSource, report: Report) -> None:
    trouble = source.trouble
    if trouble is not None:
        report(Warned(f"a web seed failed: {trouble.message}", remedy=trouble.remedy))


def _note(found: dict[str, _Host], file: FileEntry, url: str, *, is_named: bool) -> None:
    host = found.setdefault(host_of(url), _Host())
    host.is_named |= is_named
    host.urls.setdefault(file.content, {})[url] = None


def _busiest(files: Iterable[FileEntry]) -> set[str]:
    """The hosts that a release names for most of its files."""
    named = Counter(host_of(url) for file in files for url in file.seeds)
    return {host for host, _ in named.most_common(MOST_HOSTS)}
