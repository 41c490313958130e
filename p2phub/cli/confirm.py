"""Asks a person for a yes, or for a choice, on a terminal. In a pipe there is nobody to ask.

What weakens trust, or pins somebody new, is shown first and done after a yes; everything but a yes
is a no. `--yes` says that whoever wrote the command has seen what it does.
"""

import sys
from collections.abc import Sequence
from typing import Final

from p2phub.cli import secrets
from p2phub.cli.output import shown
from p2phub.cli.session import Session
from p2phub.errors import RefusedError, UsageError

PREFIX: Final = 8
"""Characters of a publisher id that are typed to choose it."""


def confirm(session: Session, changes: Sequence[str], question: str, *, yes: bool) -> None:
    """Show what changes and go on after a yes. Raises `RefusedError` otherwise."""
    if yes:
        return
    if not secrets.at_terminal(session.output):
        raise RefusedError(
            f"this wants a yes from a person, and there is no terminal to ask on: {question}",
            remedy="run it on a terminal, or add --yes if you know that it is right",
        )
    for change in changes:
        print(shown(change), file=session.output.err)
    if not secrets.confirm(session, question):
        raise RefusedError("that was no yes: nothing was changed")


def choose(session: Session, publisher_ids: Sequence[str], question: str) -> str | None:
    """One of these ids, chosen by the first characters of it; None if a person chose none.

    Raises `UsageError` for what names none of them, or several.
    """
    if not secrets.at_terminal(session.output):
        return None
    typed = _typed(session, f"{question} ({PREFIX} characters of its id, or nothing) ")
    if not typed:
        return None
    found = [each for each in publisher_ids if len(typed) >= PREFIX and each.startswith(typed)]
    if len(found) != 1:
        raise UsageError(
            f"{typed[:60]!r} is not the beginning of one of these ids; nobody was pinned",
            remedy=f"type {PREFIX} characters or more, as they stand there",
        )
    return found[0]


def _typed(session: Session, prompt: str) -> str:
    """What is typed in answer; empty at the end of the input."""
    session.output.err.write(prompt)
    session.output.err.flush()
    return sys.stdin.readline(200).strip()
