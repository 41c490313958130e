"""Reading files that are still fetched: what came first is read first, of whichever file it is.

Pieces come in the order that suits those who send them. Whoever waited for them in the order of the
files would have most of a model still to read when its last byte has come.

Rules it keeps:
 * nothing is read before it is there, so that no thread that could read something waits;
 * the first error ends all of it, the waiting included, and no thread is at work afterwards.

>>> from p2phub.formats.digest import sha256
>>> from p2phub.formats.ids import ContentId
>>> file = ModelFile(("a",), ContentId(2, sha256(b"ab")), "/a", complete=False)
>>> arrivals, read = Arrivals(), []
>>> arrivals.ready("a", 0, 2)
>>> as_it_comes(arrivals, [Job(file, Chunk(0, 1, 0, 2), "the item")], read.append, threads=1)
>>> read
['the item']
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import Any, Generic

from p2phub.errors import EngineError, P2PHubError
from p2phub.inference.spec import ModelFile
from p2phub.inference.worker.verified import Arrivals, Chunk, Item


@dataclass(frozen=True, slots=True)
class Job(Generic[Item]):
    """A part of a file, and what is to be given to whoever reads it."""

    file: ModelFile
    chunk: Chunk
    item: Item


class _Jobs(Generic[Item]):
    """Those that wait for their bytes."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._pending: list[Job[Item]] = []
        self._taking = Lock()
        self._at = 0
        """Where the last one was: the next to come is most often its neighbour."""
        self._complete = False

    def add(self, job: Job[Item]) -> None:
        self._pending.append(job)
        self._arrivals.look_again()

    def complete(self) -> None:
        """No more are added."""
        self._complete = True
        self._arrivals.look_again()

    def take(self) -> Job[Item] | None:
        """One whose bytes are there, once there is one; None: none is left."""
        with self._taking:
            self._arrivals.wait_until(self._may_go_on)
            return self._pending.pop(self._at) if self._pending else None

    def _may_go_on(self) -> bool:
        count = len(self._pending)
        order = chain(range(self._at, count), range(min(self._at, count)))
        found = next((at for at in order if self._is_here(self._pending[at])), None)
        self._at = self._at if found is None else found
        return found is not None or (self._complete and not count)

    def _is_here(self, job: Job[Item]) -> bool:
        chunk = job.chunk
        return job.file.complete or self._arrivals.has(job.file.name, chunk.start, chunk.stop)


def as_it_comes(
    arrivals: Arrivals, jobs: Iterable[Job[Item]], work: Callable[[Item], Any], threads: int
) -> None:
    """Do `work` for each of the jobs once its bytes are there, in several threads.

    `jobs` may wait for what it makes them from. Raises the first error of theirs or of `work`, and
    what `Arrivals.fail` was given.
    """
    waiting = _Jobs[Item](arrivals)

    def run() -> None:
        while (job := waiting.take()) is not None:
            work(job.item)

    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        running = [pool.submit(run) for _ in range(threads)]
        try:
            for each in jobs:
                waiting.add(each)
        except P2PHubError as error:
            arrivals.fail(error)
            raise
        except BaseException:
            arrivals.fail(EngineError("the load ended early"))
            raise
        finally:
            waiting.complete()
    for ended in running:
        ended.result()
