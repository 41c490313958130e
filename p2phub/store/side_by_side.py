"""Work on many files at once, as many as there are cores, with the answers in the order asked.

Only so much is begun ahead that the one who takes the answers is never far behind; what nobody
takes is not begun. Where one thread is as fast, there is only one.

>>> list(side_by_side(len, ["a", "bb", "ccc"], lanes=2))
[1, 2, 3]
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LANES: Final = 8
"""Files that are read at one time, at most."""
AHEAD: Final = 4
"""Files a lane that are begun before the first of their answers is taken."""
WORTH_IT: Final = 8 << 20
"""Bytes of all files together for which a second thread is worth its start."""


def lanes_for(total: int) -> int:
    """How many threads read files of `total` bytes."""
    return min(len(os.sched_getaffinity(0)), LANES) if total > WORTH_IT else 1


def side_by_side(
    work: Callable[[Item], Answer], items: Iterable[Item], *, lanes: int
) -> Iterator[Answer]:
    """The answer to each item, in their order. What `work` raises ends it."""
    if lanes <= 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(lanes)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= lanes * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
