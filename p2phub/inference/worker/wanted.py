"""Whether anybody still waits for what a thread computes.

`main` tells it for the thread of each request that blocks; whoever computes in steps asks between
them, so that a client that went away costs no more than the step that is under way.

Rules it keeps:
 * a thread that nobody told anything is wanted.

>>> gone = threading.Event()
>>> with by(gone):
...     before = is_wanted()
...     gone.set()
...     before, is_wanted()
(True, False)
>>> is_wanted()
True
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from p2phub.errors import EngineError

_HERE: Final = threading.local()


@contextmanager
def by(gone: threading.Event) -> Iterator[None]:
    """For the length of the block, what this thread does is for somebody until `gone` is set."""
    _HERE.gone = gone
    try:
        yield
    finally:
        del _HERE.gone


def is_wanted() -> bool:
    """Whether whoever asked for it still waits."""
    gone = getattr(_HERE, "gone", None)
    return gone is None or not gone.is_set()


def require_wanted() -> None:
    """Raise `EngineError` if nobody waits any more."""
    if not is_wanted():
        raise EngineError("the request was taken back")
