"""Who may let in what waits in quarantine, and whether what somebody signed counts today.

An approver is named in node.toml and pinned there: by a publisher id, whose release keys sign for
it (so that a key can be replaced and taken back through that publisher's chain, on this node as
anywhere), or by one Ed25519 key, which is good until node.toml says otherwise.

Rules it keeps, each with a sentence for whoever is refused:
 * the name is on the list, and the signature is by a key that is pinned for that name: a release
   key that was revoked, has expired or may write some repos only is none;
 * what was signed is about this case and these results of the checks; not from the future;
 * a failed check is named by who lets it through, or nothing is let in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2phub.errors import MalformedError, NotFoundError, QuarantinedError, UntrustedError
from p2phub.formats.approval import Approval, checks_digest, unpack_checks
from p2phub.formats.ids import PublisherId
from p2phub.node.desk import heard_papers, notices_of, own_papers
from p2phub.node.services import Services
from p2phub.store.quarantine import Case
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.identity import Identity

AHEAD: Final = 600
"""Seconds by which the clock of who signs may be ahead of ours."""
_LIST: Final = "`[airgap] approvers` in node.toml says who may sign, and with what"

Pin = PublisherId | bytes
"""A publisher, or the public half of a key."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What an approver said, and the envelope that proves it."""

    said: Approval
    envelope: Envelope


def pins(approvers: tuple[str, ...]) -> Mapping[str, Pin]:
    """What each approver is pinned to, as node.toml has it.

    >>> pins(("ann=" + "61" * 32,))
    {'ann': b'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}
    """
    found: dict[str, Pin] = {}
    for each in approvers:
        name, _, pin = each.partition("=")
        found[name] = bytes.fromhex(pin) if len(pin) == 64 else PublisherId.parse(pin)
    return found


def read_approval(data: bytes) -> Signed:
    """What somebody signed; whether it counts is for the others to say. Raises `MalformedError`."""
    envelope = unpack(data)
    if envelope.type != Approval.TYPE:
        raise MalformedError(f"this is a {envelope.type}, and no approval")
    return Signed(Approval.from_payload(envelope.payload), envelope)


def require_about(case: Case, publisher: bytes, said: Approval, now: int) -> None:
    """It is about what waits here now. Raises `QuarantinedError`, `UntrustedError`."""
    if case.state == "coming":
        raise QuarantinedError(
            "not all of it is here, and nothing was checked yet",
            remedy="import the bundle again: it goes on from there",
        )
    if said.case != case.case:
        raise QuarantinedError(
            "what was signed is about another time that this release came to a gate",
            remedy="sign what `p2phub quarantine request` writes now",
        )
    if said.publisher != publisher:
        raise UntrustedError("what was signed names another publisher than the release has")
    if said.checks != checks_digest(unpack_checks(case.checks)):
        raise QuarantinedError(
            "the checks have other results now than when this was signed",
            remedy="look at `p2phub quarantine ls`, and sign what `quarantine request` writes now",
        )
    if said.created > now + AHEAD:
        raise UntrustedError(
            "it was signed in the future, by the clock of this machine",
            remedy="set the clocks of both machines right, and sign again",
        )


def require_passed(case: Case, said: Approval) -> None:
    """Every check passed, or whoever signed named it. Raises `QuarantinedError`."""
    failed = [check for check in unpack_checks(case.checks) if not check.ok]
    left = [check for check in failed if check.name not in said.despite]
    if left:
        told = "; ".join(f"{check.name}: {check.detail[:200]}" for check in left)
        more = " ".join(f"--despite {check.name}" for check in left)
        raise QuarantinedError(
            f"not every check has passed ({told})",
            remedy=f"reject it, or sign with {more} if you answer for that",
        )


def require_approver(services: Services, signed: Signed) -> None:
    """Who signed may. Raises `UntrustedError`."""
    name = signed.said.approver
    pin = pins(services.config.airgap.approvers).get(name)
    if pin is None:
        raise UntrustedError(f"{name} is no approver of this node", remedy=_LIST)
    keys = signed.envelope.signed_by()
    if isinstance(pin, bytes):
        if pin not in keys:
            raise UntrustedError(f"it is not signed with the key of {name}", remedy=_LIST)
        return
    identity = _identity(services, name, pin)
    faults = [_fault(services, identity, key) for key in sorted(keys)]
    if "" not in faults:
        why = faults[0] if faults else "nobody has signed it"
        raise UntrustedError(f"{name} has not signed this: {why}", remedy=_LIST)


def _identity(services: Services, name: str, publisher: PublisherId) -> Identity:
    documents = services.store.documents
    own = documents.own_publisher() == publisher
    papers = own_papers(documents) if own else heard_papers(documents, publisher)
    if papers is None:
        raise NotFoundError(
            f"nothing is known here of the publisher that {name} signs for ({publisher.short}…)",
            remedy="bring its head: pull or import anything of it, once",
        )
    return papers.identity


def _fault(services: Services, identity: Identity, key: bytes) -> str:
    """Why a key does not sign for this publisher; empty if it does."""
    made, called = identity.release_key(key), f"key {key.hex()[:16]}…"
    if made is None:
        return f"{called} is no release key of publisher {identity.publisher.short}…"
    notices = notices_of(services.knowledge.notices(identity.publisher))
    revoked = notices.revoked_key(identity, key)
    if revoked is not None:
        return f"{called} was revoked: {revoked.reason}"
    if 0 < made.not_after < services.now():
        return f"{called} has expired"
    return f"{called} may write some repos only" if made.repos else ""
