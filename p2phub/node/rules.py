"""Which rule holds for a publisher: its own, or that of node.toml for everybody."""

from collections.abc import Callable

from p2phub.config import Config
from p2phub.formats.ids import PublisherId
from p2phub.store.store import Store
from p2phub.trust.policy import Rule


def default_rule(config: Config) -> Rule:
    """The rule for everybody who has none of their own."""
    return Rule(config.trust.policy, config.trust.stale)


def rule_of(store: Store, config: Config) -> Callable[[PublisherId], Rule]:
    """Gives the rule that holds for a publisher now, as the store has it."""
    everybody = default_rule(config)

    def of(publisher: PublisherId) -> Rule:
        return store.rules.rule(publisher) or everybody

    return of
