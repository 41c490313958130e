"""The steps that more than one kind of document takes through the gate.

Each writes down what it saw and refuses by itself; the catalog says in which order they are taken.

>>> require_size(b"four", 3, Trail("this page"))
Traceback (most recent call last):
...
p2phub.trust.refusals.WrongBytesRefusal: this page: small enough? No: 4 bytes, 3 are allowed
"""

from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Page
from p2phub.trust.envelope import LIMITS, Envelope, claimed_type, unpack
from p2phub.trust.refusals import Trail
from p2phub.trust.signers import may_write
from p2phub.trust.verdict import Verdict
from p2phub.trust.wants import AWant, Listing, Wants


def open_envelope(data: bytes, trail: Trail) -> Envelope:
    """The envelope in `data`, which begins as one; no signature has been checked yet."""
    with trail.step("an envelope"):
        type = claimed_type(data)
    require_size(data, LIMITS[type], trail)
    with trail.step("well-formed") as finding:
        envelope = unpack(data)
        finding.detail = f"digest {envelope.digest.hex()}"
    return envelope


def require_size(data: bytes, limit: int, trail: Trail) -> None:
    """It is at most `limit` bytes."""
    detail = f"{len(data)} bytes, {limit} are allowed"
    trail.require(len(data) <= limit, "small enough", detail, Verdict.CORRUPT)


def require_asked(asked: PublisherId | None, found: PublisherId, trail: Trail) -> None:
    """It is of the publisher that was asked for, where one was."""
    if asked is not None:
        detail = f"it is of {found}"
        trail.require(found == asked, "of the publisher asked for", detail, Verdict.UNTRUSTED_KEY)


def require_wanted(
    wants: Wants, digest: bytes, kind: type[AWant], asked: PublisherId | None, trail: Trail
) -> dict[PublisherId, AWant]:
    """An accepted document named it; the answer says whose, and as what."""
    found = wants.get(digest, kind)
    detail = "an accepted document names it" if found else "no accepted document names it"
    trail.require(bool(found), "wanted", detail, Verdict.CORRUPT)
    if asked is None:
        return found
    require_asked(asked, asked if asked in found else next(iter(found)), trail)
    return {asked: found[asked]}


def require_own(
    digest: bytes, named_by: dict[PublisherId, AWant], trail: Trail
) -> tuple[PublisherId, AWant]:
    """Its publisher, the one with the id `digest`, is among those who named it."""
    publisher = PublisherId(digest)
    namers = ", ".join(str(namer) for namer in named_by)
    detail = f"it is of {publisher} and was named by {namers}"
    own = publisher in named_by
    trail.require(own, "of the publisher that named it", detail, Verdict.UNTRUSTED_KEY)
    return publisher, named_by[publisher]


def require_writable(page: Page, listing: Listing, trail: Trail) -> None:
    """Every ref was set by this index or an earlier one; by this one only where its writer may."""
    refs = [(entry.name, ref.seq) for entry in page.entries for ref in entry.refs.values()]
    newer = next((name for name, seq in refs if seq > listing.seq), "")
    detail = f"{newer} has a ref of a later index" if newer else f"seq {listing.seq}"
    trail.require(not newer, "not newer than its index", detail, Verdict.CORRUPT)
    set_here = {name for name, seq in refs if seq == listing.seq}
    foreign = [name for name in sorted(set_here) if not may_write(listing.writer, name)]
    detail = f"it may not write {', '.join(foreign)}" if foreign else "its writer may"
    trail.require(not foreign, "within its writer's limits", detail, Verdict.UNTRUSTED_KEY)
