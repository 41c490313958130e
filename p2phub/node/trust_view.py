"""Whom this machine trusts, and what it knows of them: what `trust ls` and `trust export` tell."""

from p2phub.errors import UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.notices import ForkProof
from p2phub.node.claims import claims_of
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store
from p2phub.trust.catalog import PublisherState
from p2phub.trust.envelope import unpack
from p2phub.trust.lab_list import Entry, write_list
from p2phub.trust.policy import Rule
from p2phub.trust_results import Trusted, TrustList


def trust_list(
    store: Store, knowledge: Knowledge, everybody: Rule, now: int
) -> tuple[Trusted, ...]:
    """Every pinned alias in the order of the names, then who has a rule or has forked and has no
    name.

    `everybody`: the rule for those who have none of their own. `now`: unix seconds.
    """
    rules, named = store.rules.all(), _named(store)
    known = {publisher for _, publisher in named}
    forked = [("", each) for each in _forked(store, knowledge) if each not in known]
    return tuple(
        _row(store, knowledge, alias, publisher, rules.get(publisher), everybody, now)
        for alias, publisher in (*named, *forked)
    )


def _forked(store: Store, knowledge: Knowledge) -> list[PublisherId]:
    """Everybody of whom there is a proof that they said two things, which they have not settled."""
    digests = store.documents.of_type(ForkProof.TYPE)
    proofs = store.documents.many(digests).values()
    accused = {PublisherId(_accused(data)) for data in proofs}
    found = ((publisher, _state(knowledge, publisher)[0]) for publisher in sorted(accused))
    return [publisher for publisher, state in found if state is not None and state.forked]


def _accused(data: bytes) -> bytes:
    return ForkProof.from_payload(unpack(data).payload).publisher


def export_list(store: Store) -> TrustList:
    """Every alias and every rule, for another machine."""
    rules = store.rules.all()
    entries = [
        Entry(publisher, alias or None, rules.get(publisher)) for alias, publisher in _named(store)
    ]
    return TrustList(write_list(entries), len(entries))


def _named(store: Store) -> list[tuple[str, PublisherId]]:
    pins = store.documents.aliases().pins
    ruled = store.rules.all().keys() | store.rules.all_that_allow_code()
    nameless = sorted(ruled - set(pins.values()))
    return [*sorted(pins.items()), *(("", publisher) for publisher in nameless)]


def _row(
    store: Store,
    knowledge: Knowledge,
    alias: str,
    publisher: PublisherId,
    own: Rule | None,
    everybody: Rule,
    now: int,
) -> Trusted:
    state, damage = _state(knowledge, publisher)
    rule, claims = own or everybody, claims_of(store, knowledge, publisher)
    root_v, delegation_version, seq = state.order if state is not None else (0, 0, 0)
    fresh_until = state.fresh_until if state is not None else None
    is_stale = fresh_until is not None and fresh_until < now
    return Trusted(
        alias=alias,
        publisher_id=str(publisher),
        policy=rule.policy,
        stale=rule.stale,
        own_rule=own is not None,
        code="allow" if store.rules.allows_code(publisher) else "refuse",
        root_v=root_v,
        delegation_version=delegation_version,
        seq=seq,
        seen=store.documents.head_seen(publisher),
        stale_since=fresh_until if is_stale else None,
        forked=state.forked if state is not None else "",
        fork=tuple(digest.hex() for digest in state.fork) if state is not None else (),
        damage=damage,
        name=claims.name,
        domain=claims.domain,
        domain_result=claims.domain_result,
        domain_checked=claims.domain_checked,
        domain_proved=claims.domain_proved,
    )


def _state(knowledge: Knowledge, publisher: PublisherId) -> tuple[PublisherState | None, str]:
    try:
        return knowledge.state(publisher), ""
    except UntrustedError as error:
        return None, error.message
