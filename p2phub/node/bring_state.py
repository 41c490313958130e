"""The state of one pull, shared by the tasks that bring its files (`bring`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2phub.errors import WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.formats.ranges import Range
from p2phub.node.doubts import Doubts
from p2phub.node.events import Report
from p2phub.node.gathering import Gathering
from p2phub.node.holdings import Holdings
from p2phub.node.locate import ResolvedRelease
from p2phub.node.progress import ProgressCounter
from p2phub.node.services import Services
from p2phub.protocol.ports import Source
from p2phub.trust.verdict import Verdict


@dataclass(slots=True)
class Bringing:
    """The state of one pull, shared by the tasks that bring its files."""

    services: Services
    resolved: ResolvedRelease
    report: Report
    progress: ProgressCounter
    holdings: Holdings
    linked: int = 0
    brought: dict[str, int] = field(default_factory=dict)
    doubts: Doubts = field(init=False)
    told: set[str] = field(default_factory=set)
    """The sources that people were told of."""
    gathering: Gathering | None = None
    """Who has the release, or is fetching it too; more are looked for while the pull lasts."""
    seeds: Sequence[Source] = ()
    """The web servers that may have files of the release."""
    only: Sequence[Range] | None = None
    """The byte ranges of its one file that are wanted; None means whole files."""
    head: int = 0
    """Bytes at the start of each file that come before the rest of it."""
    turn: object = None
    """What this pull waits for its turn at; None: each file."""
    quiet: bool = False
    """Whether nobody is to hear of it."""
    waits: bool = True
    """Whether it waits for somebody to turn up who has what nobody has now."""
    lies: dict[ContentId, WrongBytesError] = field(default_factory=dict)
    """The small files of which somebody has delivered wrong bytes, and what is to be said of it."""

    def __post_init__(self) -> None:
        self.doubts = Doubts(self.services.liars, self.report)

    def announce(self) -> None:
        """Tell that the release is being fetched here, so that others find us; not of what nobody
        signed, or may see yet.
        """
        if not self.quiet and self.resolved.judgement.verdict is not Verdict.UNSIGNED:
            self.services.announcer.release(self.resolved.digest)

    def count(self, source: str, size: int) -> None:
        """A piece was accepted; called from the threads of sources."""
        self.brought[source] = self.brought.get(source, 0) + size
        self.progress.sources = len(self.brought)
        self.progress.add(size)
        self.services.traffic.down.add(size)

    def pieces_first(self, table: PieceTable) -> int:
        """How many of the first pieces of a file come before the others."""
        head = min(self.head, table.size)
        return table.pieces_covering(0, head)[1] if head else 0

    def count_here(self, size: int) -> None:
        """So many bytes were on this disk."""
        self.linked += size
        self.progress.add(size)
