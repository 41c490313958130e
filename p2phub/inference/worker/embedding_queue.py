"""Rows of many requests, joined into batches: what comes while one batch runs is in the next.

A request is a number of rows (the tokens of a text each). One thread takes rows of all requests in
turns, puts those of like length together, and runs them. So many small requests run as fast as one
big one, and a big one does not hold up a small one.

Rules it keeps:
 * a batch has at most `tokens` tokens with its padding, or one row;
 * whoever asks gets the rows of just that request, in order;
 * an error ends the requests of its batch, not the thread; after `close` every call is refused.

>>> queue = Queue(lambda rows: [(sum(row), len(rows)) for row in rows], tokens=8)
>>> queue.run([(1, 2), (3,)])
[(3, 2), (3, 2)]
>>> queue.close()
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, Final

from p2phub.errors import EngineError

Run = Callable[[list[Any]], Sequence[Any]]
"""Works at the rows of one batch; returns what came of each."""

_TURN: Final = 32
"""Rows of one request that are taken before it is the next one's turn."""
_ROUND: Final = 256
"""Rows that are sorted and run before newly come requests are looked at."""
_LIKE: Final = 0.75
_NEAR: Final = 8
"""A row joins a longer one if it has this part of its tokens, or so many less: padding is work."""


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Any]
    todo: deque[int]
    """Rows that nobody took yet, the longest first."""
    left: int
    """Rows that have no result yet."""
    results: list[Any]
    done: Future[list[Any]] = field(default_factory=Future)


class Queue:
    """Joins the rows of all who call `run`. `tokens`: in one batch, with its padding."""

    def __init__(self, run: Run, tokens: int, length: Callable[[Any], int] = len) -> None:
        self._run, self._tokens, self._length = run, tokens, length
        self._changed = Condition()
        self._waiting: deque[_Waiting] = deque()
        self._closed = False
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._thread = Thread(target=self._work, name="embedding-queue", daemon=True)
        self._thread.start()

    def run(self, rows: Sequence[Any]) -> list[Any]:
        """What came of each row. Blocks. Raises what the work raised, `EngineError` once closed."""
        if not rows:
            return []
        order = sorted(range(len(rows)), key=lambda at: self._length(rows[at]), reverse=True)
        mine = _Waiting(rows, deque(order), len(rows), [None] * len(rows))
        with self._changed:
            if self._closed:
                raise EngineError("the model was unloaded")
            self._waiting.append(mine)
            self._changed.notify()
        return mine.done.result()

    def close(self) -> None:
        """Refuse what waits; return once the batch under way has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._runner.shutdown()

    def _work(self) -> None:
        while taken := self._take():
            taken.sort(key=lambda each: self._length(each[0].rows[each[1]]), reverse=True)
            for batch in self._batches(taken):
                self._do(batch)
        for each in self._waiting:
            each.done.set_exception(EngineError("the model was unloaded"))

    def _take(self) -> list[tuple[_Waiting, int]]:
        """Rows in turns of all who wait; nothing once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            taken: list[tuple[_Waiting, int]] = []
            while self._waiting and len(taken) < _ROUND and not self._closed:
                one = self._waiting.popleft()
                for _ in range(min(_TURN, len(one.todo))):
                    taken.append((one, one.todo.popleft()))
                if one.todo:
                    self._waiting.append(one)
            return taken

    def _batches(self, taken: list[tuple[_Waiting, int]]) -> Iterator[list[tuple[_Waiting, int]]]:
        batch: list[tuple[_Waiting, int]] = []
        longest = 0
        for one, at in taken:
            length = self._length(one.rows[at])
            full = (len(batch) + 1) * longest > self._tokens
            if batch and (full or length < min(longest * _LIKE, longest - _NEAR)):
                yield batch
                batch = []
            longest = longest if batch else length
            batch.append((one, at))
        if batch:
            yield batch

    def _do(self, batch: list[tuple[_Waiting, int]]) -> None:
        batch = [each for each in batch if not each[0].done.done()]
        if not batch:
            return
        outcome = self._runner.submit(self._run, [one.rows[at] for one, at in batch])
        error = outcome.exception()
        if error is not None:
            self._fail(batch, error)
            return
        for (one, at), result in zip(batch, outcome.result(), strict=True):
            one.results[at] = result
            one.left -= 1
            if one.left == 0:
                one.done.set_result(one.results)

    def _fail(self, batch: list[tuple[_Waiting, int]], error: BaseException) -> None:
        """Whoever waits for the batch gets the error, and raises it in a thread of its own."""
        with self._changed:
            for one, _ in batch:
                one.todo.clear()
                if one in self._waiting:
                    self._waiting.remove(one)
                if not one.done.done():
                    one.done.set_exception(error)
