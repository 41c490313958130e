"""What publishers say of themselves, and what their domains say of that: for people to look at.

Nothing is decided by it. A name is anybody's to take: who types one that is not pinned is told who
claims it, with the full ids, and is asked; nobody is chosen for them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2phub.errors import MalformedError, NotFoundError, UntrustedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Index
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store
from p2phub.trust.domains import DomainCheck, claimed_domain, claimed_name
from p2phub.trust.envelope import unpack
from p2phub.trust_results import Candidate, Profile

MOST_CANDIDATES: Final = 20
"""Candidates that are told of; more are somebody's attempt to hide one among them."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a publisher says of itself, and what came of a look at its domain."""

    name: str | None = None
    domain: str | None = None
    domain_result: str | None = None
    domain_checked: int | None = None
    domain_proved: int | None = None

    @classmethod
    def of(cls, profile: Mapping[str, str], last: DomainCheck | None) -> "Claims":
        name, domain = claimed_name(profile), claimed_domain(profile)
        if last is None or last.domain != domain:
            return cls(name, domain)
        return cls(name, domain, last.result, last.checked, last.proved)


def claims_of(store: Store, knowledge: Knowledge, publisher: PublisherId) -> Claims:
    """What the newest index of a publisher claims, as far as it is here and is believed."""
    try:
        state = knowledge.state(publisher)
        index = knowledge.document(state.index, Index) if state is not None else None
    except UntrustedError:
        return Claims()
    if index is None or not isinstance(index.document, Index):
        return Claims()
    return Claims.of(index.document.profile, store.domains.last(publisher))


def own_profile(store: Store, knowledge: Knowledge) -> Profile:
    """What our publisher says of itself now. Raises `UsageError` without a publisher."""
    publisher = store.documents.own_publisher()
    if publisher is None:
        raise UsageError(
            "this machine has no publisher identity yet", remedy="run `p2phub init` first"
        )
    claims = claims_of(store, knowledge, publisher)
    return Profile(str(publisher), claims.name, claims.domain)


def candidates(store: Store, alias: str) -> tuple[Candidate, ...]:
    """Publishers known here that claim a name or a domain like `alias`, those first whose domain
    vouches for them.
    """
    found = []
    for publisher, data in store.documents.newest_indexes():
        try:
            profile = Index.from_payload(unpack(data).payload).profile
        except MalformedError:
            continue  # it has rotted on this disk, and says nothing
        if alias in _alias_like(profile):
            claims = Claims.of(profile, store.domains.last(publisher))
            found.append(
                Candidate(
                    str(publisher),
                    claims.name,
                    claims.domain,
                    claims.domain_result,
                    claims.domain_checked,
                    claims.domain_proved,
                )
            )
    found.sort(key=lambda each: (each.domain_proved is None, each.publisher_id))
    return tuple(found[:MOST_CANDIDATES])


def resolve_publisher(store: Store, text: str) -> PublisherId:
    """Who an alias or a full id means.

    Raises `NotFoundError` for an alias that is not pinned, which names who claims it and pins
    nobody, `UsageError` for what is neither.
    """
    try:
        return store.documents.aliases().resolve(text)
    except NotFoundError as error:
        known = candidates(store, text)
        if not known:
            raise
        listed = "; ".join(map(shown, known))
        raise NotFoundError(
            f"{error.message}; these say that they are: {listed}",
            remedy=f"find out from somebody you trust which id is right, then run"
            f" `p2phub trust add {text} ID`",
        ) from error


def shown(candidate: Candidate) -> str:
    """A candidate as an error names it: the full id, and what is known of its domain."""
    if candidate.domain is None:
        return candidate.publisher_id
    vouched = candidate.domain_result in ("https", "dns")
    said = "vouches for it" if vouched else "does not vouch for it, as far as is known here"
    return f"{candidate.publisher_id} ({candidate.domain} {said})"


def _alias_like(profile: Mapping[str, str]) -> set[str]:
    """The aliases that a profile may be meant by.

    >>> sorted(_alias_like({"name": "The Lab", "domain": "lab.example.org"}))
    ['example', 'lab', 'lab-example-org', 'the-lab']
    """
    found = {_slug(claimed_name(profile) or "")}
    domain = claimed_domain(profile)
    if domain is not None:
        found |= {_slug(domain), *domain.split(".")[:-1]}
    return found - {""}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
