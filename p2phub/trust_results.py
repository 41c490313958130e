"""What a node answers about trust, as frozen dataclasses; see `p2phub.results` for the rules.

Times are unix seconds. What a publisher says of itself (`name`, `domain`) is a claim; only
`domain_result` says whether its domain says so too. Text that came from strangers has no control
characters in it, and a domain is spelled in ASCII.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trusted:
    """A publisher that is pinned here or has a rule of its own: one line of `trust ls`."""

    alias: str
    """What it is called here; empty if it has a rule and no name."""
    publisher_id: str
    policy: str = "enforce"
    stale: str = "warn"
    """Whether what is stale is used with a warning, or refused."""
    own_rule: bool = False
    """Whether policy and stale were laid down for this publisher, not for everybody."""
    code: str = "refuse"
    """Whether Python files of its models may run: allow or refuse."""
    root_v: int = 0
    """The number of its newest root; 0 before anything of it was seen."""
    delegation_version: int = 0
    """That of its newest delegation; 0 before."""
    seq: int = 0
    """That of its newest index; 0 before."""
    seen: int | None = None
    """When its newest head was heard of."""
    stale_since: int | None = None
    """None while it is fresh."""
    forked: str = ""
    """What it said twice; empty while it did not."""
    fork: tuple[str, ...] = ()
    """The digests of both, hex."""
    damage: str = ""
    """What is wrong with what this disk has of it."""
    name: str | None = None
    domain: str | None = None
    domain_result: str | None = None
    """How the domain vouches for it (https, dns), or contradicted, unreachable; None: not asked."""
    domain_checked: int | None = None
    """When it was asked last."""
    domain_proved: int | None = None
    """When the domain vouched for it last."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A publisher that says of itself what somebody typed as an alias."""

    publisher_id: str
    name: str | None = None
    domain: str | None = None
    domain_result: str | None = None
    domain_checked: int | None = None
    domain_proved: int | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rule for a publisher after it was changed."""

    alias: str
    publisher_id: str
    policy: str
    stale: str
    own_rule: bool
    code: str = "refuse"
    """Whether Python files of its models may run: allow or refuse."""


@dataclass(frozen=True, slots=True)
class TrustList:
    """A list of whom this machine trusts, to be handed to another."""

    text: str
    """JSON; its keys stand in `p2phub.trust.lab_list`."""
    publishers: int
    """How many it names."""


@dataclass(frozen=True, slots=True)
class ListEntry:
    """What a list adds: an alias, a rule, or both."""

    alias: str
    """Empty if only the rule is new."""
    publisher_id: str
    policy: str | None = None
    stale: str | None = None


@dataclass(frozen=True, slots=True)
class ListConflict:
    """Where a list says something else than what is known here, which is not changed."""

    called: str
    here: str
    listed: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a list adds to what is known here, and whether that was done."""

    done: bool
    new: tuple[ListEntry, ...] = ()
    known: int = 0
    """How many entries say what is known here anyway."""
    conflicts: tuple[ListConflict, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainLook:
    """What came of a look at the domain that a publisher claims."""

    alias: str
    publisher_id: str
    domain: str | None
    """None if it claims none, or nothing of it is here."""
    domain_result: str | None = None
    domain_checked: int | None = None
    domain_proved: int | None = None
    problems: tuple[str, ...] = ()
    """Why a way to ask gave no answer."""


@dataclass(frozen=True, slots=True)
class NamedPublisher:
    """A publisher that a domain names."""

    publisher_id: str
    ways: tuple[str, ...]
    """By which of https (a file) and dns (a TXT record)."""


@dataclass(frozen=True, slots=True)
class DomainSays:
    """Whom a domain names."""

    domain: str
    publishers: tuple[NamedPublisher, ...] = ()
    problems: tuple[str, ...] = ()
    """Why a way to ask gave no answer."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What our own publisher says of itself."""

    publisher_id: str
    name: str | None = None
    domain: str | None = None
