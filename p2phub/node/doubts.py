"""Whom one pull does not ask for a file, and whom it asks only when nobody else is left.

Rules it keeps:
 * who delivered wrong bytes of a file, or owned up to a damaged copy of it, is not asked for that
   file again in this pull;
 * a bad copy of one file says nothing about the others, so that its owner is still a source of
   them: who owned up like anybody else, who lied or was slow when nobody else is left;
 * lies are remembered for later pulls, about the same file: those ask the liar last;
 * people are told once of each source and file.
"""

from collections.abc import Collection, Iterable

import trio

from p2phub.formats.ids import ContentId
from p2phub.node.events import Report, Warned
from p2phub.protocol.liars import Liars


class Doubts:
    """The doubts of one pull. `remembered`: the lies that were told to any pull of this node."""

    def __init__(self, remembered: Liars, report: Report) -> None:
        self._remembered, self._report = remembered, report
        self._useless: dict[ContentId, set[str]] = {}
        self._slow: set[str] = set()
        self._liars: set[str] = set()

    @property
    def liars(self) -> Collection[str]:
        """Who has delivered wrong bytes of anything in this pull; grows as it goes on."""
        return self._liars

    def useless_for(self, content: ContentId) -> Collection[str]:
        """Who is not asked for this file any more; grows as the pull goes on."""
        return self._useless.setdefault(content, set())

    def last_for(self, contents: Iterable[ContentId]) -> frozenset[str]:
        """Who is asked for these files only when nobody else is left."""
        now, doubted = trio.current_time(), self._slow | self._liars
        return frozenset(doubted).union(
            *(self._remembered.names(content, now) for content in contents)
        )

    def was_slow(self, names: Iterable[str]) -> None:
        """These kept the pull waiting."""
        self._slow |= set(names)

    def lied(self, names: Iterable[str], content: ContentId, label: str) -> None:
        """These delivered wrong bytes of a file, which people call `label`."""
        for name in sorted(names):
            self._remembered.remember(name, content, trio.current_time())
            self._liars.add(name)
            said = f"{name} delivered wrong bytes of {label} and is not asked for it again"
            self._tell(name, content, said)

    def owned_up(self, names: Iterable[str], content: ContentId, label: str) -> None:
        """These say that their own copy of a file is damaged."""
        for name in sorted(names):
            self._tell(name, content, f"{name} says that its own copy of {label} is damaged")

    def _tell(self, name: str, content: ContentId, said: str) -> None:
        useless = self._useless.setdefault(content, set())
        if name not in useless:
            useless.add(name)
            self._report(Warned(said))
