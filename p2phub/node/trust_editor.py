"""Changes whom this machine trusts: aliases, rules, and lists of both.

Who asks has been asked: the command line confirms on a terminal what weakens trust, and whoever
calls the control API shows a token. What holds for all of them is here: an alias that means
somebody never comes to mean somebody else, and a list changes nothing that is known.
"""

import time
from collections.abc import Callable

from p2phub.formats.ids import PublisherId
from p2phub.results import Pin
from p2phub.store.store import Store
from p2phub.trust.lab_list import Entry, compare, read_list
from p2phub.trust.policy import Rule, check_code, check_policy, check_stale
from p2phub.trust_results import Imported, ListConflict, ListEntry, RuleSet

DEFAULT = "default"
"""What is typed instead of a policy to meet a publisher like everybody again."""


class TrustEditor:
    """Pins and unpins aliases and lays down rules in an open store.

    `everybody`: the rule for those who have none of their own. `now()` gives unix seconds.
    """

    def __init__(
        self,
        store: Store,
        everybody: Rule | None = None,
        now: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self._store, self._everybody, self._now = store, everybody or Rule(), now

    def add(self, alias: str, publisher_id: str) -> Pin:
        """Pin an alias. Raises `UsageError`, `AliasTakenError` (names both ids)."""
        publisher = PublisherId.parse(publisher_id)
        self._store.documents.aliases().pin(alias, publisher)
        self._store.documents.save_alias(alias, publisher, self._now())
        return Pin(alias, publisher_id)

    def remove(self, alias: str) -> Pin:
        """Unpin an alias; the rule for its publisher stays. Raises `NotFoundError`."""
        aliases = self._store.documents.aliases()
        aliases.unpin(alias)
        self._store.documents.drop_alias(alias)
        return Pin(alias, str(aliases.pins[alias]))

    def set_policy(
        self, who: str, policy: str | None, stale: str | None, code: str | None = None
    ) -> RuleSet:
        """Lay down a rule for an alias or an id; what is None stays. `default` drops it.

        Raises `NotFoundError`, `UsageError`.
        """
        allowed = check_code(code) == "allow" if code is not None else None
        aliases, rules = self._store.documents.aliases(), self._store.rules
        publisher = aliases.resolve(who)
        before = rules.rule(publisher) or self._everybody
        if policy == DEFAULT and stale is None:
            rules.drop_rule(publisher)
            rules.set_code(publisher, allowed=False)
        elif policy is not None or stale is not None:
            rule = Rule(
                check_policy(policy) if policy is not None else before.policy,
                check_stale(stale) if stale is not None else before.stale,
            )
            rules.set_rule(publisher, rule)
        if allowed is not None:
            rules.set_code(publisher, allowed=allowed)
        own = rules.rule(publisher)
        now = own or self._everybody
        alias = aliases.alias_of(publisher) or ""
        runs = "allow" if rules.allows_code(publisher) else "refuse"
        return RuleSet(alias, str(publisher), now.policy, now.stale, own is not None, runs)

    def import_list(self, text: str, *, confirmed: bool) -> Imported:
        """What a list adds; done only if a person `confirmed` it after having seen that.

        Raises `UsageError` for a list with any mistake, which adds nothing.
        """
        aliases, rules = self._store.documents.aliases(), self._store.rules.all()
        found = compare(read_list(text), aliases, rules)
        done = confirmed or not found.new
        if confirmed:
            self._store.rules.adopt(found.new, self._now())
        return Imported(
            done,
            tuple(map(_shown, found.new)),
            found.known,
            tuple(ListConflict(each.called, each.here, each.listed) for each in found.conflicts),
        )


def _shown(entry: Entry) -> ListEntry:
    rule = entry.rule
    return ListEntry(
        entry.alias or "",
        str(entry.publisher),
        rule.policy if rule else None,
        rule.stale if rule else None,
    )
