"""The rules that a person laid down for single publishers.

Who has none is met as `[trust]` in node.toml says. What a rule means is `p2phub.trust.policy`'s
business, and who may change one that of the node and of the command line.
"""

from collections.abc import Iterable

from p2phub.formats.ids import PublisherId
from p2phub.store.documents import pin
from p2phub.store.index import Index
from p2phub.trust.lab_list import Entry
from p2phub.trust.policy import Rule, check_policy, check_stale


class Rules:
    """The rules of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def rule(self, publisher: PublisherId) -> Rule | None:
        """The rule for `publisher`; None if it has none of its own."""
        with self._index.read() as statements:
            row = statements.one("rules.get", str(publisher))
            with statements.decoding():
                return _rule(*row) if row else None

    def all(self) -> dict[PublisherId, Rule]:
        """Every publisher that has a rule of its own."""
        with self._index.read() as statements:
            rows = statements.all("rules.all")
            with statements.decoding():
                return {PublisherId.parse(row[0]): _rule(row[1], row[2]) for row in rows}

    def set_rule(self, publisher: PublisherId, rule: Rule) -> None:
        """Lay down a rule; what was there before holds no more."""
        with self._index.write() as statements:
            statements.run("rules.set", str(publisher), rule.policy, rule.stale)

    def drop_rule(self, publisher: PublisherId) -> bool:
        """Meet a publisher like everybody again; whether it had a rule of its own."""
        with self._index.write() as statements:
            return statements.run("rules.drop", str(publisher)) > 0

    def allows_code(self, publisher: PublisherId) -> bool:
        """Whether Python files of `publisher` may run; a list of trust never brings that."""
        with self._index.read() as statements:
            return statements.one("rules.code_allowed", str(publisher)) is not None

    def all_that_allow_code(self) -> set[PublisherId]:
        """Every publisher whose Python files may run."""
        with self._index.read() as statements:
            rows = statements.all("rules.all_code_allowed")
            with statements.decoding():
                return {PublisherId.parse(row[0]) for row in rows}

    def set_code(self, publisher: PublisherId, *, allowed: bool) -> None:
        """Let Python files of `publisher` run from now on, or not any more."""
        with self._index.write() as statements:
            name = "rules.allow_code" if allowed else "rules.refuse_code"
            statements.run(name, str(publisher))

    def adopt(self, entries: Iterable[Entry], now: int) -> None:
        """Pin the aliases and lay down the rules of a list: all of them or none.

        Raises `AliasTakenError` if an alias was pinned to somebody else meanwhile.
        """
        with self._index.write() as statements:
            for entry in entries:
                if entry.alias is not None:
                    pin(statements, entry.alias, entry.publisher, now)
                if entry.rule is not None:
                    row = (str(entry.publisher), entry.rule.policy, entry.rule.stale)
                    statements.run("rules.set", *row)


def _rule(policy: str, stale: str) -> Rule:
    return Rule(check_policy(policy), check_stale(stale))
