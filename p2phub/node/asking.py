"""Ask several at once, so that whoever hangs, drips or lies holds up nobody.

`first_right` wants one good answer: the next is asked as soon as the last one has failed, or has
been silent for `HURRY` seconds; the first good answer ends it. `all_quick` wants everybody's
answer: once one has come, the others have `GRACE` seconds left.

What is asked, and of whom, is the caller's business. A refusal by the gate (`UntrustedError`) is a
lie of who answered; `RemoteError` and `NotFoundError` mean that somebody cannot help. Any other
error ends the asking.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from p2phub.errors import NotFoundError, RemoteError, UntrustedError, plain_errors

HURRY = 1.0
"""Seconds of silence after which the next one is asked as well."""
LONGEST = 120.0
"""Seconds after which an answer that still drips in is given up."""
GRACE = 2.0
"""Seconds that the others have once one has answered."""

Whom = TypeVar("Whom")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Asked(Generic[Whom, Answer]):
    """What came of asking."""

    answers: list[tuple[Whom, Answer]] = field(default_factory=list)
    """Who answered, in the order of the answers."""
    lies: list[UntrustedError] = field(default_factory=list)
    late: list[Whom] = field(default_factory=list)
    """Who was asked and had not answered when the asking ended."""


async def first_right(
    whom: Sequence[Whom], ask: Callable[[Whom], Awaitable[Answer]]
) -> Asked[Whom, Answer]:
    """One good answer, if anybody has one, and the lies that were told before it came."""
    asked: Asked[Whom, Answer] = Asked()

    async def one(who: Whom, everybody: trio.CancelScope, ended: trio.Event) -> None:
        with trio.move_on_after(LONGEST):
            if await _ask(asked, who, ask):
                everybody.cancel()
        ended.set()

    with plain_errors():
        async with trio.open_nursery() as nursery:
            for each in whom:
                ended = trio.Event()
                nursery.start_soon(one, each, nursery.cancel_scope, ended)
                with trio.move_on_after(HURRY):
                    await ended.wait()
    return asked


async def all_quick(
    whom: Sequence[Whom], ask: Callable[[Whom], Awaitable[Answer]]
) -> Asked[Whom, Answer]:
    """The answers of everybody who is not much slower than the first."""
    asked: Asked[Whom, Answer] = Asked()

    async def one(who: Whom, everybody: trio.CancelScope) -> None:
        if await _ask(asked, who, ask):
            everybody.deadline = min(everybody.deadline, trio.current_time() + GRACE)

    with plain_errors():
        async with trio.open_nursery() as nursery:
            for each in whom:
                nursery.start_soon(one, each, nursery.cancel_scope)
    return asked


async def _ask(
    asked: Asked[Whom, Answer], who: Whom, ask: Callable[[Whom], Awaitable[Answer]]
) -> bool:
    """Note what one says; whether it was a good answer. Whoever is cut short stays `late`."""
    asked.late.append(who)
    is_good = False
    try:
        asked.answers.append((who, await ask(who)))
        is_good = True
    except (RemoteError, NotFoundError):
        pass
    except UntrustedError as lie:
        asked.lies.append(lie)
    asked.late.remove(who)
    return is_good
