"""One store, opened: the parts that a node uses, and the order in which they come up.

Opened for writing, it belongs to one process (`lock`), is brought to the schema of today (`index`)
and finishes what a crash left half done (`recovery`); none of that looks at every blob. Opened for
reading only, it takes no lock and changes nothing, also beside a running node; a store that was
never made reads as an empty one.

All parts are thread-safe and may be used until `close`.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from p2phub.errors import NoSpaceError
from p2phub.formats.ids import commit_id
from p2phub.formats.pieces import Run
from p2phub.store import reserve
from p2phub.store.blobs import Blobs
from p2phub.store.claimed import Claims
from p2phub.store.discussions import Discussions
from p2phub.store.disk import Disk, Progress, no_progress
from p2phub.store.documents import Documents
from p2phub.store.domains import Domains
from p2phub.store.export import export
from p2phub.store.incoming import Incoming
from p2phub.store.index import Index
from p2phub.store.layout import Layout
from p2phub.store.linking import link_pieces
from p2phub.store.lock import StoreLock
from p2phub.store.partial import Partial
from p2phub.store.partials import Partials
from p2phub.store.peers import Peers
from p2phub.store.proposals import Proposals
from p2phub.store.quarantine import Quarantine
from p2phub.store.recovery import recover
from p2phub.store.repos import Repos
from p2phub.store.rules import Rules
from p2phub.store.seen import Seen
from p2phub.store.sent_parts import SentParts
from p2phub.store.shelf import Shelf
from p2phub.store.small_files import SmallFiles
from p2phub.store.snapshot import Files, Snapshots
from p2phub.store.space import Space
from p2phub.store.tips import Tips
from p2phub.store.uploads import Uploads
from p2phub.store.upstream import UpstreamNotes
from p2phub.store.whole_files import WholeFiles
from p2phub.store.xorbs import Xorbs


class Store:
    """What is on this disk."""

    def __init__(
        self, layout: Layout, index: Index, disk: Disk, quota: int, lock: StoreLock | None
    ) -> None:
        self.layout, self.index, self.disk = layout, index, disk
        self._lock = lock
        self.documents = Documents(index)
        self.repos = Repos(index)
        self.quarantine = Quarantine(index)
        self.peers = Peers(index)
        self.rules = Rules(index)
        self.seen = Seen(index)
        self.tips = Tips(index)
        self.upstream = UpstreamNotes(index)
        self.proposals = Proposals(index)
        self.discussions = Discussions(index)
        self.domains = Domains(index)
        self.space = Space(disk, layout.store, quota, lambda: self.blobs.total_bytes())
        self.blobs = Blobs(index, layout, disk, self.space)
        self.partials = Partials(layout, disk, self.blobs, self.space)
        self.shelf = Shelf(index, layout, self.blobs, self.partials)
        self.small_files = SmallFiles(layout, disk, self.blobs, self.partials, self.space)
        self.whole_files = WholeFiles(layout, disk, self.blobs, self.space)
        self.incoming = Incoming(layout, disk, self.blobs, self.space)
        self.uploads = Uploads(layout, disk, self.blobs, self.space)
        self.sent_parts = SentParts(self.uploads)
        self.xorbs = Xorbs(layout, disk, self.space, self.uploads)
        self.snapshots = Snapshots(layout, disk, self.blobs)
        self.claims = Claims(index, disk, self.blobs)

    @classmethod
    def open(
        cls,
        layout: Layout,
        *,
        read_only: bool = False,
        quota: int = 0,
        disk: Disk | None = None,
    ) -> Self:
        """Open or make a store. `quota`: bytes, 0 for none.

        Raises `StoreLockedError` if another process has it, `RefusedError` if a newer p2phub wrote
        it or the disk is read-only, `P2PHubError` if its index is damaged.
        """
        disk = disk or Disk()
        if read_only:
            return cls(layout, Index.open(layout.index, read_only=True), disk, quota, None)
        layout.make(disk)
        with ExitStack() as undo:
            lock = StoreLock.acquire(layout, disk)
            undo.callback(lock.release)
            store = cls(layout, _open_index(layout, disk), disk, quota, lock)
            undo.callback(store.index.close)
            recover(layout, disk, store.blobs, store.partials)
            store.incoming.recover()
            store.hide_what_waits()
            reserve.keep(layout, disk)
            undo.pop_all()
        return store

    def hide_what_waits(self) -> None:
        """Take away folders of releases in quarantine: of one that was just being let in when the
        last process ended.
        """
        for case in self.quarantine.all():
            repo = self.repos.repo_of(case.digest)
            if repo is not None:
                self.snapshots.remove(repo, commit_id(case.digest))

    def link_pieces(
        self,
        partial: Partial,
        progress: Progress = no_progress,
        *,
        wanted: Iterable[Run] | None = None,
    ) -> int:
        """Fill a partial file with the pieces that are here: see `linking`."""
        return link_pieces(partial, self.blobs, self.partials, progress, wanted=wanted)

    def export(self, files: Files, folder: Path, progress: Progress = no_progress) -> None:
        """Write copies that people may change: see `export`."""
        export(self.blobs, self.disk, files, folder, progress)

    def close(self) -> None:
        """Let others in. Everything that matters is on the disk already."""
        self.index.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_index(layout: Layout, disk: Disk) -> Index:
    """Also on a disk that is full to the last byte, so that something can be removed."""
    try:
        return Index.open(layout.index)
    except NoSpaceError:
        if not reserve.give_up(layout, disk):
            raise
    return Index.open(layout.index)
