"""What a node answers about bundles, as frozen dataclasses; see `p2phub.results` for the rules."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BundleRelease:
    """A release of a bundle."""

    ref: str
    """With the publisher's id and the commit: what `pull` takes on any machine."""
    commit: str
    publisher_id: str
    name: str
    kind: str
    bytes: int
    """Of its files; before it was imported, that is only what the bundle says."""
    outcome: str = "listed"
    """`listed`; after an export `exported`, or `there` (the site that it is for has it); after an
    import `came`, `here` (it was before), `part` (the rest is on other media), `quarantined` (it
    waits to be let in, which is no fault: the exit code is 0) or `refused`; in a swap also `given`
    or `left` (it does not fit)."""
    verdict: str = ""
    """What its signatures are worth; empty where nobody has looked."""
    reason: str = ""
    """Why it was refused, or what it waits for."""
    exit: int = 0
    """The exit code of that refusal."""
    sites: tuple[str, ...] = ()
    """Of a swap: the sites that lack it, by name, or by id where they tell none."""


@dataclass(frozen=True, slots=True)
class BundleExported:
    """What was put into a bundle."""

    path: Path
    releases: tuple[BundleRelease, ...]
    bytes_total: int
    """Of the pieces that belong on this medium."""
    bytes_written: int
    """Pieces and documents that were not there before."""
    seconds: float
    part: int = 1
    """Which of the media this is."""
    parts: int = 1
    """How many media all of it takes."""
    size_limit: int | None = None
    """Bytes that one of them may take, by which it was split; None: it was not."""


@dataclass(frozen=True, slots=True)
class BundleHead:
    """What a bundle said of the newest index of a publisher, and what came of it."""

    publisher_id: str
    outcome: str
    """`newer`, `known` (it was before), `older` or `refused`."""
    seq: int = 0
    """The number of the newest index that is believed now."""
    as_of: int = 0
    """When the bundle was made, in unix seconds by the clock of who made it."""
    reason: str = ""
    """Why it was not believed, or is older."""


@dataclass(frozen=True, slots=True)
class BundleImported:
    """What came out of a bundle."""

    path: Path
    releases: tuple[BundleRelease, ...]
    heads: int
    """Publishers of whom it has a head that is believed and not older than what was known."""
    notices: int
    """Revocations, withdrawals and fork proofs that are believed."""
    bytes_fetched: int
    seconds: float
    publishers: tuple[BundleHead, ...] = ()
    exit: int = 0
    """0 if every release came, was here or has its rest on other media, else the exit code of the
    first refusal."""


@dataclass(frozen=True, slots=True)
class BundleProblem:
    """A file of a bundle that counts for nothing."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class BundleLook:
    """What a bundle says of itself; nothing of it was verified."""

    path: Path
    made: int | None
    """When the last export was, in unix seconds by the clock of who made it; None: none ended."""
    releases: tuple[BundleRelease, ...]
    pieces: int
    """In whole packs."""
    bytes: int
    """Of all that is in whole packs."""
    part: int = 1
    """Which of the media of the last export this is."""
    parts: int = 1
    """How many media it was split over."""
    problems: tuple[BundleProblem, ...] = ()
    sealed: bool = False
    """Whether some of it is sealed to keys that are not here, and does not count."""


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site across an air gap, as its newest inventory says."""

    site: str
    """Its id: the libp2p peer id of its node."""
    name: str
    """What it calls itself: a claim."""
    made: int
    """When, in unix seconds by its clock."""
    releases: int
    """How many it has."""
    wants: int | None
    """How many repos it asks for; None: whatever there is."""


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """That a site has what another had put on a medium, signed by the site."""

    site: str
    """Who got it."""
    sender: str
    """Who had put it there."""
    made: int
    """When it was whole and verified, in unix seconds by the clock of the site."""
    commits: tuple[str, ...]
    """Of the releases."""
    bytes: int
    """Of their files."""
    digest: str
    """The SHA-256 of the signed receipt, in hex."""


@dataclass(frozen=True, slots=True)
class Sites:
    """The sites that this one has heard of, and the receipts that were signed either way."""

    sites: tuple[SiteRow, ...]
    receipts: tuple[ReceiptRow, ...]


@dataclass(frozen=True, slots=True)
class InventoryMade:
    """What this site has and wants, signed."""

    site: str
    number: int
    """Grows with each document that this site signs."""
    made: int
    """When, in unix seconds."""
    releases: int
    """How many it has."""
    bytes: int
    """Of the signed document."""
    text: str
    """It as lines of text."""
    codes: tuple[str, ...]
    """It as texts of QR codes; none if it is too long for that."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a swap took from a medium and gave to it."""

    path: Path
    site: str
    """This site."""
    came: tuple[BundleRelease, ...]
    gave: tuple[BundleRelease, ...]
    """What is on the medium for other sites now."""
    left: tuple[BundleRelease, ...]
    """What did not fit."""
    sites: tuple[SiteRow, ...]
    """The other sites that the medium visits."""
    receipts_left: int
    """How many were signed here and put on the medium."""
    receipts_taken: int
    """How many others had signed for this site."""
    bytes_fetched: int
    bytes_written: int
    """Pieces and documents that were not on the medium before."""
    bytes_dropped: int
    """Of pieces and documents that nobody lacks any more."""
    seconds: float
    exit: int = 0
    """As that of an import."""
