"""The part of the control API about trust: aliases, rules, lists, and the domains of publishers.

Nothing here is open: whom this node trusts is private. An alias is pinned with a full id only, and
one that means somebody is never given to somebody else; a list is shown first, and is done only
when it comes again with `confirmed`, which says that a person has seen what it adds.
"""

from dataclasses import dataclass
from typing import Final

from p2phub.gateway.operation import Nothing, Operation
from p2phub.node.values import Pin
from p2phub.trust_results import (
    Candidate,
    DomainLook,
    DomainSays,
    Imported,
    Profile,
    RuleSet,
    Trusted,
    TrustList,
)

_ID: Final = "a" * 52


@dataclass(frozen=True, slots=True)
class Unpin:
    """An alias to forget."""

    alias: str


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A rule for one publisher."""

    publisher: str
    """An alias or a full publisher id."""
    policy: str | None = None
    """`off`, `warn` or `enforce`; `default` drops the rule; null leaves it as it is."""
    stale: str | None = None
    """`warn` or `refuse`; null leaves it as it is."""
    code: str | None = None
    """`allow` lets Python files of its models run, `refuse` does not; null leaves it as it is."""


@dataclass(frozen=True, slots=True)
class ImportList:
    """A list of whom to trust."""

    text: str
    """The list as it was exported."""
    confirmed: bool = False
    """Whether a person has seen what it adds; otherwise that is told and nothing is done."""


@dataclass(frozen=True, slots=True)
class OneAlias:
    """A call about an alias."""

    alias: str


@dataclass(frozen=True, slots=True)
class OneDomain:
    """A call about a domain."""

    domain: str
    """Like `example.org`."""


@dataclass(frozen=True, slots=True)
class SetProfile:
    """What our own publisher says of itself from now on."""

    name: str | None = None
    """What it calls itself; empty takes the name away, null leaves it."""
    domain: str | None = None
    """Its domain, like `example.org`; empty takes it away, null leaves it."""


@dataclass(frozen=True, slots=True)
class OnePublisherOrAll:
    """A call about one publisher, or about all that have an alias here."""

    publisher: str | None = None
    """An alias or a full publisher id; null means all."""


TRUST: Final = (
    Operation(
        "trust",
        "Whom this machine trusts: aliases, rules, and what is known of each publisher",
        Nothing,
        Trusted,
        lambda node, request, report: node.trust.list(),
        under="pins",
        method="GET",
        scope="admin",
    ),
    Operation(
        "trust/add",
        "Pin an alias to a publisher",
        Pin,
        Pin,
        lambda node, request, report: node.trust.add(request.alias, request.publisher_id),
        example={"alias": "lab", "publisher_id": _ID},
        scope="admin",
    ),
    Operation(
        "trust/rm",
        "Forget an alias",
        Unpin,
        Pin,
        lambda node, request, report: node.trust.remove(request.alias),
        example={"alias": "lab"},
        scope="admin",
    ),
    Operation(
        "trust/policy",
        "Lay down a rule for one publisher, or drop it; without one, tell which holds",
        SetPolicy,
        RuleSet,
        lambda node, request, report: node.trust.set_policy(
            request.publisher, request.policy, request.stale, request.code
        ),
        example={"publisher": "lab", "policy": "enforce", "stale": "refuse"},
        scope="admin",
    ),
    Operation(
        "trust/export",
        "A list of every alias and every rule, for another machine",
        Nothing,
        TrustList,
        lambda node, request, report: node.trust.export_list(),
        method="GET",
        scope="admin",
    ),
    Operation(
        "trust/import",
        "Add what is new in such a list; what is known here is never changed by it",
        ImportList,
        Imported,
        lambda node, request, report: node.trust.import_list(
            request.text, confirmed=request.confirmed
        ),
        example={"text": '{"p2phub": "trust list", "version": 1, "publishers": []}'},
        scope="admin",
    ),
    Operation(
        "trust/candidates",
        "Publishers known here that claim a name which is no alias yet; pins nobody",
        OneAlias,
        Candidate,
        lambda node, request, report: node.trust.candidates(request.alias),
        under="candidates",
        method="GET",
        example={"alias": "lab"},
        scope="admin",
    ),
    Operation(
        "trust/check",
        "Ask the domains that publishers claim whether they vouch for them, over the network",
        OnePublisherOrAll,
        DomainLook,
        lambda node, request, report: node.trust.check(request.publisher),
        under="looks",
        streams=True,
        example={"publisher": "lab"},
        scope="admin",
    ),
    Operation(
        "trust/domain",
        "Ask a domain which publishers it names, over the network; pins nobody",
        OneDomain,
        DomainSays,
        lambda node, request, report: node.trust.domain(request.domain),
        example={"domain": "example.org"},
        scope="admin",
    ),
    Operation(
        "profile",
        "Sign what our own publisher says of itself, or tell it; others see it as its own word",
        SetProfile,
        Profile,
        lambda node, request, report: node.trust.set_profile(request.name, request.domain),
        example={"name": "The Lab", "domain": "example.org"},
        scope="admin",
    ),
)
